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
 * Runs what others, and this process itself, ask of this member. Each admitted request gets exactly one
 * reply, by its caller's deadline at the latest, whatever its handler does.
 */
export class RequestServer {
  readonly #options: RequestServerOptions;
  readonly #served = new Map<RequestKind, Served>();
  readonly #duplicates: RequestDeduplicator<ServerCall>;
  readonly #deadlines = new Deadlines<ServerCall>();
  /** Replies that found the outbound queue full. */
  readonly #unsent = new Set<ServerCall>();
  /** Ways to cancel the forgetting of callers without a link, by incarnation. */
  readonly #leaving = new Map<string, () => void>();
  /** Leader work of this term, and of those before it, is not taken any more. */
  #drainedEpoch = 0n;
  readonly #leaderWork = new RunningWork();
  /** Broadcasts are not taken any more. */
  #refusesBroadcasts = false;
  readonly #broadcasts = new RunningWork();
  #closed = false;

  constructor(options: RequestServerOptions) {
    this.#options = options;
    const { maxRunning, maxRunningPerTopic, maxHeldBytes } = options.limits;
    this.#duplicates = new RequestDeduplicator({
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
    const duplicate = this.#duplicates.find(caller, request.sequence);
    if (duplicate !== undefined) {
      duplicate.origin = origin;
      return this.#sendReply(duplicate);
    }
    const served = this.#served.get(request.kind);
    const refusal = this.#refusal(origin, request, served?.type);
    if (refusal !== undefined) return this.#refuse(origin, request, refusal);
    if (served === undefined) return this.#refuse(origin, request, notServed(request));
    const deadline = this.#options.timeline.advance(this.#options.clock.now()) + request.timeoutMs;
    const work = new ServerCall(origin, request, deadline, served.type);
    const overloaded = this.#duplicates.admit(caller, work);
    if (overloaded !== undefined) return this.#refuse(origin, request, failureOf(overloaded));
    this.#deadlines.add(work);
    work.awaited = isLeaderWork(served.type) && request.epoch > this.#drainedEpoch;
    if (work.awaited) this.#leaderWork.begin();
    if (isBroadcast(work.type)) this.#broadcasts.begin();
    this.#run(work, served.handler);
  }

  /** The caller does not want it any more. */
  cancel(caller: MemberId, sequence: number): void {
    this.#duplicates
      .find(caller.incarnation, sequence)
      ?.abort(new HedgeError('DEADLINE_EXCEEDED', 'The caller has given this request up'));
  }

  acknowledge(caller: MemberId, sequences: readonly number[]): void {
    this.#duplicates.acknowledge(caller.incarnation, sequences);
  }

  /** See `LinkSessions.resume`. */
  resume(caller: MemberId, outstanding: readonly number[]): boolean {
    const { known, dropped } = this.#duplicates.resume(caller.incarnation, outstanding);
    this.#drop(dropped);
    return known;
  }

  /** The caller has a link again. */
  returned(caller: MemberId): void {
    this.#leaving.get(caller.incarnation)?.();
    this.#leaving.delete(caller.incarnation);
  }

  /** The caller has no link any more: it is forgotten if it stays away. */
  left(caller: MemberId): void {
    this.returned(caller);
    const { clock, limits } = this.#options;
    const forget = (): void => {
      this.#leaving.delete(caller.incarnation);
      this.#drop(this.#duplicates.forget(caller.incarnation));
    };
    this.#leaving.set(caller.incarnation, clock.after(limits.rememberCallerMs, forget));
  }

  /**
   * Takes no more leader work of that term or an earlier one, but for what `goesOnInDrain`; resolves when none runs
   * that was taken before. What is refused goes on to the next leader.
   */
  drain(epoch: bigint): Promise<void> {
    if (epoch > this.#drainedEpoch) this.#drainedEpoch = epoch;
    return this.#leaderWork.ended();
  }

  /** Takes no more broadcasts; resolves when none runs. What is refused fails with SHUTTING_DOWN. */
  drainBroadcasts(): Promise<void> {
    this.#refusesBroadcasts = true;
    return this.#broadcasts.ended();
  }

  /** The election may have turned: leader work of a lost term is interrupted, so that it goes to the next leader. */
  leaderChanged(): void {
    for (const work of this.#duplicates.running()) {
      if (isLeaderWork(work.type) && !this.#options.route.leads(work.epoch)) this.#interrupt(work);
    }
  }

  tick(now: number): void {
    for (const work of this.#deadlines.takeExpired(now)) {
      const error = new HedgeError(
        'DEADLINE_EXCEEDED',
        `${nameOfTopic(work.topic)} was started, and did not end within the ${work.timeoutMs} ms its caller allowed. ` +
          'Allow more time, or see why the handler is slow.',
        { details: { requestId: work.requestId, started: true } },
      );
      work.abort(error);
      this.#end(work, failureReply(work.sequence, failureOf(error)));
    }
    this.#sendUnsent();
  }

  /** Takes nothing more; what runs is told to stop, and its callers that it was not finished. */
  close(): void {
    this.#closed = true;
    for (const cancel of this.#leaving.values()) cancel();
    this.#leaving.clear();
    const error = new HedgeError('SHUTTING_DOWN', 'This pod is stopping', { retryable: false });
    for (const work of this.#duplicates.running()) {
      if (isLeaderWork(work.type)) {
        this.#interrupt(work);
      } else {
        work.abort(error);
        this.#end(work, failureReply(work.sequence, failureOf(error)));
      }
    }
  }

  /** Leaves no entry: the same request, sent again after a lost link, is judged again. */
  #refuse(origin: Origin, { sequence }: Request, failure: Failure): void {
    this.#options.reply(origin, failureReply(sequence, failure));
  }

  #sendReply(work: ServerCall): void {
    if (work.reply !== undefined && !this.#options.reply(work.origin, work.reply)) this.#unsent.add(work);
  }

  /** In order for each link, and one try for each that is full: a slow peer must not cost the others their time. */
  #sendUnsent(): void {
    const full = new Set<Origin>();
    for (const work of this.#unsent) {
      if (full.has(work.origin)) continue;
      const over = work.dropped || work.reply === undefined || this.#options.reply(work.origin, work.reply);
      if (over) this.#unsent.delete(work);
      else full.add(work.origin);
    }
  }

  /** @param type of the request; undefined when this pod does not serve it. */
  #refusal(origin: Origin, request: Request, type: RequestType | undefined): Failure | undefined {
    if (isLeaderWork(type)) {
      const drained = request.epoch <= this.#drainedEpoch && !acceptedInDrain(origin, type);
      const accepts = !this.#closed && !drained && this.#options.route.leads(request.epoch);
      if (!accepts) return this.#notLeader(failureOf(notLeading()));
    } else if (this.#closed || (this.#refusesBroadcasts && isBroadcast(type))) {
      return failureOf(new HedgeError('SHUTTING_DOWN', 'This pod is stopping, so the request was not started'));
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

  #interrupt(work: ServerCall): void {
    work.abort(new HedgeError('LEASE_LOST', 'This pod is not the leader any more'));
    const message = 'The work was interrupted, because this pod lost the lease';
    const failure = this.#notLeader(failureOf(new HedgeError('NOT_LEADER', message, { retryable: false })));
    this.#end(work, failureReply(work.sequence, failure));
  }

  #run(work: ServerCall, handler: RequestHandler): void {
    try {
      handler(work).then(
        (payload) => this.#succeeded(work, payload),
        (error: unknown) => this.#failed(work, error),
      );
    } catch (error) {
      this.#failed(work, error);
    }
  }

  #succeeded(work: ServerCall, payload: Encoded): void {
    this.#end(work, successReply(work.sequence, payload));
  }

  #failed(work: ServerCall, error: unknown): void {
    const failure = failureOf(error);
    if (failure.code !== 'NOT_LEADER' || !isLeaderWork(work.type)) {
      return this.#end(work, failureReply(work.sequence, failure));
    }
    if (!this.#options.route.leads(work.epoch)) return this.#interrupt(work);
    if (!runsHandlers(work.type)) {
      return this.#end(work, failureReply(work.sequence, this.#notLeader(failure)));
    }
    // As a reply this word makes the caller go elsewhere, so a user's handler that got it from a call of its own must
    // not say it.
    const details = JSON.stringify({ code: failure.code });
    this.#end(work, failureReply(work.sequence, { ...failure, code: 'HANDLER_FAILED', details, retryable: false }));
  }

  #end(work: ServerCall, reply: Reply): void {
    if (work.reply !== undefined) return;
    this.#deadlines.delete(work);
    const fitting = this.#fitting(work, reply);
    const wanted = this.#duplicates.finish(work, fitting, replyBytes(fitting));
    if (work.awaited) this.#leaderWork.end();
    if (isBroadcast(work.type)) this.#broadcasts.end();
    if (wanted && !this.#options.reply(work.origin, fitting)) this.#unsent.add(work);
  }

  #fitting(work: ServerCall, reply: Reply): Reply {
    const bytes = replyBytes(reply);
    const { maxMessageBytes } = this.#options.limits;
    if (bytes <= maxMessageBytes) return reply;
    const error = new HedgeError(
      'PAYLOAD_TOO_LARGE',
      `${nameOfTopic(work.topic)} ran, and its reply has ${bytes} bytes; at most ${maxMessageBytes} are allowed. Reply with less, or raise maxMessageBytes on all pods.`,
      { details: { bytes, maxMessageBytes } },
    );
    return failureReply(work.sequence, failureOf(error));
  }

  #drop(dropped: readonly ServerCall[]): void {
    for (const work of dropped) work.abort(new HedgeError('DEADLINE_EXCEEDED', 'The caller has given this request up'));
  }
}

function notServed({ kind }: Request): Failure {
  const message = `This pod does not serve requests of kind ${kind}. Run the same version of nestjs-hedge on all pods.`;
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
