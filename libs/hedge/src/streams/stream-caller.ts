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

const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 500;

export interface StreamCallerOptions {
  readonly gate: StartGate;
  readonly transport: StreamTransport;
  readonly route: LeaderRoute;
  readonly clock: Clock;
  readonly codec: PayloadCodec;
  readonly limits: StreamLimits;
  /** Milliseconds that it may take until a handler has accepted a stream. */
  readonly openTimeoutMs: number;
  /** For the jitter of retries. */
  readonly random?: () => number;
}

/** Opens streams to handlers. Nothing of a source is read before the handler's pod has accepted the stream. */
export class StreamCaller {
  readonly clock: Clock;
  readonly codec: PayloadCodec;

  constructor(private readonly options: StreamCallerOptions) {
    this.clock = options.clock;
    this.codec = options.codec;
  }

  /** @throws HedgeError NOT_STARTED, now or as a rejection. */
  started(topic: string): Promise<void> | undefined {
    return this.options.gate.pass(`stream '${topic}'`);
  }

  /**
   * Follows the leader, until one accepts or the time is over. The stream is cancelled when the signal aborts, and
   * when this process hears of a later term.
   * @throws HedgeError NO_LEADER, NO_HANDLER, NOT_LEADER, MEMBER_UNREACHABLE, SHUTTING_DOWN
   */
  async openAtLeader(topic: string, signal: AbortSignal): Promise<Exchange> {
    const { route, clock, openTimeoutMs, random = Math.random } = this.options;
    await this.started(topic);
    const deadline = clock.now().mono + openTimeoutMs;
    let refusal: HedgeError | undefined;
    for (let attempt = 1; ; attempt += 1) {
      const belief = route.current();
      if (belief !== undefined) {
        const opened = await this.#tryLeader(topic, belief, signal);
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
   * To that very member, for a broadcast; one without incarnation is not in the view.
   * @throws HedgeError NO_HANDLER, MEMBER_UNREACHABLE, SHUTTING_DOWN, DEADLINE_EXCEEDED
   */
  openAt(member: MemberId, topic: string, signal: AbortSignal): Promise<Exchange> {
    if (member.incarnation === '') return Promise.reject(notInView(topic, member));
    return this.#open(member, 'broadcast-stream', { topic, id: randomUUID(), epoch: 0n }, signal);
  }

  /** Rejects with what must end the search; resolves with a refusal that another try may get past. */
  async #tryLeader(
    topic: string,
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
      const opening = { topic, id: randomUUID(), epoch };
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

  /** Waits for another leader, at most so long. */
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
  return reason instanceof HedgeError ? reason : new HedgeError('CANCELLED', 'The caller has given this stream up');
}

/** A pod that stops ends its streams with that word, which at the caller is to mean the caller's own stop. */
function asRefusal(error: unknown): HedgeError {
  const refusal = asHedgeError(error, 'MEMBER_UNREACHABLE');
  if (refusal.code !== 'SHUTTING_DOWN') return refusal;
  return new HedgeError('MEMBER_UNREACHABLE', refusal.message, { cause: error });
}

/** Whether another try, or another leader, may accept what this one refused. Nothing has been sent yet. */
function mayChange({ code }: HedgeError): boolean {
  return ['NOT_LEADER', 'LEASE_LOST', 'MEMBER_UNREACHABLE', 'DEADLINE_EXCEEDED', 'OVERLOADED'].includes(code);
}

function notInView(topic: string, { address }: MemberId): HedgeError {
  return new HedgeError(
    'MEMBER_UNREACHABLE',
    `Stream '${topic}' was not opened to ${address}, because no such member is in the view (or skipSelf left it out). Take addresses from members().`,
  );
}

function noLeader(topic: string, allowedMs: number): HedgeError {
  return new HedgeError(
    'NO_LEADER',
    `Stream '${topic}': the group had no leader within ${allowedMs} ms, so nothing was sent. ` +
      'Check that members are running and that the database answers.',
  );
}

function notAccepted(topic: string, { address }: MemberId, allowedMs: number): HedgeError {
  const message = `Stream '${topic}': ${address} has not accepted it within ${allowedMs} ms, so nothing was sent. Try again.`;
  return new HedgeError('DEADLINE_EXCEEDED', message, { retryable: true });
}

function otherProtocol(topic: string, { address }: MemberId): HedgeError {
  return new HedgeError(
    'MEMBER_UNREACHABLE',
    `Stream '${topic}': ${address} answered in a way that this version does not know. Run the same version of nestjs-hedge on all pods.`,
    { retryable: false },
  );
}
