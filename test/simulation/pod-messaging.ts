import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { isTombstone, type LogPosition } from '../../libs/hedge/src/database/log-table.js';
import type { PutOutcome, Write } from '../../libs/hedge/src/kv/group-commit.messages.js';
import type { Lifetime } from '../../libs/hedge/src/kv/expiry/expiry.core.js';
import { ClientCall } from '../../libs/hedge/src/messaging/client/client-call.js';
import { LEADER_MESSAGE } from '../../libs/hedge/src/election/leader.service.js';
import {
  KV_CONDITIONAL_PUT,
  KV_PUT,
  KV_TRANSACTION,
  ofNextLeader,
} from '../../libs/hedge/src/kv/group-commit.runner.js';
import { BROADCAST } from '../../libs/hedge/src/membership/broadcast.js';
import type { RequestType } from '../../libs/hedge/src/messaging/request-type.js';
import { RENEW } from '../../libs/hedge/src/semaphores/semaphore-wire.js';
import type { LeaderRoute } from '../../libs/hedge/src/messaging/leader-route.js';
import { DEFAULT_MESSAGING_LIMITS } from '../../libs/hedge/src/messaging/limits.js';
import type { Encoded, IncomingRequest, OutgoingRequest } from '../../libs/hedge/src/messaging/message.js';
import { RequestServer } from '../../libs/hedge/src/messaging/server/request-server.runner.js';
import type { RequestRouter } from '../../libs/hedge/src/messaging/client/request-routing.core.js';
import type { RoutingEffect, RoutingInput } from '../../libs/hedge/src/messaging/client/request-routing.messages.js';
import { Timeline } from '../../libs/hedge/src/messaging/server/timeline.js';
import type { Origin, ServerCall } from '../../libs/hedge/src/messaging/server/server-call.js';
import { Encoding, type Reply, type Request, type RequestKind } from '../../libs/hedge/src/wire/hedge/v1/link.js';
import type { Cluster } from './cluster.js';
import type { Link, LinkEnd } from './links.js';
import { isPut, type Operation } from './operations.js';
import type { SimulatedDriver } from './driver.js';
import { later } from './later.js';
import { type CommitHost, PodCommits } from './pod-commits.js';
import { expiryRow, type PodExpiry } from './pod-expiry.js';
import { violated } from './violation.js';

const TICK_MS = 25;
/** A deadline may pass this much late, see `Deadlines`. */
const PRECISION_MS = 10;
/** So few, that handlers and waiting callers fill their slots. */
const MAX_RUNNING = 12;

export class PodCall extends ClientCall {
  constructor(
    id: string,
    request: OutgoingRequest,
    deadline: number,
    readonly succeeded: (payload: Encoded) => void,
    readonly failed: (error: unknown) => void,
  ) {
    super(id, request, deadline);
  }
}

type Answer = [resolve: (payload: Encoded) => void, reject: (error: unknown) => void];

interface LinkOrigin extends Origin {
  /** Undefined for the process itself. */
  readonly link?: Link;
  /** The kind of the request. */
  readonly kind?: RequestKind;
}

/** The part of its process that the request layer needs. */
export interface MessagingHost extends CommitHost {
  readonly route: LeaderRoute;
  readonly driver: SimulatedDriver;
  heard(epoch: bigint): void;
  run(action: () => void): void;
  /** A link that this process has dialled has closed. */
  linkClosed(member: MemberId): void;
  refreshThen(done: () => void): void;
}

/** The requests and handlers of one process: the real cores on simulated links. */
export class PodMessaging implements LinkEnd {
  readonly #router: RequestRouter<PodCall>;
  readonly #receiver: RequestServer;
  readonly #commits: PodCommits;
  readonly #timeline = new Timeline();
  readonly #dialled = new Map<string, Link>();
  /** The newest link from each caller, by incarnation. */
  readonly #accepted = new Map<string, Link>();
  /** Calls that have not ended. */
  readonly #open = new Set<PodCall>();
  #ticking = false;
  #closed: HedgeError | undefined;
  #requests = 0;
  /** Called when the newest link from a caller broke. */
  callerLost: (caller: MemberId) => void = () => undefined;
  /** Handlers of leader work that have not ended. */
  #working = 0;
  /** The renewals of permits that this process has admitted; all that run are among them. */
  #renewals: readonly ServerCall[] = [];

  /** Set by its process, before it starts. */
  expiry: PodExpiry | undefined;
  /** Called with the keys of each transaction of puts. */
  committed: (keys: readonly string[]) => void = () => undefined;

  constructor(
    private readonly host: MessagingHost,
    private readonly cluster: Cluster,
  ) {
    const { random } = cluster;
    const limits = {
      ...DEFAULT_MESSAGING_LIMITS,
      maxRunning: MAX_RUNNING,
      rememberCallerMs: random.pick([200, 3_000]),
    };
    this.#router = cluster.parts.router(host.self, random.next);
    this.#receiver = new RequestServer({
      clock: { now: () => host.now(), after: (ms, run) => host.after(ms, run) },
      timeline: this.#timeline,
      route: host.route,
      limits,
      reply: (origin, reply) => this.#reply(origin, reply),
    });
    this.#commits = new PodCommits(host, cluster, (keys) => this.committed(keys));
    for (const type of [LEADER_MESSAGE, BROADCAST, KV_PUT, KV_CONDITIONAL_PUT, KV_TRANSACTION]) {
      this.#receiver.serve(cluster.parts.served(type), (request) => cluster.watch(() => this.#handle(request)));
    }
  }

  get self(): MemberId {
    return this.host.self;
  }

  get alive(): boolean {
    return this.host.alive;
  }

  /** Whether leader work still runs. */
  get working(): boolean {
    return this.#working > 0;
  }

  begin(operation: Operation, to: 'leader' | MemberId, timeoutMs: number): void {
    const { kind } = operation;
    const several = kind === 'transaction' || kind === 'expiring';
    const put = kind === 'put-if' ? KV_CONDITIONAL_PUT : several ? KV_TRANSACTION : KV_PUT;
    const message = to === 'leader' ? LEADER_MESSAGE : BROADCAST;
    const request: OutgoingRequest = {
      to,
      type: isPut(operation) ? put : message,
      topic: String(operation.id),
      payload: { encoding: Encoding.ENCODING_NONE, bytes: new Uint8Array(0) },
      timeoutMs,
      // As `LeaderService.send` and `KvStore.put` do it.
      maxReruns: operation.maxReruns,
    };
    const { operations } = this.cluster;
    const call = this.#begin(
      operation.name,
      request,
      ({ bytes }) => {
        const { timestamp, refused } = replyOf(bytes);
        if (refused === undefined) return operations.succeeded(operation, timestamp);
        operations.conflicted(operation, refused);
        this.#putAfterTombstone(operation, refused);
      },
      (error) => operations.failed(operation, error),
    );
    if (this.cluster.random.chance(0.03)) {
      const reason = new Error('cancelled');
      this.host.after(this.cluster.random.between(0, timeoutMs), () => {
        if (operation.endedAt === undefined) this.#route({ type: 'abandoned', call, reason });
      });
    }
  }

  /** As `KvStore.put` with `ifAbsent`: it names the deletion that is there. */
  #putAfterTombstone(operation: Operation, [refused]: readonly Refused[]): void {
    const { newest } = refused ?? {};
    if (!operation.ifAbsent || newest === undefined || !isTombstone(newest)) return;
    const { by, fence, maxReruns, items = [] } = operation;
    const { operations, random, world } = this.cluster;
    world.count('requests: put after a deletion');
    const plan = [{ call: 'put', key: items[0]?.key ?? '', condition: { follows: newest } }] as const;
    const again = operations.begin({ kind: 'put-if', fence, maxReruns, poison: false, by }, { plan });
    this.begin(again, 'leader', random.skewed(100, 4_000));
  }

  /** As `Messenger.request`. */
  request(request: OutgoingRequest): Promise<Encoded> {
    return later((resolve, reject) => {
      const { signal } = request;
      if (this.#closed !== undefined) return reject(this.#closed);
      if (signal?.aborted === true) return reject(signal.reason);
      let open = true;
      const ended = <Value>(settle: (value: Value) => void) => {
        return (value: Value): void => {
          open = false;
          settle(value);
        };
      };
      this.#requests += 1;
      const id = `${this.self.incarnation}/${this.#requests}`;
      const call = this.#begin(id, request, ended(resolve), ended(reject));
      signal?.addEventListener('abort', () => {
        if (open) this.#route({ type: 'abandoned', call, reason: signal.reason as unknown });
      });
    });
  }

  /** As `Messenger.serve`, for a handler with callbacks. */
  serve(type: RequestType, handler: (request: IncomingRequest, ...answer: Answer) => void): void {
    this.#receiver.serve(this.cluster.parts.served(type), (request) => {
      if (type === RENEW) this.#renewals = [...this.#running(), request as ServerCall];
      return later((...answer) => this.cluster.watch(() => handler(request, ...answer)));
    });
  }

  #running(): readonly ServerCall[] {
    return this.#renewals.filter(({ reply }) => reply === undefined);
  }

  /**
   * Hanging handlers, puts and waiting callers take no slot of renewals: one is refused only while other renewals take all.
   * They can. While the database fails, a new leader cannot read a row, and answers no renewal of its permits. Each pod
   * sends one with each heartbeat, and each waits for a heartbeat timeout.
   */
  #checkRoom(caller: MemberId, error: string): void {
    if (this.#running().length === MAX_RUNNING)
      return this.cluster.world.count('semaphores: renewals filled their slots');
    this.cluster.watch(() => violated('slots of their own', `${caller.incarnation} could not renew: ${error}`));
  }

  #begin(id: string, request: OutgoingRequest, succeeded: Answer[0], failed: Answer[1]): PodCall {
    const once = <Value>(settle: (value: Value) => void) => {
      return (value: Value): void => {
        if (!this.#open.delete(call))
          this.cluster.watch(() => violated('every call ends', `${call.description} ended twice`));
        settle(value);
      };
    };
    const deadline = this.#now() + request.timeoutMs;
    const call: PodCall = new PodCall(id, request, deadline, once(succeeded), once(failed));
    this.#open.add(call);
    this.#route({ type: 'begin', call });
    this.#keepTicking();
    return call;
  }

  leaderChanged(): void {
    const belief = this.host.route.current();
    this.#receiver.leaderChanged();
    this.#route({ type: 'leader', leader: belief?.leader, epoch: belief?.epoch ?? 0n });
  }

  departed(member: MemberId): void {
    this.#route({ type: 'departed', member });
  }

  /** Each call has ended by its deadline on this pod's clocks. @param sinceTickMs how long ago the last tick may be. */
  checkDeadlines(sinceTickMs = TICK_MS): void {
    const now = this.#now();
    for (const { deadline, request, description } of this.#open) {
      if (deadline > now - PRECISION_MS - sinceTickMs) continue;
      const late = Math.round(now - deadline);
      const call = `${description}, asked by ${this.self.incarnation} with ${Math.round(request.timeoutMs)} ms`;
      violated('every call ends', `${call}, goes on ${late} ms after its deadline`);
    }
  }

  /** As `Messenger.close`. */
  close(): void {
    this.#closed = new HedgeError('SHUTTING_DOWN', 'This pod is stopping');
    this.#receiver.close();
    this.#route({ type: 'close', error: this.#closed });
    for (const { description } of this.#open)
      violated(
        'every call ends',
        `${description}, asked by ${this.self.incarnation}, goes on after the pod has stopped`,
      );
  }

  drain(epoch: bigint): void {
    void this.#receiver.drain(epoch);
  }

  // LinkEnd

  run(action: () => void): void {
    this.host.run(action);
  }

  after(ms: number, action: () => void): void {
    this.host.after(ms, action);
  }

  outstandingAt(receiver: MemberId): readonly number[] {
    return this.#router.outstandingAt(receiver);
  }

  resume(caller: MemberId, outstanding: readonly number[]): boolean {
    return this.#receiver.resume(caller, outstanding);
  }

  linked(link: Link, resumed: boolean): void {
    const member = link.receiver.self;
    this.#dialled.set(member.incarnation, link);
    if (!resumed) this.cluster.world.count('links: not resumed');
    this.#route({ type: 'linked', member, resumed });
  }

  unlinked(link: Link): void {
    const member = link.receiver.self;
    if (this.#dialled.get(member.incarnation) !== link) return;
    this.#dialled.delete(member.incarnation);
    this.host.linkClosed(member);
    this.#route({ type: 'unlinked', member });
  }

  callerCame(link: Link): void {
    this.#accepted.set(link.caller.self.incarnation, link);
    this.#receiver.returned(link.caller.self);
  }

  callerLeft(link: Link): void {
    const caller = link.caller.self;
    if (this.#accepted.get(caller.incarnation) !== link) return;
    this.#accepted.delete(caller.incarnation);
    this.#receiver.left(caller);
    this.callerLost(caller);
  }

  // The caller's side

  #route(input: RoutingInput<PodCall>): void {
    for (const effect of this.#router.step(input, this.#now())) this.#perform(effect);
  }

  #perform(effect: RoutingEffect<PodCall>): void {
    switch (effect.type) {
      case 'transmit':
        return this.#transmit(effect.member, effect.call);
      case 'cancel': {
        const { member, sequence } = effect;
        if (member.incarnation === this.self.incarnation) return this.#receiver.cancel(this.self, sequence);
        const link = this.#dialled.get(member.incarnation);
        return link?.toReceiver(() => atReceiver(link).#receiver.cancel(this.self, sequence));
      }
      case 'dial': {
        const { member } = effect;
        return this.cluster.links.dial(this, member, (error) => this.#route({ type: 'dial-failed', member, error }));
      }
      case 'refresh':
        return this.host.refreshThen(() => {
          this.leaderChanged();
          this.#route({ type: 'refreshed' });
        });
      case 'leader-lost':
        return this.#note(() => `${effect.call.description} lost its leader ${effect.leader.incarnation}`);
      case 'resolve': {
        const { encoding, payload } = effect.reply;
        return effect.call.succeeded({ encoding, bytes: payload });
      }
      case 'reject':
        return effect.call.failed(effect.error);
    }
  }

  #transmit(member: MemberId, call: PodCall): void {
    const { type, topic, payload } = call.request;
    if (call.transmissions > 1) this.cluster.world.count('requests: sent again on a new link');
    const what = topic === '' ? (call.request.name ?? '') : `operation ${topic}`;
    this.#note(() => `${what} to ${member.incarnation} #${call.sequence}, term ${call.epoch}`);
    const request: Request = {
      sequence: call.sequence,
      kind: type.kind,
      topic,
      encoding: payload.encoding,
      payload: payload.bytes,
      timeoutMs: Math.max(1, Math.ceil(call.deadline - this.#now())),
      attempt: call.attempt,
      id: call.id,
      epoch: call.epoch,
    };
    if (member.incarnation === this.self.incarnation) {
      this.host.after(0, () => {
        if (call.sequence === request.sequence)
          this.#receive({ peer: this.self, here: true, kind: type.kind }, request);
      });
      return;
    }
    const link = this.#dialled.get(member.incarnation);
    link?.toReceiver(() => atReceiver(link).#receive({ peer: this.self, link, kind: type.kind }, request));
  }

  #replied(member: MemberId, reply: Reply): void {
    this.host.heard(reply.failure?.leader?.epoch ?? 0n);
    this.#note(() => `reply of ${member.incarnation} to #${reply.sequence}: ${reply.failure?.code ?? 'done'}`);
    this.#route({ type: 'replied', member, reply });
  }

  // The receiver's side

  #receive(origin: LinkOrigin, request: Request): void {
    this.host.heard(request.epoch);
    this.#receiver.receive(origin, request);
    this.#keepTicking();
  }

  #reply({ peer: caller, link, kind }: LinkOrigin, reply: Reply): boolean {
    const { failure } = reply;
    if (kind === RENEW.kind && failure?.code === 'OVERLOADED') this.#checkRoom(caller, failure.message);
    const acknowledge = (): void => this.#receiver.acknowledge(caller, [reply.sequence]);
    if (link === undefined) {
      acknowledge();
      this.#replied(caller, reply);
      return true;
    }
    link.toCaller(() => {
      link.toReceiver(acknowledge);
      atCaller(link).#replied(this.self, reply);
    });
    // A planted bug: as if the caller had received it already.
    if (this.cluster.parts.forgetsRepliesEarly) acknowledge();
    return true;
  }

  #handle(request: IncomingRequest): Promise<Encoded> {
    const { cluster } = this;
    const operation = cluster.operations.all[Number(request.topic)];
    if (operation === undefined) throw new Error(`no operation ${request.topic}`);
    if (operation.lifetime !== undefined && operation.fence > request.epoch && cluster.parts.fencesExpiringPuts)
      return later((_, reject) => reject(new HedgeError('NOT_LEADER', 'simulated', { retryable: true })));
    this.#note(() => `runs operation ${operation.id}, term ${request.epoch}`);
    cluster.operations.ran(operation, request.epoch, this.self);
    if (operation.poison && cluster.poisoned) {
      cluster.world.count('requests: ended the process that ran them');
      this.host.after(0, () => cluster.crash(this.self.address));
      return later(() => undefined);
    }
    const leaderWork = request.epoch !== 0n;
    if (leaderWork) this.#working += 1;
    return later((resolve, reject) => {
      const end = (outcome: PutOutcome | Error): void => {
        if (leaderWork) this.#working -= 1;
        if (outcome instanceof Error) reject(outcome);
        else resolve({ encoding: Encoding.ENCODING_BYTES, bytes: bytesOf(outcome) });
      };
      if (operation.lifetime !== undefined) {
        this.#putExpiring(operation, operation.lifetime, request, end);
      } else if (isPut(operation)) {
        this.#commits.put(writeOf(operation, request.epoch), request.timeoutMs, end);
      } else if (!cluster.random.chance(0.02)) {
        this.host.after(cluster.random.skewed(0.1, 400), () => end({ timestamp: 0n }));
      } else {
        cluster.world.count('requests: handler hangs');
        this.host.after(request.timeoutMs, () => end({ timestamp: 0n }));
      }
    });
  }

  /** As `kvTransactionHandler`. */
  #putExpiring(
    { items = [], rows, fence }: Operation,
    lifetime: Lifetime,
    { epoch, timeoutMs }: IncomingRequest,
    end: (outcome: PutOutcome | Error) => void,
  ): void {
    const { parts } = this.cluster;
    const own = rows.map(({ key, id }) => expiryRow(key, id, lifetime));
    const fenced = fence === 0n && parts.fencesExpiringPuts ? epoch : fence;
    const settled = (outcome: PutOutcome): void => {
      this.expiry?.settled(
        rows.map(({ key, id }) => ({ key, id, lifetime })),
        outcome,
      );
      end(outcome instanceof HedgeError && fence === 0n ? (ofNextLeader(outcome) as HedgeError) : outcome);
    };
    if (parts.expiryRows === 'in the commit')
      return this.#commits.put({ items: [...items, ...own], fence: fenced }, timeoutMs, settled);
    // A planted bug.
    this.#commits.put({ items, fence: fenced }, timeoutMs, (outcome) => {
      if (!('timestamp' in outcome)) return settled(outcome);
      this.#commits.put({ items: own, fence: fenced }, timeoutMs, () => settled(outcome));
    });
  }

  /** A write of this process as the leader. */
  commit(write: Write, timeoutMs: number, end: (outcome: PutOutcome) => void): void {
    this.#commits.put(write, timeoutMs, end);
  }

  #note(what: () => string): void {
    this.cluster.world.note(this.self.incarnation, what);
  }

  #now(): number {
    return this.#timeline.advance(this.host.now());
  }

  #keepTicking(): void {
    if (this.#ticking || (this.#router.size === 0 && !this.#receiver.busy)) return;
    this.#ticking = true;
    this.host.after(TICK_MS, () => {
      this.#ticking = false;
      this.#route({ type: 'tick' });
      this.#receiver.tick(this.#now());
      this.cluster.watch(() => this.checkDeadlines(0));
      this.#keepTicking();
    });
  }
}

function atReceiver(link: Link): PodMessaging {
  return link.receiver as PodMessaging;
}

function atCaller(link: Link): PodMessaging {
  return link.caller as PodMessaging;
}

/** As the handlers of puts do it. */
function writeOf({ kind, items, rows, fence }: Operation, epoch: bigint): Write {
  if (items !== undefined) return { items, fence };
  const [row] = rows;
  if (row === undefined) throw new Error('a put has a row');
  const overwrite = kind === 'overwrite';
  return { ...row, overwrite, fence: overwrite && fence === 0n ? epoch : fence };
}

interface Refused {
  readonly place: number;
  readonly newest: LogPosition | undefined;
}

/** The reply to an operation. `refused` when a condition does not hold. */
interface OperationReply {
  readonly timestamp?: bigint | undefined;
  readonly refused?: readonly Refused[];
}

function bytesOf(outcome: Exclude<PutOutcome, HedgeError>): Uint8Array {
  if ('timestamp' in outcome) return Buffer.from(outcome.timestamp === 0n ? '' : String(outcome.timestamp));
  const shown = outcome.refused.map(({ place, newest }) => [place, newest?.timestamp.toString(), newest?.id]);
  return Buffer.from(JSON.stringify(shown));
}

function replyOf(bytes: Uint8Array): OperationReply {
  const text = Buffer.from(bytes).toString();
  if (!text.startsWith('[')) return { timestamp: text === '' ? undefined : BigInt(text) };
  const refused = (JSON.parse(text) as [number, string | null, string | null][]).map(([place, timestamp, id]) => {
    return { place, newest: timestamp === null ? undefined : { timestamp: BigInt(timestamp), id: id ?? '' } };
  });
  return { refused };
}
