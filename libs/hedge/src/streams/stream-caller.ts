import { onAbort } from '../common/async/on-abort.js';
import { randomUUID } from 'node:crypto';
import { backoffMs } from '../common/backoff.js';
import type { Clock } from '../common/clock.js';
import { asHedgeError, HedgeError } from '../common/errors.js';
import { firstAbort } from '../common/async/first-abort.js';
import type { MemberId } from '../common/identity.js';
import type { StartGate } from '../common/async/start-gate.js';
import type { LeaderBelief, LeaderRoute } from '../messaging/leader-route.js';
import type { PayloadCodec } from '../messaging/serializer.js';
import type { PeerStream, StreamPurpose, StreamTransport } from '../transport/streams/peer-stream.js';
import { HandlerStream } from '../wire/hedge/v1/stream.js';
import { Exchange } from './exchange.js';
import type { StreamLimits } from './item-writer.js';
import { beginMessage, type OpenSpan, type TraceContext } from '../telemetry/tracing.js';
import { type Metrics, NO_METRICS } from '../telemetry/metrics.js';

const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 500;

export interface StreamCallerOptions {
  readonly gate: StartGate;
  readonly transport: StreamTransport;
  readonly route: LeaderRoute;
  readonly clock: Clock;
  readonly codec: PayloadCodec;
  readonly limits: StreamLimits;
  /** Time limit for a handler to accept a stream, in milliseconds. */
  readonly openTimeoutMs: number;
  readonly metrics?: Metrics | undefined;
  /** For the jitter of retries. */
  readonly random?: () => number;
}

/** Opens streams to handlers. The source is not read before the pod of the handler has accepted the stream. */
export class StreamCaller {
  readonly clock: Clock;
  readonly codec: PayloadCodec;

  constructor(private readonly options: StreamCallerOptions) {
    this.clock = options.clock;
    this.codec = options.codec;
  }

  /** Begins the span and the measurement of one stream. End it once. */
  begin(kind: 'leader-stream' | 'broadcast-stream', topic: string): OpenSpan {
    const { metrics = NO_METRICS } = this.options;
    const span = beginMessage(kind === 'leader-stream' ? 'stream' : 'broadcast stream', topic);
    const start = this.clock.now().mono;
    const end = (error?: unknown): void => {
      span.end(error);
      const code = error === undefined ? 'OK' : error instanceof HedgeError ? error.code : 'CANCELLED';
      const seconds = (this.clock.now().mono - start) / 1_000;
      metrics.record('hedge.request.duration', seconds, {
        kind,
        code,
        topic: code === 'NO_HANDLER' ? undefined : topic,
      });
    };
    return { trace: span.trace, end };
  }

  /** @throws HedgeError NOT_STARTED, now or as a rejection. */
  started(topic: string): Promise<void> | undefined {
    return this.options.gate.pass(`stream '${topic}'`);
  }

  /**
   * Opens a stream to the leader. Follows changes of the leader until one accepts or the time is over. The stream is
   * cancelled when the signal aborts, or when this process learns of a later term.
   * @throws HedgeError NO_LEADER, NO_HANDLER, NOT_LEADER, MEMBER_UNREACHABLE, SHUTTING_DOWN
   */
  async openAtLeader(topic: string, signal: AbortSignal, trace: TraceContext = {}): Promise<Exchange> {
    const { route, clock, openTimeoutMs, random = Math.random } = this.options;
    await this.started(topic);
    const deadline = clock.now().mono + openTimeoutMs;
    let refusal: HedgeError | undefined;
    for (let attempt = 1; ; attempt += 1) {
      const belief = route.current();
      if (belief !== undefined) {
        const opened = await this.#tryLeader(
          { topic, id: randomUUID(), epoch: belief.epoch, ...trace },
          belief,
          signal,
        );
        if (opened instanceof Exchange) return opened;
        refusal = opened;
      }
      const leftMs = deadline - clock.now().mono;
      if (leftMs <= 0) throw refusal ?? noLeader(topic, openTimeoutMs);
      await route.refresh();
      const current = route.current();
      if (current !== undefined && current.epoch !== belief?.epoch) continue;
      const pauseMs = backoffMs(attempt, FIRST_PAUSE_MS, LONGEST_PAUSE_MS, random());
      await this.#changeOrPause(Math.min(pauseMs, leftMs), signal);
    }
  }

  /**
   * Opens a stream to one member, for a broadcast. A member without incarnation is not in the view.
   * @throws HedgeError NO_HANDLER, MEMBER_UNREACHABLE, SHUTTING_DOWN, DEADLINE_EXCEEDED
   */
  openAt(member: MemberId, topic: string, signal: AbortSignal, trace: TraceContext = {}): Promise<Exchange> {
    if (member.incarnation === '') return Promise.reject(notInView(topic, member));
    return this.#open(member, 'broadcast-stream', { topic, id: randomUUID(), epoch: 0n, ...trace }, signal);
  }

  /** Rejects with an error that ends the attempts. Resolves with a refusal after which another attempt may succeed. */
  async #tryLeader(
    opening: HandlerStream,
    { leader, epoch }: LeaderBelief,
    signal: AbortSignal,
  ): Promise<Exchange | HedgeError> {
    const { route } = this.options;
    const term = new AbortController();
    const stopFollowing = route.onChange(() => {
      const current = route.current();
      if (current === undefined || current.epoch === epoch) return;
      term.abort(new HedgeError('LEASE_LOST', `${leader.address} is not the leader any more`));
    });
    const given = firstAbort(signal, term.signal);
    const over = (): void => {
      stopFollowing();
      given.release();
    };
    try {
      return await this.#open(leader, 'leader-stream', opening, given.signal, over);
    } catch (error) {
      over();
      if (signal.aborted || !(error instanceof HedgeError) || !mayChange(error)) throw error;
      return error;
    }
  }

  async #open(
    member: MemberId,
    purpose: StreamPurpose,
    opening: HandlerStream,
    signal: AbortSignal,
    over: () => void = () => undefined,
  ): Promise<Exchange> {
    const { transport, clock, openTimeoutMs, codec, limits } = this.options;
    const { topic, id: requestId } = opening;
    const stream = await transport.openStream(
      member,
      { purpose, opening: HandlerStream.encode(opening).finish() },
      { signal },
    );
    const frames = stream[Symbol.asyncIterator]();
    const cancelTimer = clock.after(openTimeoutMs, () => stream.cancel(notAccepted(topic, member, openTimeoutMs)));
    cancelWith(signal, stream);
    try {
      const { done, value } = await frames.next();
      if (done === true || value.byteLength > 0) throw otherProtocol(topic, member);
    } catch (error) {
      const refusal = asRefusal(error);
      stream.cancel(refusal);
      throw refusal;
    } finally {
      cancelTimer();
    }
    return new Exchange({ stream, frames, topic, requestId, codec, limits, over });
  }

  /** Waits for another leader, for at most `ms`. */
  #changeOrPause(ms: number, signal: AbortSignal): Promise<void> {
    const { route, clock } = this.options;
    return new Promise((resolve, reject) => {
      const end = (): void => {
        cancel();
        stopFollowing();
        stopListening();
        if (signal.aborted) reject(signal.reason as Error);
        else resolve();
      };
      const cancel = clock.after(ms, end, true);
      const stopFollowing = route.onChange(() => route.current() !== undefined && end());
      const stopListening = onAbort(signal, end);
      if (signal.aborted) end();
    });
  }
}

function cancelWith(signal: AbortSignal, stream: PeerStream): void {
  const abort = (): void => stream.cancel(asCancel(signal.reason));
  if (signal.aborted) abort();
  else signal.addEventListener('abort', abort, { once: true });
}

function asCancel(reason: unknown): HedgeError {
  return reason instanceof HedgeError ? reason : new HedgeError('CANCELLED', 'The caller has cancelled the stream');
}

/** A stopping pod ends its streams with SHUTTING_DOWN. At the caller, that code means that the caller's own pod stops. */
function asRefusal(error: unknown): HedgeError {
  const refusal = asHedgeError(error, 'MEMBER_UNREACHABLE');
  if (refusal.code !== 'SHUTTING_DOWN') return refusal;
  return new HedgeError('MEMBER_UNREACHABLE', refusal.message, { cause: error });
}

/** Whether another attempt, or another leader, may accept the stream. No item has been sent yet. */
function mayChange({ code }: HedgeError): boolean {
  return ['NOT_LEADER', 'LEASE_LOST', 'MEMBER_UNREACHABLE', 'DEADLINE_EXCEEDED', 'OVERLOADED'].includes(code);
}

function notInView(topic: string, { address }: MemberId): HedgeError {
  return new HedgeError(
    'MEMBER_UNREACHABLE',
    `Stream '${topic}' was not opened to ${address}, because no such member is in the view (or skipSelf excluded it). Take addresses from members().`,
  );
}

function noLeader(topic: string, allowedMs: number): HedgeError {
  return new HedgeError(
    'NO_LEADER',
    `Stream '${topic}' was not opened: the group had no leader for ${allowedMs} ms, so nothing was sent. ` +
      'Check that members are running and that the database answers.',
  );
}

function notAccepted(topic: string, { address }: MemberId, allowedMs: number): HedgeError {
  const message = `Stream '${topic}' was not opened: ${address} did not accept it within ${allowedMs} ms, so nothing was sent. Try again.`;
  return new HedgeError('DEADLINE_EXCEEDED', message, { retryable: true });
}

function otherProtocol(topic: string, { address }: MemberId): HedgeError {
  return new HedgeError(
    'MEMBER_UNREACHABLE',
    `Stream '${topic}' was not opened: this version does not understand the answer of ${address}. Run the same version of nestjs-hedge on all pods.`,
    { retryable: false },
  );
}
