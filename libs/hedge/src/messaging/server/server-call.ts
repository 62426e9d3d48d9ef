import { abortInFreshContext } from '../../common/async/async-context.js';
import type { MemberId } from '../../common/identity.js';
import type { Request } from '../../wire/hedge/v1/link.js';
import type { Timed } from './deadlines.js';
import { Entry } from './request-deduplicator.core.js';
import type { Encoded, IncomingRequest } from '../message.js';
import { type RequestType, runsHandlers } from '../request-type.js';
import type { TraceContext } from '../../telemetry/tracing.js';
import { guardedController } from '../../common/async/guarded-signal.js';

/** Where a request came from: a link of its caller, or this process. */
export interface Origin {
  readonly peer: MemberId;
  /** Set if the caller is this process. */
  readonly here?: true;
}

/** A request that this pod serves. */
export class ServerCall extends Entry implements IncomingRequest, Timed {
  place = 0;
  /** Whether a drain waits for this request. */
  awaited = false;
  readonly topic: string;
  readonly payload: Encoded;
  readonly requestId: string;
  readonly attempt: number;
  readonly epoch: bigint;
  readonly timeoutMs: number;
  readonly trace: TraceContext | undefined;
  #controller: AbortController | undefined;
  #abortReason: Error | undefined;

  constructor(
    /** The latest origin of the request, to which the reply is sent. */
    public origin: Origin,
    request: Request,
    /** On the timeline of this process. */
    readonly deadline: number,
    readonly type: RequestType,
  ) {
    super(request.sequence, request.payload.byteLength, type.slots, subjectOf(type, request.topic));
    this.topic = request.topic;
    this.payload = { encoding: request.encoding, bytes: request.payload };
    this.requestId = request.id;
    this.attempt = request.attempt;
    this.epoch = request.epoch;
    this.timeoutMs = request.timeoutMs;
    const { traceparent, tracestate } = request;
    this.trace = traceparent === undefined ? undefined : { traceparent, tracestate };
  }

  get caller(): MemberId {
    return this.origin.peer;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = guardedController();
      if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason);
    }
    return this.#controller.signal;
  }

  /** Only the first call has an effect. */
  abort(reason: Error): void {
    if (this.#abortReason !== undefined) return;
    this.#abortReason = reason;
    if (this.#controller !== undefined) abortInFreshContext(this.#controller, reason);
  }
}

/** A message to the leader and a broadcast with the same topic have different handlers, so they get different subjects. */
function subjectOf(type: RequestType, topic: string): string {
  return runsHandlers(type) && type.runsAt === 'member' ? `broadcast ${topic}` : topic;
}
