import { Membership } from '../../libs/hedge/src/membership/membership.core.js';
import { LeaseObserver } from '../../libs/hedge/src/database/lease-observer.js';
import { LeaseContender } from '../../libs/hedge/src/lease/lease-contender.core.js';
import { LeaseRenewer } from '../../libs/hedge/src/lease/renewal/lease-renewer.core.js';
import { rowIdOf } from '../../libs/hedge/src/jobs/ledger.js';
import { JobRegistry } from '../../libs/hedge/src/jobs/registry/job-registry.core.js';
import { JobScheduler } from '../../libs/hedge/src/jobs/job-scheduler.core.js';
import { LockQueue } from '../../libs/hedge/src/locks/lock-queue.core.js';
import { LockStateMachine } from '../../libs/hedge/src/locks/lock.core.js';
import { RequestRouter } from '../../libs/hedge/src/messaging/client/request-routing.core.js';
import { GetBatcher } from '../../libs/hedge/src/kv/get-batcher.core.js';
import { WatchNotices } from '../../libs/hedge/src/kv/watch/watch-notices.core.js';
import { Expiry } from '../../libs/hedge/src/kv/expiry/expiry.core.js';
import { Retention } from '../../libs/hedge/src/kv/retention/retention.core.js';
import { WatchReader } from '../../libs/hedge/src/kv/watch/watch-reader.core.js';
import { HeldPermits } from '../../libs/hedge/src/semaphores/client/held-permits.core.js';
import { SemaphoreQueue } from '../../libs/hedge/src/semaphores/server/semaphore-queue.core.js';
import { Cluster, type Parts } from './cluster.js';
import { SimulatedDatabase } from './database.js';
import { SimulatedDriver } from './driver.js';
import { type Conditions, endFaults, injectFaults } from './faults.js';
import { addJob, controlJobs, resumeEveryJob } from './job-workload.js';
import { takeEveryLock, useLocks } from './lock-workload.js';
import { PodRenewer } from './pod-renewer.js';
import { SimulatedSemaphoreRows } from './semaphore-rows.js';
import { acquireAll, runSemaphoreWorkload } from './semaphore-workload.js';
import { SimulatedTransaction } from './transactions.js';
import { Violation, violated } from './violation.js';
import { openWatches, putExpiring, putInBursts, putPairs, runWorkload, useDeletedKey } from './workload.js';
import type { Coverage } from './world.js';

const FAULTS_END = 20_000;
/** After the last fault a late transaction may still acquire the lease for a dead process; that lease expires. */
const LEADER_WITHIN = 12_000;
const WORK_ENDS = FAULTS_END + 6_000;
const SETTLED_WITHIN = 16_000;
/** Counted from the new leader: permits of dead processes expire after two leases. */
const SERVED_WITHIN = 9_000;

export interface History {
  readonly seed: number;
  readonly coverage: Coverage;
  /** The violated invariant, or the thrown error; undefined when there is none. */
  readonly violation: Error | undefined;
}

/** Some of the pods that start again have a newer version. */
function appVersion(_address: string, starts: number): string {
  return String(1 + Math.floor(starts / 8));
}

export const SOUND_PARTS: Parts = {
  election: (settings) => new LeaseContender(settings),
  membership: (settings) => new Membership(settings),
  lock: (settings) => new LockStateMachine(settings),
  lockQueue: (...made) => new LockQueue(...made),
  renewer: (settings) => new LeaseRenewer(settings),
  podRenewer: (...made) => new PodRenewer(...made),
  database: (...made) => new SimulatedDatabase(...made),
  observer: () => new LeaseObserver(),
  gets: (limits) => new GetBatcher(limits),
  watchReader: (after) => new WatchReader(after),
  watchNotices: () => new WatchNotices(),
  retention: (...made) => new Retention(...made),
  expiry: (limits) => new Expiry(limits),
  expiryRows: 'in the commit',
  fencesExpiringPuts: true,
  driver: (...made) => new SimulatedDriver(...made),
  heldPermits: (timing) => new HeldPermits(timing),
  semaphoreQueue: (...made) => new SemaphoreQueue(...made),
  semaphoreRows: (database) => new SimulatedSemaphoreRows(database),
  retriesPutsAsOverwrites: false,
  conditions: 'in the transaction',
  forgetsRepliesEarly: false,
  router: (self, random) => new RequestRouter(self, random),
  served: (type) => type,
  jobs: (job, settings) => new JobScheduler(job, settings),
  claimsJobsUnfenced: false,
  jobRowId: rowIdOf,
  trimsRequestedRuns: false,
  jobRegistry: (settings) => new JobRegistry(settings),
  changesJobsUnfenced: false,
  transaction: (...made) => new SimulatedTransaction(...made),
  fence: (transaction, holding) => transaction.fence(() => holding.fence(transaction)),
};

/**
 * Runs the history of one seed: a group whose pods, clocks, network and database fail at random for a while,
 * and then do not. The invariants are checked after every step, and at the end that the group has recovered.
 *
 * @param trace called with a line for each notable event.
 */
export function simulate(
  seed: number,
  parts: Parts = SOUND_PARTS,
  trace?: (line: string) => void,
  conditions: Conditions = {},
): History {
  const cluster = new Cluster(seed, parts, { ...conditions, appVersion });
  const { world } = cluster;
  world.trace = trace;
  const check = (): void => cluster.check();
  try {
    world.count(`driver: ${cluster.database.kind}`);
    for (const machine of cluster.machines) {
      world.after(cluster.random.skewed(1, 3_000), () => cluster.startPod(machine));
    }
    injectFaults(cluster, FAULTS_END, conditions);
    runWorkload(cluster, WORK_ENDS, conditions);
    useDeletedKey(cluster);
    openWatches(cluster, WORK_ENDS + 4_000);
    world.after(WORK_ENDS, () => (cluster.watches.hurried = true));
    putExpiring(cluster, WORK_ENDS);
    putPairs(cluster, WORK_ENDS, conditions);
    runSemaphoreWorkload(cluster, WORK_ENDS);
    useLocks(cluster, WORK_ENDS);
    cluster.world.after(2_000, () => addJob(cluster));
    controlJobs(cluster, WORK_ENDS, conditions);
    world.runUntil(FAULTS_END, check);
    endFaults(cluster);
    cluster.poisoned = false;
    cluster.jobs.hurried = true;
    world.runUntil(FAULTS_END + LEADER_WITHIN, check);
    if (!cluster.pods().some(({ believes }) => believes)) {
      violated('L4', `no leader ${LEADER_WITHIN} ms after the last fault`);
    }
    const checkLocks = takeEveryLock(cluster);
    resumeEveryJob(cluster);
    acquireAll(cluster, SERVED_WITHIN);
    world.runUntil(FAULTS_END + SETTLED_WITHIN, check);
    checkLocks();
    checkRecovered(cluster);
    cluster.watches.recovered();
    // Puts are committed while questions and notices of earlier ones are on their way.
    cluster.network.faults = { ...cluster.network.faults, maxDelayMs: 150 };
    cluster.expiry.nothingFails = true;
    putInBursts(cluster);
    cluster.jobs.finish(
      cluster
        .pods()
        .find(({ believes }) => believes)
        ?.now().wall ?? 0,
    );
    world.runUntil(FAULTS_END + LEADER_WITHIN + SERVED_WITHIN, check);
    for (const { messaging } of cluster.pods()) messaging.checkDeadlines();
    const alive = new Set(cluster.pods().map(({ self }) => self.incarnation));
    cluster.operations.finish(alive);
    cluster.watches.finish(alive);
    cluster.expiry.finish(FAULTS_END, alive, (entry) => cluster.operations.acknowledged(entry));
    cluster.semaphores.finish();
  } catch (error) {
    const violation = error instanceof Error ? error : new Violation('error', String(error));
    world.note('', () => `VIOLATED ${violation.message}`);
    return { seed, coverage: world.coverage, violation };
  }
  return { seed, coverage: world.coverage, violation: undefined };
}

/** All know the same leader, and have the same settled view of exactly those that run. */
function checkRecovered(cluster: Cluster): void {
  const pods = cluster.pods();
  const leader = pods.find(({ believes }) => believes);
  const members = pods.map(({ self }) => self.incarnation).sort();
  for (const pod of pods) {
    const { self, membership } = pod;
    const current = pod.current();
    if (current?.leader.incarnation !== leader?.self.incarnation) {
      violated('L4', `${self.incarnation} takes ${current?.leader.incarnation ?? 'nobody'} for the leader`);
    }
    const seen = membership.view?.members.map(({ incarnation }) => incarnation).sort();
    if (!membership.settled || seen?.join() !== members.join()) {
      violated('M1', `the view of ${self.incarnation} is not settled on ${members.join()}: ${seen?.join() ?? 'none'}`);
    }
  }
}
