import { DEFAULT_MAX_MESSAGE_BYTES } from '../transport/links/link-transport.js';

/** The bounds on the memory and work of one process for messages. */
export interface MessagingLimits {
  /**
   * Handlers that run at once in this process. Each other pool of slots (`RequestType.slots`) allows the same number of
   * requests. Further requests fail with OVERLOADED. Default: 10,000.
   */
  readonly maxRunning: number;
  /**
   * Handlers of one topic that run at once while no other topic runs. The number is lower when other topics run, so that
   * one more topic always has room. A value of `maxRunning` or more means no limit per topic. Default: 5,000.
   */
  readonly maxRunningPerTopic: number;
  /**
   * Requests of this process that wait for their reply, for each pool of slots. Further requests fail with OVERLOADED.
   * Default: 100,000.
   */
  readonly maxPending: number;
  /**
   * For each pool of slots: the bytes of the payloads of requests that wait for their reply. The same limit applies to
   * the requests that run in this process plus the replies that are not acknowledged. Default: 64 MiB.
   */
  readonly maxHeldBytes: number;
  /** The largest payload of one request or reply, in bytes. It is the limit of the transport. Default: 4 MiB. */
  readonly maxMessageBytes: number;
  /**
   * How long this process remembers a caller without a link, in milliseconds. If the caller reconnects later, the
   * requests that it still waits for fail with OUTCOME_UNKNOWN. Default: one minute.
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
