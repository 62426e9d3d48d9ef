import type { MemberId } from '../common/identity.js';
import { Encoding, type Failure, type Reply } from '../wire/hedge/v1/link.js';
import type { RequestType } from './request-type.js';

/** A payload on the wire. */
export interface Encoded {
  readonly encoding: Encoding;
  readonly bytes: Uint8Array;
}

/** Stands for `undefined`, and for the reply to a request that needs only an acknowledgement. */
export const NO_PAYLOAD: Encoded = { encoding: Encoding.ENCODING_NONE, bytes: new Uint8Array(0) };

/** Bytes that are sent unchanged. */
export function bytesPayload(bytes: Uint8Array): Encoded {
  return { encoding: Encoding.ENCODING_BYTES, bytes };
}

/** A request of this process to the leader or to one member. */
export interface OutgoingRequest {
  /** `leader`: the present leader, followed through leader changes until the deadline. Otherwise that member only. */
  readonly to: 'leader' | MemberId;
  readonly type: RequestType;
  readonly topic: string;
  /** Its name in errors, for a request without a topic of the user. Default: the topic in quotes. */
  readonly name?: string;
  readonly payload: Encoded;
  /** The whole time allowed, in milliseconds, waiting for a leader and retries included. */
  readonly timeoutMs: number;
  /** Cancels the request: it rejects with the reason of the signal, and the signal of the handler aborts. */
  readonly signal?: AbortSignal | undefined;
  /**
   * How often it may run again after its leader was lost while it may have run. A leader is lost by a crash, or when it
   * stands still for longer than its lease. After that the request fails with OUTCOME_UNKNOWN, so that a request that ends
   * its leaders does not end one after the other. 0 for work that is not idempotent. Default: no limit.
   */
  readonly maxReruns?: number;
  /** For errors: the state after an unknown outcome, and how to check it. Default: the text for a request to a handler. */
  readonly ifUnknown?: string;
}

/** The request that a handler runs. */
export interface IncomingRequest {
  readonly type: RequestType;
  readonly topic: string;
  readonly payload: Encoded;
  readonly caller: MemberId;
  /** UUID, the same over all attempts and leaders. */
  readonly requestId: string;
  /** 1 on the first try. */
  readonly attempt: number;
  /** The term it runs in; 0n for a broadcast. */
  readonly epoch: bigint;
  /** Milliseconds left when it arrived. */
  readonly timeoutMs: number;
  /**
   * Aborts when the caller cancelled or its deadline passed, and for leader work when the lease is lost.
   * Created on first use, so it costs nothing when the handler does not use it.
   */
  readonly signal: AbortSignal;
}

/**
 * Runs requests of one type. What it throws reaches the caller: a HedgeError as it is, anything else as
 * HANDLER_FAILED.
 */
export type RequestHandler = (request: IncomingRequest) => Promise<Encoded>;

export function successReply(sequence: number, { encoding, bytes }: Encoded): Reply {
  return { sequence, encoding, payload: bytes, failure: undefined };
}

export function failureReply(sequence: number, failure: Failure): Reply {
  const { encoding, bytes } = NO_PAYLOAD;
  return { sequence, encoding, payload: bytes, failure };
}
