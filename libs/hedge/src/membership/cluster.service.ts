import { checkKeys } from '../common/validation/check-keys.js';
import type { Observable } from 'rxjs';
import { inFreshContext } from '../common/async/async-context.js';
import type { Clock } from '../common/clock.js';
import { HedgeError, captureStack } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import type { StartGate } from '../common/async/start-gate.js';
import type { Encoded, OutgoingRequest } from '../messaging/message.js';
import { checkCallOptions } from '../messaging/call-options.js';
import type { Messenger } from '../messaging/messenger.js';
import type { PayloadCodec } from '../messaging/serializer.js';
import {
  checkTopic,
  type DeclaredTopic,
  type TopicData,
  type TopicReply,
  type UndeclaredTopic,
} from '../messaging/topics.js';
import { broadcastReplies } from '../streams/broadcast-replies.js';
import type { BroadcastStreamEvent } from '../streams/member-stream.js';
import { checkSource, leaveWhenRefused, type StreamSource } from '../streams/source.js';
import type { StreamCaller } from '../streams/stream-caller.js';
import { checkStreamOptions, type StreamOptions } from '../streams/stream-options.js';
import type { DeclaredStream, StreamData, StreamReply, UndeclaredStream } from '../streams/stream-topics.js';
import type { Transport } from '../transport/transport.js';
import { BROADCAST, type Broadcast, makeBroadcast, type BroadcastResult } from './broadcast.js';
import type { MembershipRunner } from './membership.runner.js';
import type { ViewMember } from './view.js';
import { withTokenInJson } from '../common/token-in-json.js';
import { beginMessage } from '../telemetry/tracing.js';
import { GuardedObservable } from '../common/async/guarded-observable.js';

export interface BroadcastOptions {
  /** Milliseconds for each member to answer. Default: the module's `defaultTimeoutMs`, 10 s. */
  readonly timeoutMs?: number | undefined;
  /** Leaves this pod out. Default: false. */
  readonly skipSelf?: boolean | undefined;
  /** Only these members, by address or as `members()` returns them. A member outside of the view is MEMBER_UNREACHABLE. */
  readonly only?: readonly (string | MemberId)[] | undefined;
  /** Cancels the broadcast: it rejects with the signal's reason, and the handlers' `signal`s abort. */
  readonly signal?: AbortSignal | undefined;
}

/** The members of a broadcast stream, and its limits for each member: only a member that exceeds them ends. */
export interface BroadcastStreamOptions extends Pick<BroadcastOptions, 'skipSelf' | 'only'>, StreamOptions {
  /**
   * A member that reads nothing for so many milliseconds, while messages wait for it, ends with DEADLINE_EXCEEDED and
   * no longer delays the others. Default: 30,000.
   */
  readonly idleTimeoutMs?: number | undefined;
}

/** The members of the group, as this pod knows them. `JSON.stringify` shows the epoch as digits. */
export interface ClusterView {
  /** The fencing token of the leader that made the view; 0n before the first view. */
  readonly epoch: bigint;
  /** Rises with every change within the epoch. */
  readonly version: number;
  /** Whether the view is of the present leader, and that leader has heard from all members. */
  readonly settled: boolean;
  readonly leader: MemberId | undefined;
  /** Sorted by address, the leader included; no clients. */
  readonly members: readonly ViewMember[];
}

export interface ClusterServiceDeps {
  readonly gate: StartGate;
  readonly transport: Pick<Transport, 'self'>;
  readonly membership: Pick<MembershipRunner, 'view' | 'settled' | 'onChange'>;
  readonly messenger: Messenger;
  readonly streams: StreamCaller;
  readonly codec: PayloadCodec;
  readonly clock: Clock;
  readonly defaultTimeoutMs: number;
}

const BROADCAST_OPTIONS = Object.keys({ timeoutMs: 0, skipSelf: 0, only: 0, signal: 0 } satisfies Record<
  keyof BroadcastOptions,
  0
>);

const NO_VIEW: ClusterView = withTokenInJson({
  epoch: 0n,
  version: 0,
  settled: false,
  leader: undefined,
  members: [],
});

/** The members of the group, and messages to all of them. */
export class ClusterService {
  readonly #deps: ClusterServiceDeps;
  #view = NO_VIEW;

  constructor(deps: ClusterServiceDeps) {
    this.#deps = deps;
    deps.membership.onChange(() => this.#viewChanged());
  }

  /** This pod: the address that others dial (empty for a client), and the incarnation of this process. */
  get self(): MemberId {
    return this.#deps.transport.self;
  }

  /** The latest view. Views are ordered by epoch and version, and an earlier one never follows a later one (M1). */
  get view(): ClusterView {
    return this.#view;
  }

  /** The members of the latest view, sorted by address; empty before the first. */
  members(): readonly ViewMember[] {
    return this.#view.members;
  }

  /** Emits the view: on subscription if there is one, and on every change. Never completes. */
  readonly changes$: Observable<ClusterView> = new GuardedObservable('ClusterService.changes$', (subscriber) => {
    const emit = (): void => inFreshContext(() => subscriber.next(this.#view));
    if (this.#view !== NO_VIEW) emit();
    return this.#deps.membership.onChange(emit);
  });

  /**
   * Sends a message to the `@OnBroadcast(topic)` method of every member in the view, this pod's too.
   *
   * Guarantee: each member runs the handler at most once, and each has a result, also when its outcome is unknown. The
   * broadcast does not reach members that this pod does not know: see `settled`.
   *
   * @param topic at most 256 characters; '' is the default topic.
   * @param data as for `LeaderService.send`; encoded once for all.
   * @returns a promise of all results, which is also an iterable of the results as they arrive. A member's failure is
   *   in its result.
   * @throws HedgeError (it rejects) INVALID_ARGUMENT; NO_LEADER while this pod has no view of the group yet, as a
   *   client that has just started: the broadcast was sent to no member; or the signal's reason when it aborted.
   *
   * @example
   * const results = await cluster.broadcast<{ flushed: boolean }>('flush', {}, { timeoutMs: 1_000 });
   * const missed = results.filter(({ error }) => error !== undefined);
   * @example
   * for await (const { member, value } of cluster.broadcast('flush')) console.log(member.address, value);
   */
  broadcast<Topic extends DeclaredTopic>(
    topic: Topic,
    data: TopicData<Topic>,
    options?: BroadcastOptions,
  ): Broadcast<TopicReply<Topic>>;
  broadcast<Reply = unknown, Topic extends string = string>(
    topic: UndeclaredTopic<Topic>,
    data?: unknown,
    options?: BroadcastOptions,
  ): Broadcast<Reply>;
  broadcast(topic: string, data?: unknown, options: BroadcastOptions = {}): Broadcast {
    const { settled } = this.#view;
    const { timeoutMs = this.#deps.defaultTimeoutMs, signal } = (options as BroadcastOptions | null) ?? {};
    let payload: Encoded;
    let targets: MemberId[];
    try {
      checkTopic(topic);
      checkKeys(`The options of broadcast '${topic}'`, options, BROADCAST_OPTIONS);
      checkCallOptions('broadcast', topic, timeoutMs, signal);
      payload = this.#deps.codec.encode(topic, data);
      const starting = this.#deps.gate.pass(`broadcast '${topic}'`);
      // Right after the start there is no view yet either.
      if (starting !== undefined) return makeBroadcast([starting.then(() => Promise.reject(noView(topic)))], settled);
      if (this.#view === NO_VIEW) throw noView(topic);
      targets = this.#targets(topic, options);
    } catch (error) {
      return makeBroadcast([Promise.reject(error as Error)], settled);
    }
    const call = captureStack(this.broadcast);
    const span = beginMessage('broadcast', topic);
    const results = targets.map(async (member) => {
      const result = await this.#ask(member, { topic, payload, timeoutMs, signal, trace: span.trace });
      if (result.error !== undefined) call.applyTo(result.error);
      return result;
    });
    Promise.all(results).then(
      () => span.end(),
      (error: unknown) => span.end(error),
    );
    return makeBroadcast(results, settled);
  }

  /**
   * Streams messages to the `@OnBroadcastStream(topic)` method of every member in the view, this pod's too, and yields
   * the replies of all as they arrive. The stream of each member ends with an event of type `end`. A failure of one
   * member is the `error` of its event, and does not affect the others. Nothing is sent before the first event is
   * requested.
   *
   * The source is read once, at the pace of the slowest member that still reads (see `idleTimeoutMs`).
   *
   * @param source as for `LeaderService.sendStream`.
   * @throws HedgeError INVALID_ARGUMENT, at once
   * @throws HedgeError (the iteration) NO_LEADER while this pod has no view of the group yet: nothing was sent
   * @throws (the iteration) the error of the source, or the signal's reason when it aborted
   *
   * @example
   * for await (const event of cluster.broadcastStream<{ loaded: number }>('warm-up', keys())) {
   *   if (event.type === 'reply') console.log(event.member.address, event.value.loaded);
   *   else if (event.error) console.warn(event.member.address, event.error.message);
   * }
   */
  broadcastStream<Topic extends DeclaredStream>(
    topic: Topic,
    source: StreamSource<StreamData<Topic>>,
    options?: BroadcastStreamOptions,
  ): AsyncIterableIterator<BroadcastStreamEvent<StreamReply<Topic>>, void>;
  broadcastStream<Reply = unknown, Topic extends string = string>(
    topic: UndeclaredStream<Topic>,
    source: StreamSource,
    options?: BroadcastStreamOptions,
  ): AsyncIterableIterator<BroadcastStreamEvent<Reply>, void>;
  broadcastStream(
    topic: string,
    source: StreamSource,
    options: BroadcastStreamOptions = {},
  ): AsyncIterableIterator<BroadcastStreamEvent, void> {
    leaveWhenRefused(source, () => {
      checkTopic(topic);
      checkSource(topic, source);
      checkStreamOptions('broadcastStream', topic, options, ['skipSelf', 'only']);
      if (options.only !== undefined) checkOnly(topic, options.only);
    });
    const members = (): MemberId[] => {
      if (this.#view === NO_VIEW) throw noView(topic);
      return this.#targets(topic, options);
    };
    return broadcastReplies({ caller: this.#deps.streams, topic, source, options, members });
  }

  #targets(topic: string, { skipSelf = false, only }: Pick<BroadcastOptions, 'skipSelf' | 'only'>): MemberId[] {
    const members = this.members().filter(({ incarnation }) => !skipSelf || incarnation !== this.self.incarnation);
    if (only === undefined) return members.map(({ address, incarnation }) => ({ address, incarnation }));
    checkOnly(topic, only);
    const targets = only.map((wanted) => {
      const found = members.find(({ address, incarnation }) =>
        typeof wanted === 'string' ? wanted === address : wanted.incarnation === incarnation,
      );
      const { address, incarnation } = found ?? (typeof wanted === 'string' ? absent(wanted) : absent(wanted.address));
      return { address, incarnation };
    });
    // Named twice, or by address and as a member, it is still asked once.
    return [...new Map(targets.map((member) => [`${member.address} ${member.incarnation}`, member])).values()];
  }

  async #ask(
    member: MemberId,
    request: Pick<OutgoingRequest, 'topic' | 'payload' | 'timeoutMs' | 'signal' | 'trace'>,
  ): Promise<BroadcastResult> {
    const { topic, signal } = request;
    const { messenger, codec, clock } = this.#deps;
    const start = clock.now().mono;
    const ms = (): number => Math.round((clock.now().mono - start) * 1_000) / 1_000;
    try {
      if (member.incarnation === '') throw notInView(member, topic);
      const reply = await messenger.request({ ...request, to: member, type: BROADCAST });
      return { member, value: codec.decode(topic, reply), ms: ms() };
    } catch (error) {
      if (error instanceof HedgeError && error !== signal?.reason) return { member, error, ms: ms() };
      throw error;
    }
  }

  #viewChanged(): void {
    const { membership, messenger } = this.#deps;
    const { view, settled } = membership;
    if (view === undefined) return;
    const before = this.#view.members;
    this.#view = withTokenInJson({ ...view, settled });
    const present = new Set(view.members.map(({ incarnation }) => incarnation));
    for (const member of before) if (!present.has(member.incarnation)) messenger.departed(member);
  }
}

/** Without this error, an empty list of results would look like a broadcast that all members have received. */
function noView(topic: string): HedgeError {
  return new HedgeError(
    'NO_LEADER',
    `Broadcast '${topic}' was sent to no member: this pod has not received a view from a leader yet. Wait for the first value of changes$, or try again.`,
  );
}

function checkOnly(topic: string, only: unknown): void {
  if (Array.isArray(only) && only.every(namesMember)) return;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `The option only of broadcast '${topic}' is not a list of members. Give an array of addresses, or of members from members().`,
  );
}

function namesMember(wanted: unknown): boolean {
  return typeof wanted === 'string' || typeof (wanted as Partial<MemberId> | null)?.address === 'string';
}

/** Stands for a member that `only` names and the view does not contain. */
function absent(address: string): MemberId {
  return { address, incarnation: '' };
}

function notInView({ address }: MemberId, topic: string): HedgeError {
  return new HedgeError(
    'MEMBER_UNREACHABLE',
    `Broadcast '${topic}' was not sent to ${address}: the view has no such member, or skipSelf left it out. Take addresses from members().`,
  );
}
