import type { MemberId } from '../common/identity.js';
import { Encoding, type Failure, type Reply } from '../wire/hedge/v1/link.js';
import type { RequestType } from './request-type.js';

/** A payload as it travels. */
export interface Encoded {
  readonly encoding: Encoding;
  readonly bytes: Uint8Array;
}

/** `undefined`, and the reply to what wants to know only that it was done. */
export const NO_PAYLOAD: Encoded = { encoding: Encoding.ENCODING_NONE, bytes: new Uint8Array(0) };

/** Bytes that travel as they are. */
export function bytesPayload(bytes: Uint8Array): Encoded {
  return { encoding: Encoding.ENCODING_BYTES, bytes };
}

/** What this process asks of the leader or of one member. */
export interface OutgoingRequest {
  /** `leader`: whoever leads, followed through leader changes until the deadline. Else that very member. */
  readonly to: 'leader' | MemberId;
  readonly type: RequestType;
  readonly topic: string;
  /** What errors call it, for a request whose topic is not the user's. Default: the topic in quotes. */
  readonly name?: string;
  readonly payload: Encoded;
  /** The whole time allowed, in milliseconds, waiting for a leader and retries included. */
  readonly timeoutMs: number;
  /** Gives the request up: it rejects with the signal's reason, and the handler's own signal aborts. */
  readonly signal?: AbortSignal | undefined;
  /**
   * How often it may be run again after its leader was lost while it may have run: by a crash, or because it stood still
   * for longer than its lease. Beyond that it fails with OUTCOME_UNKNOWN, so that a request that ends its leaders does
   * not end one after the other. 0 for work that is not idempotent. Default: no limit.
   */
  readonly maxReruns?: number;
}

/** What a handler is told of the request it runs. */
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
   * Made on first use: a handler that does not look at it costs nothing.
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
