import { reportListenerErrorsTo } from '../common/async/listener-errors.js';
import { StartGate } from '../common/async/start-gate.js';
import { withTimeout } from '../common/async/with-timeout.js';
import { systemClock } from '../common/clock.js';
import { LineLogger, type LineSink } from '../common/line-logger.js';
import type { LeaderService } from '../election/leader.service.js';
import type { InspectionService } from '../inspection/inspection.service.js';
import type { JobsService } from '../jobs/jobs.service.js';
import type { KvStore } from '../kv/kv.store.js';
import type { WatchHub } from '../kv/watch/watch-hub.runner.js';
import type { LockManager } from '../locks/lock.runner.js';
import type { LockService } from '../locks/lock.service.js';
import type { ClusterService } from '../membership/cluster.service.js';
import type { Messenger } from '../messaging/messenger.js';
import type { SemaphoreClient } from '../semaphores/client/semaphore-client.runner.js';
import type { SemaphoreService } from '../semaphores/semaphore.service.js';
import type { SpillRuntime } from '../spill/service/spill-runtime.js';
import type { SpillStore } from '../spill/service/spill.store.js';
import type { HandlersFactory } from './handlers.js';
import { connectLinks } from './link-handlers.js';
import {
  type DatabasePart,
  type ElectionPart,
  makeClusterService,
  makeDatabase,
  makeElection,
  makeInspection,
  makeJobs,
  makeKv,
  makeLeaderService,
  makeLocks,
  makeMessaging,
  makeNetwork,
  makeSemaphores,
  makeSpill,
  type NetworkPart,
  type PodContext,
} from './parts.js';
import { RenewalWorker } from '../lease/renewal/renewal-worker.js';
import { Liveness } from '../lease/renewal/liveness.js';
import { HedgeReadiness, type ReadinessFacts } from './readiness.js';
import type { PodSettings } from './settings.js';
import { Metrics } from '../telemetry/metrics.js';
import { reportToOpenTelemetry } from '../telemetry/opentelemetry.js';
import { reportGauges } from './state-gauges.js';
import { StallMonitor } from './stall-monitor.js';
import type { TransportFactory } from './transport-factory.js';

/** The maximum time to close the links and the database at the end of a stop. It is part of the time after the drain. */
const MAX_CLOSE_MS = 2_000;

export interface HedgePodInit {
  readonly settings: PodSettings;
  readonly makeTransport: TransportFactory;
  readonly makeHandlers: HandlersFactory;
  /** Makes the logger of the app for one part of the pod: `Hedge`, `HedgeTransport`. */
  readonly makeLogger: (context: string) => LineSink;
}

/**
 * One pod. It creates its parts, and starts and stops them in order. It opens nothing before `start`. Each step of the stop
 * is isolated: if a step fails or hangs, the next step still runs.
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
  readonly inspection: InspectionService;
  /** Delays the calls of all services until the start. */
  readonly gate = new StartGate();
  readonly metrics: Metrics;
  readonly settings: PodSettings;
  readonly logger: LineLogger;
  readonly #stalls: StallMonitor;
  readonly #renewer: RenewalWorker | undefined;
  readonly #database: DatabasePart;
  readonly #network: NetworkPart;
  readonly #election: ElectionPart;
  readonly #lockManager: LockManager;
  readonly #messenger: Messenger;
  readonly #semaphoreClient: SemaphoreClient;
  readonly #spill: SpillRuntime;
  readonly #watchHub: WatchHub;
  /** The drains of work that a stop waits for, on leader and follower. */
  readonly #drains: (() => Promise<void>)[] = [];
  #stopReporting: () => void = () => undefined;
  #leaving: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor({ settings, makeTransport, makeHandlers, makeLogger }: HedgePodInit) {
    const { group } = settings;
    let address: (() => string) | undefined;
    const linesOf = (context: string): LineLogger =>
      new LineLogger(context, makeLogger(context), () => ({ group, member: address?.() || undefined }));
    const logger = linesOf('Hedge');
    reportListenerErrorsTo((message, stack) => logger.error(message, stack));
    const { timing, renewal } = settings;
    const metrics = new Metrics(settings.group, settings.metrics.labels);
    const liveness = new Liveness();
    const stalls = new StallMonitor({
      clock: systemClock,
      leaseMs: timing.leaseMs,
      maxStallMs: renewal?.maxStallMs,
      logger,
      onTurn: (monoMs) => liveness.turned(monoMs),
      metrics,
    });
    const renewer = renewal && new RenewalWorker({ ...renewal, timing, liveness, clock: systemClock, logger, metrics });
    const context: PodContext = { settings, clock: systemClock, logger, gate: this.gate, stalls, renewer, metrics };

    const database = makeDatabase(context);
    const network = makeNetwork(context, database, makeTransport, linesOf('HedgeTransport'));
    address = network.address;
    const election = makeElection(context, database, network);
    const locks = makeLocks(context, database, network, election);
    const messaging = makeMessaging(context, network, election, makeHandlers);
    const semaphores = makeSemaphores(context, database, network, election, messaging);
    const spill = makeSpill(context, network, election, messaging);
    connectLinks(
      network.transport,
      { ...election, ...messaging, locks: locks.queue, semaphores: semaphores.server },
      logger,
      metrics,
    );
    reportGauges({
      ...context,
      ...database,
      ...network,
      ...election,
      locks: locks.manager,
      permits: semaphores.client,
      spill,
    });

    this.leader = makeLeaderService(context, election, messaging);
    this.cluster = makeClusterService(context, network, election, messaging);
    const kv = makeKv(context, database, network, election, messaging);
    this.kv = kv.store;
    this.jobs = makeJobs(context, database, network, election, messaging);
    this.locks = locks.service;
    this.semaphores = semaphores.service;
    this.spill = spill.store;
    // A change of leader after a crash may take this long.
    const graceMs = settings.timing.leaseMs + settings.timing.heartbeatTimeoutMs;
    this.readiness = new HedgeReadiness(() => this.#readinessFacts(), graceMs);
    this.inspection = makeInspection(context, {
      network,
      election,
      messaging,
      locks: locks.manager,
      semaphores: semaphores.server,
      spill,
      readiness: this.readiness,
    });

    this.metrics = metrics;
    this.settings = settings;
    this.logger = logger;
    this.#stalls = stalls;
    this.#renewer = renewer;
    this.#database = database;
    this.#network = network;
    this.#election = election;
    this.#lockManager = locks.manager;
    this.#messenger = messaging.messenger;
    this.#semaphoreClient = semaphores.client;
    this.#spill = spill;
    this.#watchHub = kv.hub;
    this.awaitAtStop(() => messaging.messenger.drainBroadcasts());
    this.awaitAtStop(() => messaging.receiver.drainBroadcasts());
    if (settings.mode === 'off') this.#turnOff();
  }

  /**
   * Opens the database, binds the port and starts to campaign. If the database does not answer, the pod retries in the
   * background. After any other failure it closes everything.
   * @throws HedgeError INVALID_OPTIONS
   */
  async start(): Promise<void> {
    const { mode, group } = this.settings;
    const { backend, opener } = this.#database;
    const { transport, source } = this.#network;
    try {
      this.#stopReporting = reportToOpenTelemetry(this.metrics);
      this.#stalls.start();
      await this.#renewer?.start();
      const open = await opener.open();
      if (this.#leaving !== undefined) return this.gate.open();
      // Before `listen`, because other pods may request the capacity as soon as they can dial.
      await this.#spill.open();
      if (mode === 'member') await transport.listen();
      const at = mode === 'member' ? ` at ${transport.self.address} (${source})` : '';
      this.logger.log(`Group ${group}: ${mode}${at}, backend ${backend.name}`, {
        event: 'pod.started',
        mode,
        backend: backend.name,
      });
      if (open) this.#join();
      else opener.openLater(() => this.#join());
      this.gate.open();
    } catch (error) {
      await this.leave();
      await this.close();
      throw error;
    }
  }

  /**
   * Adds a drain that the stop waits for on a leader and on a follower. `leave` calls `drain` as its last step. Then no more
   * work of this kind may begin. `leave` waits for the promise until `drainMs` after the beginning of the stop.
   */
  awaitAtStop(drain: () => Promise<void>): void {
    this.#drains.push(drain);
  }

  /**
   * Steps down, leaves the view and waits for broadcast handlers, within the time limit. Messages to other pods, reads and
   * puts still work afterwards. Idempotent, never rejects.
   */
  leave(): Promise<void> {
    const start = performance.now();
    const { elector, membership } = this.#election;
    this.#leaving ??= this.#stop(this.settings.shutdown.totalMs - this.#closeMs, [
      ['delete its keys', () => this.kv.aliveKeys.end()],
      ['drain the locks', () => this.#lockManager.drain()],
      ['drain the permits', () => this.#semaphoreClient.drain()],
      ['hand the leadership over', () => elector.stop()],
      ['leave the view', () => membership.stop()],
      ['drain the broadcast handlers', () => this.#drain(start)],
    ]);
    return this.#leaving;
  }

  /** Closes all links and the database, within the time limit. Idempotent, never rejects. */
  close(): Promise<void> {
    const { transport, secret } = this.#network;
    this.#closing ??= this.#stop(this.#closeMs, [
      ['release the locks', () => this.#lockManager.close()],
      ['release the permits', () => this.#semaphoreClient.close()],
      ['drop spilled data', () => this.#spill.close()],
      ['end watches', () => this.#watchHub.close()],
      ['end requests', () => this.#messenger.close()],
      ['stop following', () => this.#election.elector.close()],
      ['end the renewal thread', () => this.#renewer?.close()],
      ['stop watching for stalls', () => this.#stalls.close()],
      ['close the links', () => transport.close()],
      ['stop restoring the secret', () => secret.close()],
      ['close the backend', () => this.#database.backend.close()],
      ['stop reporting metrics', () => this.#stopReporting()],
    ]);
    return this.#closing;
  }

  get #closeMs(): number {
    const { drainMs, totalMs } = this.settings.shutdown;
    return Math.min(MAX_CLOSE_MS, (totalMs - drainMs) / 2);
  }

  async #stop(allowedMs: number, steps: readonly (readonly [action: string, step: () => unknown])[]): Promise<void> {
    this.#database.opener.stop();
    const start = performance.now();
    for (const [action, step] of steps) {
      const leftMs = Math.max(0, allowedMs - (performance.now() - start));
      const problem = await withTimeout(systemClock, leftMs, step);
      if (problem !== undefined) this.logger.warn(`Stopping: could not ${action}: ${problem}. The stop continues.`);
    }
  }

  /** Runs after the pod has left the view. By then few other pods still send broadcasts to it. */
  async #drain(start: number): Promise<void> {
    const { drainMs } = this.settings.shutdown;
    const leftMs = Math.max(0, start + drainMs - performance.now());
    const problem = await withTimeout(systemClock, leftMs, () => Promise.all(this.#drains.map((drain) => drain())));
    if (problem === undefined) return;
    this.logger.warn(
      `Handlers of broadcasts or methods called on changes still run ${drainMs} ms after the stop began (shutdown.drainMs). The stop continues without them, so services that they use may be closed. Make them end sooner, or raise shutdown.drainMs.`,
    );
  }

  /** Joins the group. */
  #join(): void {
    this.#network.prepareSecret();
    this.#election.elector.start();
    this.#election.membership.start();
  }

  /** Closes a pod with the mode `off` from the start, so that every call fails at once. */
  #turnOff(): void {
    this.gate.open();
    void this.close();
  }

  #readinessFacts(): ReadinessFacts {
    const { watch } = this.#database;
    if (watch.isStale) void this.#election.elector.refresh();
    return {
      backendReachable: watch.reachable,
      unsettledForMs: this.#election.membership.unsettledForMs,
      stopping: this.#leaving !== undefined,
      stalls: this.#stalls.figures,
    };
  }
}
