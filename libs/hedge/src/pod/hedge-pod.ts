import type { Backend } from '../database/backend.js';
import { leaseName } from '../database/row-names.js';
import { BROADCAST } from '../membership/broadcast.js';
import { ClusterService } from '../membership/cluster.service.js';
import { UnreachableReports } from '../membership/unreachable-reports.js';
import { MembershipRunner } from '../membership/membership.runner.js';
import type { LineLogger } from '../common/line-logger.js';
import { systemClock } from '../common/clock.js';
import { newIncarnation } from '../common/identity.js';
import { StartGate } from '../common/async/start-gate.js';
import { JobsService } from '../jobs/jobs.service.js';
import { DEFAULT_GROUP_COMMIT_LIMITS } from '../kv/group-commit.messages.js';
import { GroupCommitter, KV_PUT, kvPutHandler } from '../kv/group-commit.runner.js';
import { checkKeySpace } from '../kv/key-space.js';
import { maxValueBytes } from '../kv/kv-limits.js';
import { KvStore } from '../kv/kv.store.js';
import { LEADER_MESSAGE, LeaderService } from '../election/leader.service.js';
import { LeaderElector } from '../election/leader-elector.runner.js';
import { DEFAULT_MESSAGING_LIMITS } from '../messaging/limits.js';
import { lockHolder, LockManager } from '../locks/lock.runner.js';
import { LockReleaseAnnouncer } from '../locks/lock-release-announcer.js';
import { LockService } from '../locks/lock.service.js';
import { Messenger } from '../messaging/messenger.js';
import { PayloadCodec } from '../messaging/serializer.js';
import type { SemaphoreClient } from '../semaphores/client/semaphore-client.runner.js';
import type { SemaphoreService } from '../semaphores/semaphore.service.js';
import type { SpillRuntime } from '../spill/service/spill-runtime.js';
import type { SpillStore } from '../spill/service/spill.store.js';
import type { GroupSecrets } from '../transport/handshake/group-identity.js';
import { DatabaseOpener } from './database-opener.js';
import { DatabaseWatch } from './database-watch.js';
import type { HandlersFactory } from './handlers.js';
import { groupSecrets, KeptSecret, STORED_SECRET } from './group-secret.js';
import { connectLinks } from './link-handlers.js';
import type { PodSettings } from './settings.js';
import { HedgeReadiness } from './readiness.js';
import { makeSemaphores } from './semaphores.js';
import { makeSpill } from './spill.js';
import { makeStreams } from './streams.js';
import type { MadeTransport, TransportFactory } from './transport-factory.js';
import { withTimeout } from '../common/async/with-timeout.js';
import { reportListenerErrorsTo } from '../common/async/listener-errors.js';

/** Of the time a stop has beyond its drain, at most this much is kept for closing links and backend at its end. */
const MAX_CLOSE_MS = 2_000;

export interface HedgePodInit {
  readonly settings: PodSettings;
  readonly makeTransport: TransportFactory;
  readonly makeHandlers: HandlersFactory;
  /** Makes the logger of one part of the pod: `Hedge`, `HedgeTransport`. */
  readonly makeLogger: (context: string) => LineLogger;
}

/**
 * One pod: builds its parts, starts them in order and stops them in order. Nothing is opened before `start`,
 * and each step of the stop is isolated: one that fails or hangs does not keep the next from running.
 */
export class HedgePod {
  readonly leader: LeaderService;
  readonly cluster: ClusterService;
  readonly kv: KvStore;
  readonly jobs: JobsService;
  readonly locks: LockService;
  readonly semaphores: SemaphoreService;
  readonly spill: SpillStore;
  readonly readiness: HedgeReadiness;
  /** Holds the calls of all services back until the start. */
  readonly gate = new StartGate();
  readonly settings: PodSettings;
  readonly #logger: LineLogger;
  readonly #backend: Backend;
  readonly #kept: KeptSecret;
  readonly #opener: DatabaseOpener;
  readonly #made: MadeTransport;
  readonly #keeper: LeaderElector;
  readonly #views: MembershipRunner;
  readonly #messenger: Messenger;
  readonly #spill: SpillRuntime;
  readonly #permits: SemaphoreClient;
  readonly #lockKeeper: LockManager;
  readonly #drains: (() => Promise<void>)[] = [];
  #leaving: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor({ settings, makeTransport, makeHandlers, makeLogger }: HedgePodInit) {
    this.settings = settings;
    this.#logger = makeLogger('Hedge');
    const { group, mode, timing, limits, defaultTimeoutMs, shutdown } = settings;
    const clock = systemClock;
    const logger = this.#logger;
    const gate = this.gate;
    reportListenerErrorsTo((message, stack) => logger.error(message, stack));
    const codec = new PayloadCodec(settings.serializer);
    const backend = settings.backend.create({ timeoutMs: timing.backendTimeoutMs });
    // The election looks at the lease about once per lease at the least.
    const watch = new DatabaseWatch(clock, 2 * timing.leaseMs, leaseName(group), () => {
      if (settings.secret.reveal().includes(STORED_SECRET)) void this.#kept.restore();
    });
    const made = makeTransport({
      settings,
      incarnation: newIncarnation(),
      secret: () => this.#secret(),
      logger: makeLogger('HedgeTransport'),
    });
    const { transport } = made;
    this.#kept = new KeptSecret({
      log: backend.log,
      group,
      writer: () => transport.self.address,
      clock,
      retryMs: timing.retryMs,
      logger,
    });
    const leases = watch.watch(backend.lease);
    const keeper = new LeaderElector({
      leases,
      transport,
      clock,
      group,
      timing,
      campaigns: mode === 'member',
      drainMs: shutdown.drainMs,
      logger,
    });
    const lockNotices = new LockReleaseAnnouncer({
      links: () => transport.links(),
      leads: () => keeper.isLeader(),
      released: (name, token) => lockKeeper.releasedElsewhere(name, token),
    });
    const lockKeeper = new LockManager({
      leases,
      holder: () => lockHolder(transport.self),
      announce: (released) => lockNotices.announce(released),
      clock,
      group,
      timing,
      logger,
    });
    const reports = new UnreachableReports({ log: backend.log, group, transport });
    const views = new MembershipRunner({ transport, route: keeper, reports, clock, timing, logger });
    // So that a few of the largest messages of one caller, whose share is a half, fit whatever their limit.
    const maxHeldBytes = Math.max(DEFAULT_MESSAGING_LIMITS.maxHeldBytes, 8 * limits.maxMessageBytes);
    const messenger = new Messenger({ transport, clock, route: keeper, limits: { ...limits, maxHeldBytes }, logger });
    const address = () => transport.self.address;
    const handlers = makeHandlers({ codec, address });
    const { streams, receiver } = makeStreams({ gate, transport, keeper, clock, codec, handlers, settings });
    const committer = new GroupCommitter({
      log: backend.log,
      clock,
      lease: leaseName(group),
      address,
      limits: { ...DEFAULT_GROUP_COMMIT_LIMITS, retryMs: timing.retryMs },
    });
    messenger.serve(LEADER_MESSAGE, handlers.leaderMessage);
    messenger.serve(BROADCAST, handlers.broadcast);
    messenger.serve(KV_PUT, kvPutHandler(committer, address));
    keeper.onDrain(({ fencingToken }) => messenger.drain(fencingToken));
    const { arbiter, holder, service } = makeSemaphores({
      gate,
      table: backend.permits,
      leases: backend.lease,
      clock,
      timing,
      messenger,
      leadership: keeper,
      group,
      address,
      maxRunning: limits.maxRunning,
      logger,
      defaultTimeoutMs,
    });
    this.awaitAtStop(() => messenger.drainBroadcasts());
    this.awaitAtStop(() => receiver.drainBroadcasts());
    connectLinks(transport, { keeper, views, messenger, arbiter, lockNotices }, logger);

    this.#backend = backend;
    this.#opener = new DatabaseOpener(backend, { clock, retryMs: timing.retryMs, logger });
    this.#made = made;
    this.#keeper = keeper;
    this.#views = views;
    this.#messenger = messenger;
    this.#spill = makeSpill({ gate, streams: transport, messenger, views, clock, logger, settings });
    this.spill = this.#spill.store;
    this.#permits = holder;
    this.semaphores = service;
    this.#lockKeeper = lockKeeper;
    const { retryMs, leaseMs } = timing;
    const { maxReruns } = settings;
    this.leader = new LeaderService({
      gate,
      elector: keeper,
      messenger,
      streams,
      codec,
      clock,
      defaultTimeoutMs,
      maxReruns,
      retryMs,
      leaseMs,
      logger,
    });
    this.cluster = new ClusterService({ gate, transport, views, messenger, streams, codec, clock, defaultTimeoutMs });
    this.locks = new LockService({ gate, manager: lockKeeper, clock, defaultTimeoutMs });
    this.kv = new KvStore({
      gate,
      messenger,
      route: keeper,
      log: backend.log,
      defaultTimeoutMs,
      maxValueBytes: maxValueBytes(limits.maxMessageBytes),
      prefix: settings.kv.prefix,
    });
    const stopFirst = keeper.onElected(() => {
      stopFirst();
      void this.#checkKeySpace();
    });
    this.jobs = new JobsService({
      gate,
      log: backend.log,
      group,
      election: keeper,
      self: () => transport.self,
      clock,
      retryMs,
      leaseMs,
      logger,
    });
    this.readiness = new HedgeReadiness(
      () => ({
        backendReachable: watch.reachable,
        unsettledForMs: views.unsettledForMs,
        stopping: this.#leaving !== undefined,
      }),
      // As long as a change of leader after a crash may take.
      leaseMs + timing.heartbeatTimeoutMs,
    );
    // Closed from the start: then every call fails at once.
    if (mode !== 'off') return;
    gate.open();
    void this.close();
  }

  /**
   * Opens the backend, binds the port and starts to campaign. A backend that does not answer is tried again
   * in the background; on any other failure everything is closed again.
   * @throws HedgeError INVALID_OPTIONS
   */
  async start(): Promise<void> {
    const { mode, group } = this.settings;
    const { transport, source } = this.#made;
    try {
      const open = await this.#opener.open();
      if (this.#leaving !== undefined) return this.gate.open();
      // Before others can ask for what it lends.
      await this.#spill.open();
      if (mode === 'member') await transport.listen();
      const at = mode === 'member' ? ` at ${transport.self.address} (${source})` : '';
      this.#logger.log(`Group ${group}: ${mode}${at}, backend ${this.#backend.name}`);
      if (open) this.#take();
      else this.#opener.openLater(() => this.#take());
      this.gate.open();
    } catch (error) {
      await this.leave();
      await this.close();
      throw error;
    }
  }

  /**
   * What `leave` calls at its end, to begin no more of some work that any pod does. It waits for the promise until
   * `drainMs` after its own beginning.
   */
  awaitAtStop(drain: () => Promise<void>): void {
    this.#drains.push(drain);
  }

  /**
   * Hands leadership over, leaves the view and lets broadcast handlers end, in the time allowed. Messages to other
   * pods, reads and puts still work afterwards. Idempotent, never rejects.
   */
  leave(): Promise<void> {
    const start = performance.now();
    this.#leaving ??= this.#stop(this.settings.shutdown.totalMs - this.#closeMs, [
      ['refuse locks', () => this.#lockKeeper.drain()],
      ['refuse permits', () => this.#permits.drain()],
      ['hand leadership over', () => this.#keeper.stop()],
      ['leave the view', () => this.#views.stop()],
      ['let broadcast handlers end', () => this.#drain(start)],
    ]);
    return this.#leaving;
  }

  /** Ends all links and closes the backend, in the time allowed. Idempotent, never rejects. */
  close(): Promise<void> {
    this.#closing ??= this.#stop(this.#closeMs, [
      ['give locks back', () => this.#lockKeeper.close()],
      ['give permits back', () => this.#permits.close()],
      ['drop spilled data', () => this.#spill.close()],
      ['end requests', () => this.#messenger.close()],
      ['stop following', () => this.#keeper.close()],
      ['close the links', () => this.#made.transport.close()],
      ['keep no secret', () => this.#kept.close()],
      ['close the backend', () => this.#backend.close()],
    ]);
    return this.#closing;
  }

  get #closeMs(): number {
    const { drainMs, totalMs } = this.settings.shutdown;
    return Math.min(MAX_CLOSE_MS, (totalMs - drainMs) / 2);
  }

  async #stop(allowedMs: number, steps: readonly (readonly [what: string, step: () => unknown])[]): Promise<void> {
    this.#opener.stop();
    const start = performance.now();
    for (const [what, step] of steps) {
      const leftMs = Math.max(0, allowedMs - (performance.now() - start));
      const problem = await withTimeout(systemClock, leftMs, step);
      if (problem !== undefined) this.#logger.warn(`Stopping: could not ${what}: ${problem}. The stop goes on.`);
    }
  }

  /** After the view was left, so that few others still ask. */
  async #drain(start: number): Promise<void> {
    const { drainMs } = this.settings.shutdown;
    const leftMs = Math.max(0, start + drainMs - performance.now());
    const problem = await withTimeout(systemClock, leftMs, () => Promise.all(this.#drains.map((drain) => drain())));
    if (problem === undefined) return;
    this.#logger.warn(
      `Handlers of broadcasts or methods called on changes still run ${drainMs} ms after the stop began (shutdown.drainMs); it goes on without waiting for them. They may find closed what they use: let them end sooner, or raise it.`,
    );
  }

  /** Takes part in the group from now on. */
  #take(): void {
    this.#keeper.start();
    this.#views.start();
  }

  /** For people only, so a database that does not answer is left alone. */
  async #checkKeySpace(): Promise<void> {
    const { group, kv } = this.settings;
    const space = { group, prefix: kv.prefix, chosen: kv.prefixChosen };
    try {
      const warnings = await checkKeySpace(this.#backend.log, space, this.#made.transport.self.address);
      for (const warning of warnings) this.#logger.warn(warning);
    } catch {
      // The next leader looks again.
    }
  }

  #secret(): Promise<GroupSecrets> {
    return groupSecrets(this.settings.secret.reveal(), () => this.#kept.get());
  }
}
