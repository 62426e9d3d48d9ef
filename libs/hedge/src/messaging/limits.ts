import { DEFAULT_MAX_MESSAGE_BYTES } from '../transport/links/link-transport.js';

/** What bounds the memory and work that messages can cost one process. */
export interface MessagingLimits {
  /**
   * Handlers that run at once here, and as many requests of each other pool of slots (`RequestType.slots`). More are
   * refused with OVERLOADED. Default: 10,000.
   */
  readonly maxRunning: number;
  /**
   * Of the handlers, those of one topic while no other topic runs; fewer when others do, so that there is always room for one
   * more topic. As many as `maxRunning` or more: no limit. Default: 5,000.
   */
  readonly maxRunningPerTopic: number;
  /**
   * Requests of this process that wait for their reply, of each pool of slots. More fail with OVERLOADED. Default:
   * 100,000.
   */
  readonly maxPending: number;
  /**
   * For each pool of slots: bytes of payloads of requests that wait for their reply, and as many again of requests
   * that run here and of replies that are not acknowledged. Default: 64 MiB.
   */
  readonly maxHeldBytes: number;
  /** Largest payload of one request or reply, in bytes; the transport's own limit. Default: 4 MiB. */
  readonly maxMessageBytes: number;
  /**
   * How long a caller without a link is remembered, in milliseconds. If it comes back later, requests that
   * it still waits for fail with OUTCOME_UNKNOWN. Default: one minute.
   */
  readonly rememberCallerMs: number;
}

export const DEFAULT_MESSAGING_LIMITS: MessagingLimits = {
  maxRunning: 10_000,
  maxRunningPerTopic: 5_000,
  maxPending: 100_000,
  maxHeldBytes: 64 * 1024 * 1024,
  maxMessageBytes: DEFAULT_MAX_MESSAGE_BYTES,
  rememberCallerMs: 60_000,
};
