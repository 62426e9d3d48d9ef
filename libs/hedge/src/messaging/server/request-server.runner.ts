import type { Clock } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { RunningWork } from '../../common/running-work.js';
import { MAX_TOPIC_LENGTH, nameOfTopic } from '../topics.js';
import { failureOf } from '../../transport/failure.js';
import { replyBytes } from '../../transport/links/frames.js';
import { type Failure, type Reply, type Request, type RequestKind } from '../../wire/hedge/v1/link.js';
import { Deadlines } from './deadlines.js';
import { RequestDeduplicator } from './request-deduplicator.core.js';
import { type LeaderRoute, notLeading } from '../leader-route.js';
import type { MessagingLimits } from '../limits.js';
import { type Encoded, failureReply, type RequestHandler, successReply } from '../message.js';
import type { Timeline } from './timeline.js';
import { type RequestType, runsHandlers } from '../request-type.js';
import { type Origin, ServerCall } from './server-call.js';

export interface RequestServerOptions {
  readonly clock: Clock;
  readonly timeline: Timeline;
  readonly route: LeaderRoute;
  readonly limits: MessagingLimits;
  /**
   * Hands a reply back to where its request came from. Over a closed link it is lost: the caller asks again.
   * @returns false when the outbound queue is full: it will be tried again.
   */
  readonly reply: (origin: Origin, reply: Reply) => boolean;
}

interface Served {
  readonly type: RequestType;
  readonly handler: RequestHandler;
}

/**
 * Runs the requests of other pods, and of this process itself, to this member. Each admitted request gets exactly one
 * reply, by its caller's deadline at the latest, whatever its handler does.
 */
export class RequestServer {
  readonly #options: RequestServerOptions;
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
    const { maxRunning, maxRunningPerTopic, maxHeldBytes } = options.limits;
    this.#deduplicator = new RequestDeduplicator({
      maxRunning,
      maxRunningPerTopic,
      // Ten times: replies wait for their acknowledgement, which rides on the caller's next message.
      maxEntries: 10 * maxRunning,
      maxBytes: maxHeldBytes,
    });
  }

  /** Whether ticks are needed. */
  get busy(): boolean {
    return this.#deadlines.size > 0 || this.#unsent.size > 0;
  }

  /** Sets the handler of a type of request. */
  serve(type: RequestType, handler: RequestHandler): void {
    this.#served.set(type.kind, { type, handler });
  }

  receive(origin: Origin, request: Request): void {
    const caller = origin.peer.incarnation;
    const duplicate = this.#deduplicator.find(caller, request.sequence);
    if (duplicate !== undefined) {
      duplicate.origin = origin;
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

  /** The caller has a link again. */
  returned(caller: MemberId): void {
    this.#leaving.get(caller.incarnation)?.();
    this.#leaving.delete(caller.incarnation);
  }

  /** The caller has no link any more. It is forgotten unless it returns. */
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
   * Refuses leader work of that term or an earlier one, except for types that are accepted during a drain. Resolves when
   * all work that was accepted before has ended. Callers send refused work to the next leader.
   */
  drain(epoch: bigint): Promise<void> {
    if (epoch > this.#drainedEpoch) this.#drainedEpoch = epoch;
    return this.#leaderWork.ended();
  }

  /** Refuses broadcasts with SHUTTING_DOWN from now on. Resolves when none runs. */
  drainBroadcasts(): Promise<void> {
    this.#refusesBroadcasts = true;
    return this.#broadcasts.ended();
  }

  /** The leader may have changed. Leader work of a lost term is interrupted, so that its caller sends it to the next one. */
  leaderChanged(): void {
    for (const call of this.#deduplicator.running()) {
      if (isLeaderWork(call.type) && !this.#options.route.leads(call.epoch)) this.#interrupt(call);
    }
  }

  tick(now: number): void {
    for (const call of this.#deadlines.takeExpired(now)) {
      const error = new HedgeError(
        'DEADLINE_EXCEEDED',
        `${nameOfTopic(call.topic)} was started, and did not end within the ${call.timeoutMs} ms its caller allowed. ` +
          'Allow more time, or see why the handler is slow.',
        { details: { requestId: call.requestId, started: true } },
      );
      call.abort(error);
      this.#end(call, failureReply(call.sequence, failureOf(error)));
    }
    this.#sendUnsent();
  }

  /** Refuses all requests. Running ones are aborted, and their callers get an error. */
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

  /** Leaves no entry: the same request, sent again after a lost link, is judged again. */
  #refuse(origin: Origin, { sequence }: Request, failure: Failure): void {
    this.#options.reply(origin, failureReply(sequence, failure));
  }

  #sendReply(call: ServerCall): void {
    if (call.reply !== undefined && !this.#options.reply(call.origin, call.reply)) this.#unsent.add(call);
  }

  /** In order for each link, and one try for each that is full: a slow peer must not cost the others their time. */
  #sendUnsent(): void {
    const full = new Set<Origin>();
    for (const call of this.#unsent) {
      if (full.has(call.origin)) continue;
      const over = call.dropped || call.reply === undefined || this.#options.reply(call.origin, call.reply);
      if (over) this.#unsent.delete(call);
      else full.add(call.origin);
    }
  }

  /** @param type of the request; undefined when this pod does not serve it. */
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

  /** NOT_LEADER is `retryable` exactly if the work was not started: only then may the same term run it. */
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
    // A reply with this code sends the caller to another pod. So it must not come from a call that a user's handler made.
    const details = JSON.stringify({ code: failure.code });
    this.#end(call, failureReply(call.sequence, { ...failure, code: 'HANDLER_FAILED', details, retryable: false }));
  }

  #end(call: ServerCall, reply: Reply): void {
    if (call.reply !== undefined) return;
    this.#deadlines.delete(call);
    const fitting = this.#fitting(call, reply);
    const wanted = this.#deduplicator.finish(call, fitting, replyBytes(fitting));
    if (call.awaited) this.#leaderWork.end();
    if (isBroadcast(call.type)) this.#broadcasts.end();
    if (wanted && !this.#options.reply(call.origin, fitting)) this.#unsent.add(call);
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

/** A type that this pod does not serve may be one of a later version: only the leader refuses it. */
function isLeaderWork(type: RequestType | undefined): boolean {
  return type?.runsAt !== 'member';
}

/** Broadcasts are what a member refuses, and waits for, before it stops. */
function isBroadcast(type: RequestType | undefined): boolean {
  return type?.runsAt === 'member' && type.duringDrain === 'refused';
}

function acceptedInDrain({ here }: Origin, type: RequestType | undefined): boolean {
  if (type?.duringDrain === 'accepted from this pod') return here === true;
  return type?.duringDrain === 'accepted';
}
