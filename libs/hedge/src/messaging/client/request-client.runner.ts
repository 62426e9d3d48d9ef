import { randomUUID } from 'node:crypto';
import { outsideContext } from '../../common/async/async-context.js';
import type { Clock } from '../../common/clock.js';
import { asHedgeError, HedgeError } from '../../common/errors.js';
import type { Logger } from '../../common/line-logger.js';
import type { MemberId } from '../../common/identity.js';
import type { Link, Transport } from '../../transport/transport.js';
import type { Reply, Request } from '../../wire/hedge/v1/link.js';
import { BurstLog } from './burst-log.js';
import { onAbort } from '../../common/async/on-abort.js';
import { destinationOf, nameOfTopic } from '../topics.js';
import { MAX_TIMEOUT_MS } from '../call-options.js';
import { ClientCall } from './client-call.js';
import type { LeaderRoute } from '../leader-route.js';
import type { MessagingLimits } from '../limits.js';
import type { Encoded, OutgoingRequest } from '../message.js';
import { RequestRouter } from './request-routing.core.js';
import type { RoutingEffect, RoutingInput } from './request-routing.messages.js';
import type { Timeline } from '../server/timeline.js';
import { type RequestType, runsHandlers, topicLabel } from '../request-type.js';
import type { Metrics } from '../../telemetry/metrics.js';

export interface RequestClientOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly timeline: Timeline;
  readonly route: LeaderRoute;
  readonly limits: MessagingLimits;
  readonly random: () => number;
  /** Runs a request to this process itself. The reply arrives through `replied`. */
  readonly runHere: (request: Request) => void;
  readonly cancelHere: (sequence: number) => void;
  readonly logger?: Pick<Logger, 'warn'> | undefined;
  readonly metrics: Metrics;
}

class PendingCall extends ClientCall {
  /** Stops listening to the caller's signal. */
  stopListening: () => void = () => undefined;

  constructor(
    request: OutgoingRequest,
    deadline: number,
    readonly resolve: (payload: Encoded) => void,
    readonly reject: (error: unknown) => void,
  ) {
    super(randomUUID(), request, deadline);
  }
}

/** Sends the requests of this process. It performs the effects of the router. */
export class RequestClient {
  readonly #options: RequestClientOptions;
  readonly #router: RequestRouter<PendingCall>;
  /** The open link to each receiver, by incarnation. */
  readonly #links = new Map<string, Link>();
  /** The requests that wait for a reply, by pool of slots. A full pool does not block requests of another pool. */
  readonly #pending = new Map<string, { calls: number; bytes: number }>();
  readonly #lostLeaders = new BurstLog(10, 10_000);
  #closed = false;

  constructor(options: RequestClientOptions) {
    this.#options = options;
    this.#router = new RequestRouter(options.transport.self, options.random);
  }

  /** Whether the runner needs ticks. */
  get busy(): boolean {
    return this.#router.size > 0;
  }

  outstandingAt(receiver: MemberId): readonly number[] {
    return this.#router.outstandingAt(receiver);
  }

  request(request: OutgoingRequest): Promise<Encoded> {
    const refused = this.#refusal(request);
    if (refused !== undefined) {
      this.#measure(request, 0, refused.code);
      return Promise.reject(refused);
    }
    const { signal, timeoutMs } = request;
    if (signal?.aborted === true) return Promise.reject(signal.reason as Error);
    return new Promise((resolve, reject) => {
      const now = this.#now();
      const call = new PendingCall(request, now + timeoutMs, resolve, reject);
      this.#count(request, 1);
      if (signal !== undefined) {
        call.stopListening = onAbort(signal, () => this.#step({ type: 'abandoned', call, reason: signal.reason }));
      }
      this.#step({ type: 'begin', call }, now);
    });
  }

  /** Call this when the known leader has changed, or when no leader is known any more. */
  leaderChanged(): void {
    const belief = this.#options.route.current();
    this.#step({ type: 'leader', leader: belief?.leader, epoch: belief?.epoch ?? 0n });
  }

  replied(member: MemberId, reply: Reply): void {
    this.#step({ type: 'replied', member, reply });
  }

  linked(link: Link): void {
    this.#links.set(link.peer.incarnation, link);
    this.#step({ type: 'linked', member: link.peer, resumed: link.resumed });
  }

  unlinked(link: Link): void {
    if (this.#links.get(link.peer.incarnation) !== link) return;
    this.#links.delete(link.peer.incarnation);
    this.#step({ type: 'unlinked', member: link.peer });
  }

  departed(member: MemberId): void {
    this.#step({ type: 'departed', member });
  }

  tick(): void {
    this.#step({ type: 'tick' });
  }

  close(): void {
    this.#closed = true;
    this.#step({ type: 'close', error: closed() });
  }

  /** Adds to an error about a missing leader why the election found none, if this process knows the reason. */
  #explained(error: unknown): unknown {
    const { trouble, stopped } = this.#options.route;
    if (
      (trouble === undefined && stopped !== true) ||
      !(error instanceof HedgeError) ||
      error.details['started'] !== false
    )
      return error;
    if (error.code !== 'NO_LEADER' && error.code !== 'DEADLINE_EXCEEDED') return error;
    const { code, details, retryable, cause } = error;
    const why =
      trouble === undefined
        ? 'This pod is stopping and no longer leads, and no other pod has become leader.'
        : `The election cannot use the database now: ${trouble}`;
    const message = `${error.message} ${why}`;
    return new HedgeError(code, message, { details, retryable, cause });
  }

  #pendingOf({ slots }: RequestType): { calls: number; bytes: number } {
    let pending = this.#pending.get(slots);
    if (pending === undefined) {
      pending = { calls: 0, bytes: 0 };
      this.#pending.set(slots, pending);
    }
    return pending;
  }

  #count({ type, payload }: OutgoingRequest, calls: 1 | -1): void {
    const pending = this.#pendingOf(type);
    pending.calls += calls;
    pending.bytes += calls * payload.bytes.byteLength;
  }

  #refusal({ type, topic, name = nameOfTopic(topic), payload, timeoutMs }: OutgoingRequest): HedgeError | undefined {
    const { maxMessageBytes, maxPending, maxHeldBytes } = this.#options.limits;
    const bytes = payload.bytes.byteLength;
    if (this.#closed) return closed();
    if (!(timeoutMs > 0 && timeoutMs <= MAX_TIMEOUT_MS)) {
      const message = `timeoutMs of ${name} is ${timeoutMs}. It must be above 0 and at most ${MAX_TIMEOUT_MS} milliseconds.`;
      return new HedgeError('INVALID_ARGUMENT', message);
    }
    if (bytes > maxMessageBytes) {
      return new HedgeError(
        'PAYLOAD_TOO_LARGE',
        `The payload of ${name} has ${bytes} bytes; at most ${maxMessageBytes} are allowed. Send less, or raise limits.maxMessageBytes on all pods.`,
        { details: { bytes, maxMessageBytes } },
      );
    }
    const pending = this.#pendingOf(type);
    if (pending.calls >= maxPending || pending.bytes + bytes > maxHeldBytes) {
      return new HedgeError(
        'OVERLOADED',
        `Request ${name} was not sent, because this pod already waits for the replies to ${pending.calls} others (${pending.bytes} bytes). Send fewer at a time.`,
      );
    }
    return undefined;
  }

  #now(): number {
    return this.#options.timeline.advance(this.#options.clock.now());
  }

  #step(input: RoutingInput<PendingCall>, now = this.#now()): void {
    for (const effect of this.#router.step(input, now)) this.#perform(effect, now);
  }

  #perform(effect: RoutingEffect<PendingCall>, now: number): void {
    switch (effect.type) {
      case 'transmit':
        return this.#transmit(effect.member, effect.call, now);
      case 'resolve': {
        const { encoding, payload } = effect.reply;
        this.#settled(effect.call, now);
        return effect.call.resolve({ encoding, bytes: payload });
      }
      case 'reject':
        this.#settled(effect.call, now, effect.error);
        return effect.call.reject(this.#explained(effect.error));
      case 'cancel':
        return this.#cancel(effect.member, effect.sequence);
      case 'dial':
        return this.#dial(effect.member);
      case 'refresh':
        return this.#refresh();
      case 'leader-lost':
        return this.#leaderLost(effect);
    }
  }

  /** Logs a lost leader for a user's request. A request that appears here repeatedly may crash its leaders. */
  #leaderLost({ call, leader, again }: RoutingEffect<PendingCall> & { type: 'leader-lost' }): void {
    const { logger, clock } = this.#options;
    if (logger === undefined || !runsHandlers(call.request.type)) return;
    const { id, attempt, lostLeaders, request } = call;
    const next = again
      ? `is sent to the next one: rerun ${lostLeaders} of at most ${request.maxReruns ?? 'any number'}`
      : `does not run again: OUTCOME_UNKNOWN after ${attempt} attempts`;
    this.#lostLeaders.warn(
      logger,
      clock.now().mono,
      `${call.description} (request ${id}) may have been running on ${leader.address} when that leader was lost, and ${next}`,
      {
        event: 'message.interrupted',
        topic: destinationOf(request.topic),
        requestId: id,
        attempt,
        leader: leader.address,
      },
    );
  }

  #transmit(member: MemberId, call: PendingCall, now: number): void {
    const { type, topic, payload, trace } = call.request;
    const value: Request = {
      sequence: call.sequence,
      kind: type.kind,
      topic,
      encoding: payload.encoding,
      payload: payload.bytes,
      timeoutMs: Math.min(Math.max(1, Math.ceil(call.deadline - now)), MAX_TIMEOUT_MS),
      attempt: call.attempt,
      id: call.id,
      epoch: call.epoch,
      ...trace,
    };
    if (this.#isSelf(member)) {
      // The request runs in a later turn of the event loop, as a remote one does. Otherwise a loop that sends to its own
      // process would block timers and sockets, and so the renewal of the lease.
      outsideContext(() => setImmediate(() => call.sequence === value.sequence && this.#options.runHere(value)));
      return;
    }
    try {
      this.#links.get(member.incarnation)?.send({ $case: 'request', value }, type.mayUseReserve);
    } catch (error) {
      this.#step({ type: 'not-transmitted', call, error: asHedgeError(error, 'MEMBER_UNREACHABLE') });
    }
  }

  #cancel(member: MemberId, sequence: number): void {
    if (this.#isSelf(member)) return this.#options.cancelHere(sequence);
    try {
      this.#links.get(member.incarnation)?.send({ $case: 'cancel', value: { sequence } });
    } catch {
      // The queue is full. A cancellation only saves work, because the receiver also knows the deadline.
    }
  }

  #dial(member: MemberId): void {
    this.#options.transport
      .dial(member)
      .catch((error: unknown) =>
        this.#step({ type: 'dial-failed', member, error: asHedgeError(error, 'MEMBER_UNREACHABLE') }),
      );
  }

  #refresh(): void {
    void this.#options.route.refresh().finally(() => {
      this.leaderChanged();
      this.#step({ type: 'refreshed' });
    });
  }

  #settled({ request, deadline, stopListening }: PendingCall, now: number, error?: unknown): void {
    this.#count(request, -1);
    stopListening();
    if (!this.#options.metrics.listening) return;
    // An error that is not of this library is the reason of the caller's signal.
    const code = error === undefined ? 'OK' : error instanceof HedgeError ? error.code : 'CANCELLED';
    this.#measure(request, now - (deadline - request.timeoutMs), code);
  }

  #measure({ type, topic }: OutgoingRequest, ms: number, code: string): void {
    const { metrics } = this.#options;
    metrics.record('hedge.request.duration', ms / 1_000, {
      kind: type.name,
      code,
      topic: topicLabel(type, topic, code),
    });
  }

  #isSelf(member: MemberId): boolean {
    return member.incarnation === this.#options.transport.self.incarnation;
  }
}

function closed(): HedgeError {
  return new HedgeError('SHUTTING_DOWN', 'This pod sends no more requests: it is stopping, or its mode is off');
}
