import { checkKeys } from '../common/validation/check-keys.js';
import type { Observable } from 'rxjs';
import { inFreshContext } from '../common/async/async-context.js';
import type { Logger } from '../common/line-logger.js';
import { HANDLER_SLOTS, type RequestType } from '../messaging/request-type.js';
import type { Clock } from '../common/clock.js';
import { atCaller, HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import type { StartGate } from '../common/async/start-gate.js';
import { checkCallOptions, checkReruns } from '../messaging/call-options.js';
import type { Messenger } from '../messaging/messenger.js';
import type { PayloadCodec } from '../messaging/serializer.js';
import {
  checkTopic,
  type DeclaredTopic,
  destinationOf,
  isForwarded,
  nameOfTopic,
  type TopicData,
  type TopicReply,
  type UndeclaredTopic,
} from '../messaging/topics.js';
import { leaderReplies } from '../streams/leader-replies.js';
import { checkSource, leaveWhenRefused, type StreamSource } from '../streams/source.js';
import type { StreamCaller } from '../streams/stream-caller.js';
import { checkStreamOptions, type StreamOptions } from '../streams/stream-options.js';
import type { DeclaredStream, StreamData, StreamReply, UndeclaredStream } from '../streams/stream-topics.js';
import type { FencedTransactions } from '../database/fenced-transactions.js';
import type { TransactionOf } from '../database/sql-transactions/index.js';
import { RequestKind } from '../wire/hedge/v1/link.js';
import { type LeaderTask, runWhileLeader } from './leadership.js';
import type { LeaderElector } from './leader-elector.runner.js';
import { RESIGN, resignPayload } from './resignation.js';
import { isGeneratorFunction } from '../common/async/generators.js';
import { beginMessage } from '../telemetry/tracing.js';
import { GuardedObservable } from '../common/async/guarded-observable.js';

/** A message to the handlers of the leader. */
export const LEADER_MESSAGE: RequestType = {
  kind: RequestKind.REQUEST_KIND_LEADER_MESSAGE,
  name: 'send',
  runsAt: 'leader',
  duringDrain: 'refused',
  slots: HANDLER_SLOTS,
  mayUseReserve: false,
};

export interface SendOptions {
  /** Milliseconds for the whole call, waiting for a leader and retries included. Default: the module's `defaultTimeoutMs`, 10 s. */
  readonly timeoutMs?: number | undefined;
  /** Cancels the message: `send` rejects with the signal's reason, and the handler's `signal` aborts. */
  readonly signal?: AbortSignal | undefined;
  /**
   * The maximum number of reruns after the loss of a leader that may have run the message. 0: never. Beyond that `send`
   * rejects with OUTCOME_UNKNOWN. Default: the module's `maxReruns`, 1.
   */
  readonly maxReruns?: number | undefined;
}

export interface ResignationOptions extends Pick<SendOptions, 'timeoutMs' | 'signal'> {
  /** The token of the term to end, as a person has seen it. Default: the term that this pod knows of. */
  readonly token?: bigint | undefined;
}

const RESIGNATION_OPTIONS = Object.keys({ timeoutMs: 0, signal: 0, token: 0 } satisfies Record<
  keyof ResignationOptions,
  0
>);

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
  /** The pause before a failed leader task runs again, in milliseconds; grows up to `leaseMs`. */
  readonly retryMs: number;
  readonly leaseMs: number;
  readonly logger: Logger;
}

/**
 * The leader of the group, and messages to it.
 *
 * Leadership is a lease: a pod that stalled may have lost it and not have noticed yet. `isLeader()` turns false
 * before the database lets another pod acquire the lease, as long as the clocks of this process run. Fence work that
 * must not run twice by `fencingToken`.
 */
export class LeaderService implements FencedTransactions {
  readonly #deps: LeaderServiceDeps;
  #tasks = 0;

  constructor(deps: LeaderServiceDeps) {
    this.#deps = deps;
  }

  /** Whether this pod leads now. Local, and cheap enough for any loop. */
  isLeader(): boolean {
    return this.#deps.elector.isLeader();
  }

  /** The token of this pod's lease while it leads. It rises with every term of the group and is never reused. */
  get fencingToken(): bigint | undefined {
    return this.#deps.elector.fencingToken;
  }

  /** The leader, as far as this pod knows; undefined while it knows of none. */
  leader(): MemberId | undefined {
    return this.#deps.elector.current()?.leader;
  }

  /**
   * Emits the leader: on subscription if one is known, and on every change; `undefined` when it is lost.
   * A new term of the same leader is a change. Never completes.
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
   * Asks the database whether this pod still leads, for decisions that need more certainty than `isLeader()` gives.
   * @throws HedgeError BACKEND_UNAVAILABLE when it does not answer.
   */
  confirmLeadership(): Promise<boolean> {
    return this.#deps.elector.confirmLeadership();
  }

  /**
   * Fences an open transaction of yours by the present term, as `Leadership.fence` does by its own. If the work of the
   * transaction began in an earlier term, use `transaction`, or the `Leadership` of a leader task.
   * @throws HedgeError NOT_LEADER: this pod does not lead, and the transaction cannot commit any more. Else as
   *   `Leadership.fence`.
   */
  readonly fence = (tx: unknown): Promise<void> => this.#deps.elector.fence(tx);

  /**
   * Runs the work in a new transaction of a data source of yours, fences it by the term in which the work begins, and
   * commits it: see `Leadership.transaction`.
   * @throws HedgeError NOT_LEADER: this pod does not lead, and nothing was started. Else as `Leadership.transaction`.
   *
   * @example
   * await leader.transaction(dataSource, (tx) => tx.insert(Invoice, invoice));
   */
  readonly transaction = async <Source, Result>(
    source: Source,
    work: (tx: TransactionOf<Source>) => Result,
  ): Promise<Awaited<Result>> => {
    const { leadership } = this.#deps.elector;
    if (leadership !== undefined) return leadership.transaction(source, work);
    throw new HedgeError('NOT_LEADER', 'The transaction was not begun: this pod does not lead. Run it on the leader.');
  };

  /**
   * Steps down: waits for running leader work, then releases the lease. A pod that is alone in its group leads again
   * after one lease. Does nothing when this pod does not lead.
   */
  resign(): Promise<void> {
    return this.#deps.elector.resign();
  }

  /**
   * Asks the leader of the group, whichever pod it is, to step down as by its own `resign()`. Resolves when the leader has
   * begun to do so: `changes$` shows the next one. It ends only the term with `token`, or the term that this pod knows of
   * now, and never a later one.
   * @throws HedgeError NO_LEADER when this pod knows of no leader; CONFLICT, LEASE_LOST or OUTCOME_UNKNOWN when that term
   *   has ended meanwhile; MEMBER_UNREACHABLE, DEADLINE_EXCEEDED, INVALID_ARGUMENT; NO_HANDLER when the leader runs an
   *   earlier version; the signal's reason.
   *
   * @example
   * await leader.requestResignation();
   */
  async requestResignation(options: ResignationOptions = {}): Promise<void> {
    checkKeys('The options of requestResignation', options, RESIGNATION_OPTIONS);
    const { gate, elector, messenger, defaultTimeoutMs } = this.#deps;
    const { timeoutMs = defaultTimeoutMs, signal, token } = options;
    checkCallOptions('requestResignation of', 'the leader', timeoutMs, signal);
    if (token !== undefined && typeof token !== 'bigint') {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `The token of requestResignation is a value of type ${typeof token}. Give a bigint, as fencingToken is.`,
      );
    }
    const wait = gate.pass('requestResignation');
    if (wait !== undefined) await wait;
    const belief = elector.current();
    if (belief === undefined) {
      throw new HedgeError('NO_LEADER', 'No leader was asked to step down: this pod knows of none. Try again later.');
    }
    const payload = resignPayload(token ?? belief.epoch);
    const name = 'resignation';
    try {
      await messenger.request({
        to: 'leader',
        type: RESIGN,
        topic: '',
        name,
        payload,
        timeoutMs,
        signal,
        maxReruns: 0,
      });
    } catch (error) {
      throw atCaller(error, signal);
    }
  }

  /**
   * Runs a task whenever this pod leads: now if it does, and after every later election, until it is stopped. Its
   * `signal` aborts when this pod loses the lease, resigns or stops. The task never runs twice at once in this process.
   * A task that throws is logged and runs again after a pause; a task that returns does not run again in that term.
   *
   * @returns a function that stops the task: it aborts the run and waits for its end.
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
        `The leader task ${task.name} is a generator function: nobody would read its values, so it would not run. Give an async function without the asterisk.`,
      );
    }
    this.#tasks += 1;
    const name = task.name === '' ? `#${this.#tasks}` : task.name;
    return runWhileLeader(elector, task, { clock, name, logger, retryMs, maxRetryMs: leaseMs });
  }

  /**
   * Sends a message to the leader's `@OnLeaderMessage(topic)` method, and resolves with its result. Any pod can send,
   * the leader included. While there is no leader, or the leader changes, `send` waits and retries until the deadline.
   *
   * Guarantee: when `send` resolves, the handler has run exactly once in the term of one leader. If that leader is lost
   * after the handler began, the handler may run again under the next leader: handlers receive `requestId` and `attempt`
   * to recognise that. `maxReruns` bounds the reruns, so that a message that crashes its leader does not crash all pods.
   *
   * @param topic at most 256 characters; '' is the default topic.
   * @param data `undefined`, a `Uint8Array` as it is, or a value that the serializer accepts (JSON by default).
   * @throws HedgeError HANDLER_FAILED (the handler threw; see `details`), NO_HANDLER
   * @throws HedgeError the handler did not run, try again: NO_LEADER, MEMBER_UNREACHABLE, OVERLOADED
   * @throws HedgeError the handler may have run: DEADLINE_EXCEEDED, OUTCOME_UNKNOWN, with
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
    const span = beginMessage(isForwarded({ topic }) ? 'call' : 'send', destinationOf(topic));
    let thrown: unknown;
    try {
      const reply = await messenger.request({
        to: 'leader',
        type: LEADER_MESSAGE,
        topic,
        payload,
        timeoutMs,
        signal,
        maxReruns,
        trace: span.trace,
      });
      return codec.decode(topic, reply);
    } catch (error) {
      thrown = error;
      throw atCaller(error, signal);
    } finally {
      span.end(thrown);
    }
  }

  /**
   * Streams messages to the leader's `@OnLeaderStream(topic)` method, and its replies back. Any pod can call it, the
   * leader included. Nothing is sent before the first reply is requested, so iterate also when you expect no replies.
   *
   * The source is read only while the handler reads, and the handler's replies only while you read them: at most about
   * a megabyte is in flight in each direction. Leaving the loop cancels the handler. A handler that ends its replies
   * ends the stream, and the rest of the source is not read.
   *
   * Guarantee: order, and each message at most once. A stream is never sent again: when the leader is lost during the
   * stream, the iteration throws, with the progress in `details: { requestId, sent, received }`. The handler may not
   * have read all sent messages.
   *
   * @param topic as for `send`; streams have topics of their own.
   * @param source an async iterable, an iterable or an Observable of values that `send` accepts. When it throws, the
   *   handler's input throws too, and the iteration throws the same error. A Node stream is destroyed and a web stream is
   *   cancelled when the iteration ends, whatever the outcome. An async generator that awaits something ends only after
   *   that has settled: give it the same `signal`.
   * @throws HedgeError INVALID_ARGUMENT, at once
   * @throws HedgeError (the iteration) nothing was sent: NO_LEADER, NO_HANDLER, MEMBER_UNREACHABLE, within the
   *   module's `defaultTimeoutMs`
   * @throws HedgeError (the iteration) during the stream: HANDLER_FAILED, LEASE_LOST (another leader), MEMBER_UNREACHABLE,
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
