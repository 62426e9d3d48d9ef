import type { MembershipSettings, Membership } from '../../libs/hedge/src/membership/membership.core.js';
import { TIMING_PRESETS } from '../../libs/hedge/src/common/timing.js';
import type { LeaseContender } from '../../libs/hedge/src/lease/lease-contender.core.js';
import type { ContenderSettings } from '../../libs/hedge/src/lease/lease-contender.messages.js';
import type { LeaseRenewer, RenewerSettings } from '../../libs/hedge/src/lease/renewal/lease-renewer.core.js';
import type { LeaseObserver } from '../../libs/hedge/src/database/lease-observer.js';
import { isReservedKey } from '../../libs/hedge/src/database/row-names.js';
import type { Job } from '../../libs/hedge/src/jobs/job.js';
import type { LedgerRow } from '../../libs/hedge/src/jobs/ledger.js';
import type { JobRegistry } from '../../libs/hedge/src/jobs/registry/job-registry.core.js';
import type { RegistrySettings } from '../../libs/hedge/src/jobs/registry/job-registry.messages.js';
import type { JobScheduler } from '../../libs/hedge/src/jobs/job-scheduler.core.js';
import type { SchedulerSettings } from '../../libs/hedge/src/jobs/job-scheduler.messages.js';
import type { LockStateMachine } from '../../libs/hedge/src/locks/lock.core.js';
import type { LockQueue } from '../../libs/hedge/src/locks/lock-queue.core.js';
import type { LockSettings } from '../../libs/hedge/src/locks/lock.messages.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import type { RequestRouter } from '../../libs/hedge/src/messaging/client/request-routing.core.js';
import type { RequestType } from '../../libs/hedge/src/messaging/request-type.js';
import type { LogPlace } from '../../libs/hedge/src/database/log-table.js';
import type { WatchNotices } from '../../libs/hedge/src/kv/watch/watch-notices.core.js';
import type { WatchReader } from '../../libs/hedge/src/kv/watch/watch-reader.core.js';
import type { GetBatcher, GetLimits } from '../../libs/hedge/src/kv/get-batcher.core.js';
import type { HeldPermits, HeldPermitsTiming } from '../../libs/hedge/src/semaphores/client/held-permits.core.js';
import type { Expiry, ExpiryLimits } from '../../libs/hedge/src/kv/expiry/expiry.core.js';
import type { Retention, RetentionLimits, RetentionRule } from '../../libs/hedge/src/kv/retention/retention.core.js';
import type { SemaphoreQueue } from '../../libs/hedge/src/semaphores/server/semaphore-queue.core.js';
import { type SemaphoreTiming, semaphoreTiming } from '../../libs/hedge/src/semaphores/semaphore-timing.js';
import { DatabaseConnection } from './calls.js';
import { ELECTION, type DatabaseKind, type SimulatedDatabase } from './database.js';
import type { SimulatedDriver } from './driver.js';
import { ExpiryOracle } from './expiry-oracle.js';
import { FencedTransactions, type Holding } from './fenced-transactions.js';
import { JobOracle } from './job-oracle.js';
import { LeadershipOracle } from './leadership-oracle.js';
import type { LeaseHistory } from './lease-history.js';
import { Links } from './links.js';
import { LockOracle } from './lock-oracle.js';
import { Machine, type Thread } from './machine.js';
import { Network } from './network.js';
import { Operations } from './operations.js';
import { Pod } from './pod.js';
import { EXPIRY_PREFIX } from './pod-expiry.js';
import type { PodCall } from './pod-messaging.js';
import type { Versions } from './pod-reads.js';
import type { PodRenewer } from './pod-renewer.js';
import { Random } from './random.js';
import { SemaphoreOracle } from './semaphore-oracle.js';
import type { SimulatedSemaphoreRows } from './semaphore-rows.js';
import type { SimulatedTransaction } from './transactions.js';
import { WatchOracle } from './watch-oracle.js';
import { World } from './world.js';

/** The parts of a history. Tests replace them by broken ones, which the simulation must find. */
export interface Parts {
  election(settings: ContenderSettings): LeaseContender;
  membership(settings: MembershipSettings): Membership;
  lock(settings: LockSettings): LockStateMachine;
  lockQueue(...made: ConstructorParameters<typeof LockQueue>): LockQueue;
  renewer(settings: RenewerSettings): LeaseRenewer;
  podRenewer(...made: ConstructorParameters<typeof PodRenewer>): PodRenewer;
  database(...made: ConstructorParameters<typeof SimulatedDatabase>): SimulatedDatabase;
  observer(): LeaseObserver;
  watchReader(after: LogPlace): WatchReader;
  watchNotices(): WatchNotices;
  gets(limits: GetLimits): GetBatcher<Versions>;
  retention(rules: readonly RetentionRule[], limits: RetentionLimits): Retention;
  expiry(limits: ExpiryLimits): Expiry;
  /** When the expiry row of a put is written. */
  readonly expiryRows: 'in the commit' | 'after it';
  /** A put with a time to live is fenced by the term of its leader. */
  readonly fencesExpiringPuts: boolean;
  driver(...made: ConstructorParameters<typeof SimulatedDriver>): SimulatedDriver;
  heldPermits(timing: HeldPermitsTiming): HeldPermits;
  semaphoreQueue(...made: ConstructorParameters<typeof SemaphoreQueue>): SemaphoreQueue;
  semaphoreRows(database: SimulatedDatabase): SimulatedSemaphoreRows;
  /** The leader retries a put as an overwrite of the key's single row. */
  readonly retriesPutsAsOverwrites: boolean;
  /** Where the condition of a put is checked. */
  readonly conditions: 'in the transaction' | 'before it' | 'in memory';
  /** A receiver drops a request as soon as it has sent the reply. */
  readonly forgetsRepliesEarly: boolean;
  router(self: MemberId, random: () => number): RequestRouter<PodCall>;
  /** How a receiver registers a type of request. */
  served(type: RequestType): RequestType;
  jobs(job: Job, settings: SchedulerSettings): JobScheduler;
  /** A leader claims firings without a fence. */
  readonly claimsJobsUnfenced: boolean;
  jobRowId(row: LedgerRow): string;
  /** Ledgers are trimmed by their number of rows alone. */
  readonly trimsRequestedRuns: boolean;
  jobRegistry(settings: RegistrySettings): JobRegistry;
  /** A leader pauses and resumes jobs without a fence. */
  readonly changesJobsUnfenced: boolean;
  transaction(...made: ConstructorParameters<typeof SimulatedTransaction>): SimulatedTransaction;
  /** The statement that fences a transaction. */
  fence(transaction: SimulatedTransaction, holding: Holding): boolean;
}

export interface ClusterOptions {
  /** Default: the seed chooses it. */
  readonly database?: DatabaseKind;
  /** Default: 3 to 5. */
  readonly pods?: number;
  /** How long a permit is valid. Default: the seed chooses it. */
  readonly permitMs?: number;
  /** Whether one of the jobs is transactional. Default: true. */
  readonly transactionalJob?: boolean;
  /** Whether some pods have version 0.1. Default: true. */
  readonly olderPods?: boolean;
  /** The pods have `renewal: 'worker'` with this limit. */
  readonly maxStallMs?: number;
  /** `preferNewest.appVersion` of a process that starts on that machine. Default: none. */
  readonly appVersion?: (address: string, starts: number) => string | undefined;
}

/** A group of pods on simulated machines, network and database, watched by the invariants. */
export class Cluster {
  readonly timing = TIMING_PRESETS.local;
  readonly olderPods: boolean;
  readonly maxStallMs: number | undefined;
  readonly world = new World();
  readonly random: Random;
  readonly network: Network;
  readonly links: Links;
  readonly connection: DatabaseConnection;
  readonly database: SimulatedDatabase;
  readonly leadership: LeadershipOracle;
  readonly operations: Operations;
  readonly watches: WatchOracle;
  readonly expiry: ExpiryOracle;
  readonly locks: LockOracle;
  readonly jobs: JobOracle;
  readonly fenced: FencedTransactions;
  readonly semaphoreRows: SimulatedSemaphoreRows;
  readonly semaphores: SemaphoreOracle;
  readonly semaphoreTiming: SemaphoreTiming;
  readonly machines: readonly Machine[];
  /** Requests that crash the processes that run them do so. */
  poisoned = true;
  readonly #pods = new Map<string, Pod>();
  /** Machines whose processes are not ready to lead, as when they do not reach the database. */
  readonly notReady = new Set<string>();
  readonly #appVersion: NonNullable<ClusterOptions['appVersion']>;
  #starts = 0;
  #caught: unknown;

  constructor(
    seed: number,
    readonly parts: Parts,
    {
      database,
      pods,
      permitMs: chosen,
      transactionalJob = true,
      olderPods = true,
      maxStallMs,
      appVersion = () => undefined,
    }: ClusterOptions = {},
  ) {
    this.olderPods = olderPods;
    this.maxStallMs = maxStallMs;
    this.#appVersion = appVersion;
    const { world } = this;
    const random = new Random(seed);
    this.random = random;
    this.network = new Network(world, random);
    this.links = new Links(world, this.network, random, (address) => this.#pods.get(address)?.messaging);
    this.connection = new DatabaseConnection(world, random, this.timing.backendTimeoutMs);
    const kind = database ?? random.pick<DatabaseKind>(['shared-clock', 'file', 'server']);
    this.database = parts.database(world, kind, new Random(-seed).next);
    this.watches = new WatchOracle(this.database, () => world.now);
    this.expiry = new ExpiryOracle(world, this.database, (incarnation) =>
      this.pods().some(({ self }) => self.incarnation === incarnation),
    );
    this.operations = new Operations(world, this.expiry, (token) => this.leadership.history.hasLost(token));
    // The shorter permits do not outlive a leader's crash, and are lost more often.
    const permitMs = chosen ?? random.pick([2_000, 6_000]);
    this.semaphoreTiming = { ...semaphoreTiming(this.timing), permitMs, marginMs: permitMs / 10 };
    this.semaphoreRows = parts.semaphoreRows(this.database);
    this.semaphoreRows.lost = (...lost) => this.semaphores.lost(...lost);
    this.semaphores = new SemaphoreOracle(world, (address) => this.machine(address));
    this.locks = new LockOracle(this.timing, this.database);
    this.jobs = new JobOracle(world, random, transactionalJob);
    this.fenced = new FencedTransactions(world, random, this.timing.leaseMs);
    this.leadership = new LeadershipOracle(this.database, () => this.#pods.values());
    this.database.observer = {
      acquired: (name, row, knew) => {
        if (name === ELECTION) this.leadership.acquired(row, knew);
        else this.locks.acquired(name, row, knew);
      },
      renewed: (name, row) => this.#history(name).renewed(row),
      written: (entry) => {
        if (entry.key.startsWith(EXPIRY_PREFIX)) return;
        const oracle = isReservedKey(entry.key) ? this.jobs : this.operations;
        oracle.written(entry, this.database.lease.token);
        this.watches.written(entry);
      },
      trimmed: (entries) => {
        const [{ key } = { key: '' }] = entries;
        // The jobs trim their ledgers themselves.
        if (isReservedKey(key)) return;
        this.watches.trimmed(entries);
        this.operations.trimmed(entries, this.database.versions(key).length > 0);
      },
      restored: (entries) => {
        if (entries.some(({ key }) => isReservedKey(key))) return;
        this.watches.restored(entries);
        this.operations.restored(entries);
      },
      replaced: () => {
        this.leadership.replaced();
        this.locks.replaced();
      },
      wentBack: ({ leases, entries }) => {
        this.fenced.wentBack();
        this.watches.wentBack();
        this.expiry.wentBack();
        for (const [name, row] of leases) this.#history(name).wentBack(row, this.database.row(name));
        for (const entry of entries) {
          if (entry.key.startsWith(EXPIRY_PREFIX)) continue;
          if (isReservedKey(entry.key)) this.jobs.lost(entry);
          else this.operations.lost(entry);
        }
      },
    };
    // The margin is a tenth of the lease: the clocks may differ by that much in total.
    const rate = (): number => random.between(0.96, 1.04);
    const size = pods ?? random.pick([3, 3, 4, 5]);
    this.machines = Array.from({ length: size }, (_, index) => {
      return new Machine(`p${index}`, world, { mono: rate(), wall: rate() });
    });
  }

  #history(name: string): LeaseHistory {
    return name === ELECTION ? this.leadership.history : this.locks.history(name);
  }

  /** Runs a function whose errors end the history, also when the code under test catches them. */
  watch<Result>(run: () => Result): Result {
    try {
      return run();
    } catch (error) {
      this.#caught ??= error;
      throw error;
    }
  }

  /** To call after every step. */
  check(): void {
    if (this.#caught !== undefined) throw this.#caught;
    this.leadership.check();
    this.operations.check();
    this.expiry.check();
    this.semaphores.check();
    this.locks.check();
  }

  pod(address: string): Pod | undefined {
    return this.#pods.get(address);
  }

  /** All running processes. */
  pods(): Pod[] {
    return [...this.#pods.values()].filter(({ alive }) => alive);
  }

  machine(address: string): Machine {
    const machine = this.machines.find((one) => one.address === address);
    if (machine === undefined) throw new Error(`no machine ${address}`);
    return machine;
  }

  /** The main thread of the process there. */
  thread(address: string): Thread {
    return this.#pods.get(address)?.main ?? this.machine(address);
  }

  /** The process there ends, and starts again some time later. */
  crash(address: string): void {
    const pod = this.#pods.get(address);
    if (pod?.alive !== true) return;
    pod.die();
    this.world.after(this.random.skewed(50, 6_000), () => this.startPod(pod.machine));
  }

  /** Starts a process there, unless one runs. */
  startPod(machine: Machine): void {
    if (this.#pods.get(machine.address)?.alive === true) return;
    this.#starts += 1;
    const { address } = machine;
    const self = { address, incarnation: `${address}#${this.#starts}` };
    const pod = new Pod(self, machine, this, this.#appVersion(address, this.#starts));
    this.#pods.set(machine.address, pod);
    this.world.note(pod.self.incarnation, () => 'starts');
    pod.run(() => pod.start());
  }
}
