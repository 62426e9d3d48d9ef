import type { Clock } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { RunningWork } from '../../common/running-work.js';
import { isForwarded, MAX_TOPIC_LENGTH, nameOfTopic } from '../topics.js';
import { failureOf } from '../../transport/failure.js';
import { replyBytes } from '../../transport/links/frames.js';
import { type Failure, type Reply, type Request, type RequestKind } from '../../wire/hedge/v1/link.js';
import type { HandlerFigures } from './handler-figures.js';
import { Deadlines } from './deadlines.js';
import { RequestDeduplicator } from './request-deduplicator.core.js';
import { type LeaderRoute, notLeading } from '../leader-route.js';
import type { MessagingLimits } from '../limits.js';
import { type Encoded, failureReply, type RequestHandler, successReply } from '../message.js';
import type { Timeline } from './timeline.js';
import { type RequestType, runsHandlers, topicLabel } from '../request-type.js';
import { type Metrics, NO_METRICS } from '../../telemetry/metrics.js';
import { type Origin, ServerCall } from './server-call.js';

export interface RequestServerOptions {
  readonly clock: Clock;
  readonly timeline: Timeline;
  readonly route: LeaderRoute;
  readonly limits: MessagingLimits;
  /**
   * Sends a reply to the origin of its request. A reply over a closed link is lost, and the caller sends the request again.
   * @returns false when the outbound queue is full. The server then tries again later.
   */
  readonly reply: (origin: Origin, reply: Reply) => boolean;
  readonly metrics?: Metrics | undefined;
  readonly figures?: HandlerFigures | undefined;
}

interface Served {
  readonly type: RequestType;
  readonly handler: RequestHandler;
}

/**
 * Runs the requests that this member receives from other pods and from its own process. Each admitted request gets exactly
 * one reply, not later than the deadline of its caller. This does not depend on its handler.
 */
export class RequestServer {
  readonly #options: RequestServerOptions;
  readonly #metrics: Metrics;
  readonly #served = new Map<RequestKind, Served>();
  readonly #deduplicator: RequestDeduplicator<ServerCall>;
  readonly #deadlines = new Deadlines<ServerCall>();
  /** Replies that found the outbound queue full. */
  readonly #unsent = new Set<ServerCall>();
  /** Cancels the removal of callers without a link, by incarnation. */
  readonly #leaving = new Map<string, () => void>();
  /** This pod refuses leader work of this term and of earlier ones. */
  #drainedEpoch = 0n;
  readonly #leaderWork = new RunningWork();
  #refusesBroadcasts = false;
  readonly #broadcasts = new RunningWork();
  #closed = false;

  constructor(options: RequestServerOptions) {
    this.#options = options;
    this.#metrics = options.metrics ?? NO_METRICS;
    const { maxRunning, maxRunningPerTopic, maxHeldBytes } = options.limits;
    this.#deduplicator = new RequestDeduplicator({
      maxRunning,
      maxRunningPerTopic,
      // Ten times, because replies wait for their acknowledgement, which the caller sends with its next message.
      maxEntries: 10 * maxRunning,
      maxBytes: maxHeldBytes,
    });
  }

  /** Whether the runner needs ticks. */
  get busy(): boolean {
    return this.#deadlines.size > 0 || this.#unsent.size > 0;
  }

  /** Sets the handler for a type of request. */
  serve(type: RequestType, handler: RequestHandler): void {
    this.#served.set(type.kind, { type, handler });
  }

  receive(origin: Origin, request: Request): void {
    const caller = origin.peer.incarnation;
    const duplicate = this.#deduplicator.find(caller, request.sequence);
    if (duplicate !== undefined) {
      duplicate.origin = origin;
      this.#metrics.add('hedge.request.duplicates', { kind: duplicate.type.name });
      return this.#sendReply(duplicate);
    }
    const served = this.#served.get(request.kind);
    const refusal = this.#refusal(origin, request, served?.type);
    if (refusal !== undefined) return this.#refuse(origin, request, refusal);
    if (served === undefined) return this.#refuse(origin, request, notServed(request));
    const deadline = this.#options.timeline.advance(this.#options.clock.now()) + request.timeoutMs;
    const call = new ServerCall(origin, request, deadline, served.type);
    const overloaded = this.#deduplicator.admit(caller, call);
    if (overloaded !== undefined) return this.#refuse(origin, request, failureOf(overloaded));
    this.#deadlines.add(call);
    call.awaited = isLeaderWork(served.type) && request.epoch > this.#drainedEpoch;
    if (call.awaited) this.#leaderWork.begin();
    if (isBroadcast(call.type)) this.#broadcasts.begin();
    this.#run(call, served.handler);
  }

  /** The caller has cancelled the request. */
  cancel(caller: MemberId, sequence: number): void {
    this.#deduplicator
      .find(caller.incarnation, sequence)
      ?.abort(new HedgeError('DEADLINE_EXCEEDED', 'The caller has cancelled this request'));
  }

  acknowledge(caller: MemberId, sequences: readonly number[]): void {
    this.#deduplicator.acknowledge(caller.incarnation, sequences);
  }

  /** See `LinkSessions.resume`. */
  resume(caller: MemberId, outstanding: readonly number[]): boolean {
    const { known, dropped } = this.#deduplicator.resume(caller.incarnation, outstanding);
    this.#drop(dropped);
    return known;
  }

  /** Call this when the caller has a link again. */
  returned(caller: MemberId): void {
    this.#leaving.get(caller.incarnation)?.();
    this.#leaving.delete(caller.incarnation);
  }

  /** Call this when the caller has no more links. The server forgets the caller unless it returns in time. */
  left(caller: MemberId): void {
    this.returned(caller);
    const { clock, limits } = this.#options;
    const forget = (): void => {
      this.#leaving.delete(caller.incarnation);
      this.#drop(this.#deduplicator.forget(caller.incarnation));
    };
    this.#leaving.set(caller.incarnation, clock.after(limits.rememberCallerMs, forget));
  }

  /**
   * Refuses leader work of that term and of earlier ones, except types that are accepted during a drain. Resolves when all
   * work that was accepted before has ended. Callers send the refused work to the next leader.
   */
  drain(epoch: bigint): Promise<void> {
    if (epoch > this.#drainedEpoch) this.#drainedEpoch = epoch;
    return this.#leaderWork.ended();
  }

  /** Refuses broadcasts with SHUTTING_DOWN from now on. Resolves when no broadcast runs. */
  drainBroadcasts(): Promise<void> {
    this.#refusesBroadcasts = true;
    return this.#broadcasts.ended();
  }

  /** Call this when the leader may have changed. Interrupts work of a lost term; callers send it to the next leader. */
  leaderChanged(): void {
    for (const call of this.#deduplicator.running()) {
      if (isLeaderWork(call.type) && !this.#options.route.leads(call.epoch)) this.#interrupt(call);
    }
  }

  tick(now: number): void {
    for (const call of this.#deadlines.takeExpired(now)) {
      const error = new HedgeError(
        'DEADLINE_EXCEEDED',
        `${nameOfTopic(call.topic)} was started, and did not end within the ${call.timeoutMs} ms that its caller allowed. ` +
          'Allow more time, or check why the handler is slow.',
        { details: { requestId: call.requestId, started: true } },
      );
      call.abort(error);
      this.#end(call, failureReply(call.sequence, failureOf(error)));
    }
    this.#sendUnsent();
  }

  /** Refuses all requests. Aborts running requests, and sends an error to their callers. */
  close(): void {
    this.#closed = true;
    for (const cancel of this.#leaving.values()) cancel();
    this.#leaving.clear();
    const error = new HedgeError('SHUTTING_DOWN', 'This pod is stopping', { retryable: false });
    for (const call of this.#deduplicator.running()) {
      if (isLeaderWork(call.type)) {
        this.#interrupt(call);
      } else {
        call.abort(error);
        this.#end(call, failureReply(call.sequence, failureOf(error)));
      }
    }
  }

  /** Stores no entry. If the caller sends the same request again after a lost link, the server checks it again. */
  #refuse(origin: Origin, { sequence, kind }: Request, failure: Failure): void {
    const { name = 'unknown' } = this.#served.get(kind)?.type ?? {};
    this.#metrics.add('hedge.request.refusals', { kind: name, code: failure.code });
    this.#options.reply(origin, failureReply(sequence, failure));
  }

  #sendReply(call: ServerCall): void {
    if (call.reply !== undefined && !this.#options.reply(call.origin, call.reply)) this.#unsent.add(call);
  }

  /** Sends the replies of each link in order. A full link is tried once, so that a slow peer does not delay others. */
  #sendUnsent(): void {
    const full = new Set<Origin>();
    for (const call of this.#unsent) {
      if (full.has(call.origin)) continue;
      const over = call.dropped || call.reply === undefined || this.#options.reply(call.origin, call.reply);
      if (over) this.#unsent.delete(call);
      else full.add(call.origin);
    }
  }

  /** @param type the type of the request; undefined when this pod does not serve it. */
  #refusal(origin: Origin, request: Request, type: RequestType | undefined): Failure | undefined {
    if (isLeaderWork(type)) {
      const drained = request.epoch <= this.#drainedEpoch && !acceptedInDrain(origin, type);
      const accepts = !this.#closed && !drained && this.#options.route.leads(request.epoch);
      if (!accepts) return this.#notLeader(failureOf(notLeading()));
    } else if (this.#closed || (this.#refusesBroadcasts && isBroadcast(type))) {
      return failureOf(
        new HedgeError('SHUTTING_DOWN', 'The pod that was asked is stopping, so the request was not started'),
      );
    }
    if (request.topic.length > MAX_TOPIC_LENGTH) {
      const message = `The topic has ${request.topic.length} characters; at most ${MAX_TOPIC_LENGTH} are allowed`;
      return failureOf(new HedgeError('INVALID_ARGUMENT', message));
    }
    return undefined;
  }

  /** NOT_LEADER is `retryable` only if the work was not started. Only then may the same term run it. */
  #notLeader(failure: Failure): Failure {
    const belief = this.#options.route.current();
    const leader = belief && !belief.self ? { ...belief.leader, epoch: belief.epoch } : undefined;
    return { ...failure, leader };
  }

  #interrupt(call: ServerCall): void {
    call.abort(new HedgeError('LEASE_LOST', 'This pod is not the leader any more'));
    const message = 'The work was interrupted, because the pod that ran it lost the lease';
    const failure = this.#notLeader(failureOf(new HedgeError('NOT_LEADER', message, { retryable: false })));
    this.#end(call, failureReply(call.sequence, failure));
  }

  #run(call: ServerCall, handler: RequestHandler): void {
    try {
      handler(call).then(
        (payload) => this.#succeeded(call, payload),
        (error: unknown) => this.#failed(call, error),
      );
    } catch (error) {
      this.#failed(call, error);
    }
  }

  #succeeded(call: ServerCall, payload: Encoded): void {
    this.#end(call, successReply(call.sequence, payload));
  }

  #failed(call: ServerCall, error: unknown): void {
    const failure = failureOf(error);
    if (failure.code !== 'NOT_LEADER' || !isLeaderWork(call.type)) {
      return this.#end(call, failureReply(call.sequence, failure));
    }
    if (!this.#options.route.leads(call.epoch)) return this.#interrupt(call);
    if (!runsHandlers(call.type)) {
      return this.#end(call, failureReply(call.sequence, this.#notLeader(failure)));
    }
    // This code makes the caller try another pod. So a NOT_LEADER that a user's handler got from its own call is replaced.
    const details = JSON.stringify({ code: failure.code });
    this.#end(call, failureReply(call.sequence, { ...failure, code: 'HANDLER_FAILED', details, retryable: false }));
  }

  #end(call: ServerCall, reply: Reply): void {
    if (call.reply !== undefined) return;
    this.#deadlines.delete(call);
    const fitting = this.#fitting(call, reply);
    if (this.#metrics.listening || runsHandlers(call.type)) this.#measure(call, fitting.failure?.code ?? 'OK');
    const wanted = this.#deduplicator.finish(call, fitting, replyBytes(fitting));
    if (call.awaited) this.#leaderWork.end();
    if (isBroadcast(call.type)) this.#broadcasts.end();
    if (wanted && !this.#options.reply(call.origin, fitting)) this.#unsent.add(call);
  }

  #measure({ type, topic, deadline, timeoutMs }: ServerCall, code: string): void {
    const { timeline, clock } = this.#options;
    const now = clock.now();
    const ms = timeline.advance(now) - (deadline - timeoutMs);
    const label = topicLabel(type, topic, code);
    if (this.#metrics.listening) {
      this.#metrics.record('hedge.handler.duration', ms / 1_000, { kind: type.name, code, topic: label });
    }
    if (label === undefined) return;
    const kind = type.runsAt === 'member' ? 'broadcast' : isForwarded({ topic }) ? 'leaderOnly' : 'leader';
    this.#options.figures?.record(kind, label, code, ms, now.mono);
  }

  #fitting(call: ServerCall, reply: Reply): Reply {
    const bytes = replyBytes(reply);
    const { maxMessageBytes } = this.#options.limits;
    if (bytes <= maxMessageBytes) return reply;
    const error = new HedgeError(
      'PAYLOAD_TOO_LARGE',
      `${nameOfTopic(call.topic)} ran, and its reply has ${bytes} bytes; at most ${maxMessageBytes} are allowed. Reply with less, or raise limits.maxMessageBytes on all pods.`,
      { details: { bytes, maxMessageBytes } },
    );
    return failureReply(call.sequence, failureOf(error));
  }

  #drop(dropped: readonly ServerCall[]): void {
    for (const call of dropped)
      call.abort(new HedgeError('DEADLINE_EXCEEDED', 'The caller has cancelled this request'));
  }
}

function notServed({ kind }: Request): Failure {
  const message = `The pod that was asked does not serve requests of kind ${kind}. Run the same version of nestjs-hedge on all pods.`;
  return failureOf(new HedgeError('NO_HANDLER', message));
}

/** An unknown type may come from a later version. It counts as leader work, so only the leader refuses it. */
function isLeaderWork(type: RequestType | undefined): boolean {
  return type?.runsAt !== 'member';
}

/** Before a member stops, it refuses new broadcasts and waits for running ones. */
function isBroadcast(type: RequestType | undefined): boolean {
  return type?.runsAt === 'member' && type.duringDrain === 'refused';
}

function acceptedInDrain({ here }: Origin, type: RequestType | undefined): boolean {
  if (type?.duringDrain === 'accepted from this pod') return here === true;
  return type?.duringDrain === 'accepted';
}
