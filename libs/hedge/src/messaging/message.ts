import type { MemberId } from '../common/identity.js';
import { Encoding, type Failure, type Reply } from '../wire/hedge/v1/link.js';
import type { RequestType } from './request-type.js';
import type { TraceContext } from '../telemetry/tracing.js';

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
  /** `leader`: the present leader; after a change of leader the next one, until the deadline. Otherwise that member only. */
  readonly to: 'leader' | MemberId;
  readonly type: RequestType;
  readonly topic: string;
  /** The name of the request in errors, if it has no topic of the user. Default: the topic in quotes. */
  readonly name?: string;
  readonly payload: Encoded;
  /** The total time allowed, in milliseconds. It includes retries and the time to wait for a leader. */
  readonly timeoutMs: number;
  /** Cancels the request. The request rejects with the reason of the signal, and the signal of the handler aborts. */
  readonly signal?: AbortSignal | undefined;
  /**
   * How often the request may run again after the loss of a leader on which it may have run. A leader is lost when it
   * crashes or stalls for longer than its lease. After the last rerun the request fails with OUTCOME_UNKNOWN. So a
   * request that crashes its leader crashes only a limited number of leaders. Use 0 for work that is not idempotent.
   * Default: no limit.
   */
  readonly maxReruns?: number;
  /** The trace that the request continues. Default: none. */
  readonly trace?: TraceContext;
  /** For errors: the state after an unknown outcome, and how to check it. Default: the text for a request to a handler. */
  readonly ifUnknown?: string;
}

/** The request that a handler runs. */
export interface IncomingRequest {
  readonly type: RequestType;
  readonly topic: string;
  readonly payload: Encoded;
  readonly caller: MemberId;
  /** A UUID, the same for all attempts and leaders. */
  readonly requestId: string;
  /** 1 for the first attempt. */
  readonly attempt: number;
  /** The term in which the request runs; 0n for a broadcast. */
  readonly epoch: bigint;
  /** The trace of the caller, if it has one. */
  readonly trace?: TraceContext | undefined;
  /** The milliseconds that were left when the request arrived. */
  readonly timeoutMs: number;
  /**
   * Aborts when the caller cancels the request or its deadline passes, and for leader work when the lease is lost. It is
   * created on first use, so it costs nothing when the handler does not use it.
   */
  readonly signal: AbortSignal;
}

/**
 * Runs requests of one type. The caller receives the error that it throws: a HedgeError unchanged, any other error as
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
