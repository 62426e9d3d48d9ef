import { checkKeys } from '../common/validation/check-keys.js';
import type { Observable } from 'rxjs';
import { inFreshContext } from '../common/async/async-context.js';
import type { Logger } from '../common/line-logger.js';
import type { Clock } from '../common/clock.js';
import { atCaller, HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import type { StartGate } from '../common/async/start-gate.js';
import { checkCallOptions, checkReruns } from '../messaging/call-options.js';
import type { Messenger } from '../messaging/messenger.js';
import type { PayloadCodec } from '../messaging/serializer.js';
import { checkTopic } from '../messaging/topic-name.js';
import type { DeclaredTopic, TopicData, TopicReply, UndeclaredTopic } from '../messaging/topics.js';
import { leaderReplies } from '../streams/leader-replies.js';
import { checkSource, leaveWhenRefused, type StreamSource } from '../streams/source.js';
import type { StreamCaller } from '../streams/stream-caller.js';
import { checkStreamOptions, type StreamOptions } from '../streams/stream-options.js';
import type { DeclaredStream, StreamData, StreamReply, UndeclaredStream } from '../streams/stream-topics.js';
import { RequestKind } from '../wire/hedge/v1/link.js';
import { type LeaderTask, runWhileLeader } from './leadership.js';
import type { LeaderElector } from './leader-elector.runner.js';
import { isGeneratorFunction } from '../common/async/generators.js';
import { GuardedObservable } from '../common/async/guarded-observable.js';
import { nameOfTopic } from '../common/topic-names.js';

export interface SendOptions {
  /** Milliseconds allowed in all, waiting for a leader and retries included. Default: the module's `defaultTimeoutMs`, 10 s. */
  readonly timeoutMs?: number | undefined;
  /** Gives the message up: `send` rejects with the signal's reason, and the handler's `signal` aborts. */
  readonly signal?: AbortSignal | undefined;
  /**
   * How often the message may run again after its leader was lost while it may have run. 0: never. Beyond that `send`
   * rejects with OUTCOME_UNKNOWN. Default: the module's `maxReruns`, 1.
   */
  readonly maxReruns?: number | undefined;
}

const SEND_OPTIONS = Object.keys({ timeoutMs: 0, signal: 0, maxReruns: 0 } satisfies Record<keyof SendOptions, 0>);

export interface LeaderServiceDeps {
  readonly gate: StartGate;
  readonly elector: LeaderElector;
  readonly messenger: Messenger;
  readonly streams: StreamCaller;
  readonly codec: PayloadCodec;
  readonly clock: Clock;
  readonly defaultTimeoutMs: number;
  readonly maxReruns: number;
  /** Pause before a leader task that threw runs again, in milliseconds; grows up to `leaseMs`. */
  readonly retryMs: number;
  readonly leaseMs: number;
  readonly logger: Logger;
}

/**
 * Who leads the group, and messages to it.
 *
 * Leadership is a lease: a pod that stood still may have lost it and not know yet. `isLeader()` is false
 * before the database would let another pod in, as long as this process's clocks run; what must not be done
 * by two is fenced by `fencingToken`.
 */
export class LeaderService {
  readonly #deps: LeaderServiceDeps;
  #tasks = 0;

  constructor(deps: LeaderServiceDeps) {
    this.#deps = deps;
  }

  /** Whether this pod leads now. Local, and cheap enough for any loop. */
  isLeader(): boolean {
    return this.#deps.elector.isLeader();
  }

  /** The token of this pod's lease while it leads: rises with every term of the group, and is never used again. */
  get fencingToken(): bigint | undefined {
    return this.#deps.elector.fencingToken;
  }

  /** The pod that leads, as far as this one knows; undefined while there is none. */
  leader(): MemberId | undefined {
    return this.#deps.elector.current()?.leader;
  }

  /**
   * Emits the leader: on subscription if one is known, and on every change; `undefined` when it is lost.
   * A new term of the same leader is a change. Never completes by itself.
   *
   * @example
   * const leader = await firstValueFrom(leaderService.changes$.pipe(filter((member) => member !== undefined)));
   */
  readonly changes$: Observable<MemberId | undefined> = new GuardedObservable(
    'LeaderService.changes$',
    (subscriber) => {
      const emit = (leader: MemberId | undefined): void => inFreshContext(() => subscriber.next(leader));
      const leader = this.leader();
      if (leader !== undefined) emit(leader);
      return this.#deps.elector.onChange(() => emit(this.leader()));
    },
  );

  /**
   * Asks the database whether this pod still leads, for decisions that `isLeader()` is not sure enough for.
   * @throws HedgeError BACKEND_UNAVAILABLE when it does not answer.
   */
  confirmLeadership(): Promise<boolean> {
    return this.#deps.elector.confirmLeadership();
  }

  /**
   * Hands leadership to another pod: waits for leader work that runs here, then gives the lease back. Alone
   * in its group, this pod leads again after one lease. Does nothing when it does not lead.
   */
  resign(): Promise<void> {
    return this.#deps.elector.resign();
  }

  /**
   * Runs a task whenever this pod leads: now if it does, and on every later election, until stopped. Its
   * `signal` aborts when leadership is lost or handed over. Never runs twice at once in this process. A task that
   * throws is logged and run again after a pause; one that returns is not run again in that term.
   *
   * @returns stops it: aborts the run and waits for its end.
   *
   * @example
   * const stop = leader.runWhileLeader(async ({ signal, fencingToken }) => {
   *   while (!signal.aborted) await reconcileNext(fencingToken, signal);
   * });
   */
  runWhileLeader(task: LeaderTask): () => Promise<void> {
    const { elector, clock, retryMs, leaseMs, logger } = this.#deps;
    if (typeof task !== 'function') {
      throw new HedgeError('INVALID_ARGUMENT', `The leader task is a value of type ${typeof task}. Give a function.`);
    }
    if (isGeneratorFunction(task)) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `The leader task ${task.name} is a generator function, whose values nobody would read, so nothing of it would run. Give an async function without the asterisk.`,
      );
    }
    this.#tasks += 1;
    const name = task.name === '' ? `#${this.#tasks}` : task.name;
    return runWhileLeader(elector, task, { clock, name, logger, retryMs, maxRetryMs: leaseMs });
  }

  /**
   * Sends a message to the leader's `@OnLeaderMessage(topic)` method, and resolves with what that returns.
   * From any pod, the leader included. While there is no leader, or it changes, it waits and tries again
   * until the deadline.
   *
   * Guarantee: the handler runs exactly once in a leader's term when `send` resolves. If the leader is lost
   * after it began, it may run again under the next one: handlers see `requestId` and `attempt` for that. That is
   * bounded by `maxReruns`, so that a message that ends the leader's process does not end all of them.
   *
   * @param topic at most 256 characters; '' is the default topic.
   * @param data `undefined`, a `Uint8Array` as it is, or what the serializer takes (JSON by default).
   * @throws HedgeError HANDLER_FAILED (it threw; `details` say what), NO_HANDLER
   * @throws HedgeError nothing was started, try again: NO_LEADER, MEMBER_UNREACHABLE, OVERLOADED
   * @throws HedgeError it may have run: DEADLINE_EXCEEDED, OUTCOME_UNKNOWN, with
   *   `details: { requestId, attempts, started }`
   * @throws HedgeError PAYLOAD_TOO_LARGE, INVALID_ARGUMENT, SHUTTING_DOWN
   * @throws the signal's reason when it aborted
   *
   * @example
   * const { total } = await leader.send<{ total: number }>('price', { qty: 2 }, { timeoutMs: 2_000 });
   */
  send<Topic extends DeclaredTopic>(
    topic: Topic,
    data: TopicData<Topic>,
    options?: SendOptions,
  ): Promise<TopicReply<Topic>>;
  send<Reply = unknown, Topic extends string = string>(
    topic: UndeclaredTopic<Topic>,
    data?: unknown,
    options?: SendOptions,
  ): Promise<Reply>;
  async send(topic: string, data?: unknown, options: SendOptions = {}): Promise<unknown> {
    checkTopic(topic);
    checkKeys(`The options of send ${nameOfTopic(topic)}`, options, SEND_OPTIONS);
    const { messenger, codec, defaultTimeoutMs } = this.#deps;
    const { timeoutMs = defaultTimeoutMs, signal, maxReruns = this.#deps.maxReruns } = options;
    checkCallOptions('send', topic, timeoutMs, signal);
    checkReruns(`send ${nameOfTopic(topic)}`, maxReruns);
    const wait = this.#deps.gate.pass(`send ${nameOfTopic(topic)}`);
    if (wait !== undefined) await wait;
    const payload = codec.encode(topic, data);
    const kind = RequestKind.REQUEST_KIND_LEADER_MESSAGE;
    try {
      const reply = await messenger.request({ to: 'leader', kind, topic, payload, timeoutMs, signal, maxReruns });
      return codec.decode(topic, reply);
    } catch (error) {
      throw atCaller(error, signal);
    }
  }

  /**
   * Streams messages to the leader's `@OnLeaderStream(topic)` method, and its replies back. From any pod, the leader
   * included. Nothing is sent before the first reply is asked for, so iterate also when no replies are expected.
   *
   * The source is read only while the handler reads, and the handler's replies only while they are taken: about a
   * megabyte is on its way each way, and no more. Leaving the loop cancels the handler; a handler that ends its
   * replies ends the stream, and what is left of the source is not read.
   *
   * Guarantee: order, and each message at most once. A stream is never sent again: when the leader is lost in the
   * middle, the iteration throws, with `details: { requestId, sent, received }` for how far it got. The handler may
   * not have read all that was sent.
   *
   * @param topic as for `send`; streams have topics of their own.
   * @param source an async iterable, an iterable or an Observable of what `send` takes. When it throws, the
   *   handler's input does too, and the iteration throws the same. A Node stream or web stream is destroyed or cancelled
   *   when the iteration ends, however it ends. An async generator that waits for something is left only when that has
   *   come: give it the `signal` that you give here.
   * @throws HedgeError INVALID_ARGUMENT, at once
   * @throws HedgeError (the iteration) nothing was sent: NO_LEADER, NO_HANDLER, MEMBER_UNREACHABLE, within the
   *   module's `defaultTimeoutMs`
   * @throws HedgeError (the iteration) in the middle: HANDLER_FAILED, LEASE_LOST (another leader), MEMBER_UNREACHABLE,
   *   SHUTTING_DOWN, DEADLINE_EXCEEDED, PAYLOAD_TOO_LARGE, OVERLOADED (an Observable was too fast)
   * @throws (the iteration) the signal's reason when it aborted
   *
   * @example
   * for await (const { imported } of leader.sendStream<{ imported: number }>('import', readOrders())) {
   *   console.log(imported);
   * }
   */
  sendStream<Topic extends DeclaredStream>(
    topic: Topic,
    source: StreamSource<StreamData<Topic>>,
    options?: StreamOptions,
  ): AsyncIterableIterator<StreamReply<Topic>, void>;
  sendStream<Reply = unknown, Topic extends string = string>(
    topic: UndeclaredStream<Topic>,
    source: StreamSource,
    options?: StreamOptions,
  ): AsyncIterableIterator<Reply, void>;
  sendStream(topic: string, source: StreamSource, options: StreamOptions = {}): AsyncIterableIterator<unknown, void> {
    leaveWhenRefused(source, () => {
      checkTopic(topic);
      checkSource(topic, source);
      checkStreamOptions('sendStream', topic, options);
    });
    return leaderReplies({ caller: this.#deps.streams, topic, source, options });
  }
}
