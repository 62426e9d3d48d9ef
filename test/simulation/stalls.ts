import { Cluster, type Parts } from './cluster.js';
import { endFaults, injectFaults } from './faults.js';
import { takeEveryLock, useLocks } from './lock-workload.js';
import type { Pod } from './pod.js';
import { runSemaphoreWorkload } from './semaphore-workload.js';
import { SOUND_PARTS, type History } from './simulate.js';
import { Violation, violated } from './violation.js';

const SETTLED_WITHIN = 9_000;
const TROUBLE = 15_000;
const LEADER_WITHIN = 12_000;
const LOCKED_WITHIN = 4_000;

/**
 * A history of pods whose leases are renewed by another thread (`renewal: 'worker'`), and whose main threads are blocked.
 *
 * - First nothing else fails, but a renewal thread that may die. Then the main thread of the leader is blocked, for longer than a lease and at most for
 *   `maxStallMs`, and its lease and its lock stay valid in every step (stall).
 * - Then all kinds of faults come at random, with blocked main threads and dying renewal threads. L1 to L3, S1 and the
 *   other invariants hold after every step, and at the end there is a leader, and every lock can be acquired.
 * - At last the main thread of the leader is blocked for ever. Another pod leads after `maxStallMs` and a lease and a
 *   half (failover).
 */
export function simulateStalls(seed: number, parts: Parts = SOUND_PARTS, trace?: (line: string) => void): History {
  const maxStallMs = 5_000;
  const cluster = new Cluster(seed, parts, { maxStallMs });
  const { world, random, machines } = cluster;
  const { leaseMs } = cluster.timing;
  world.trace = trace;
  const run = (ms: number, check = (): void => undefined): void =>
    world.runUntil(world.now + ms, () => {
      cluster.check();
      check();
    });
  try {
    for (const machine of machines) world.after(random.skewed(1, 1_000), () => cluster.startPod(machine));
    run(SETTLED_WITHIN);
    const stalled = leaderOf(cluster);
    const { term } = stalled;
    stalled.run(() => stalled.locks.use('stall', false, Infinity, Infinity));
    run(leaseMs / 2);
    if (random.chance(0.5)) stalled.renewer?.restart(100);
    run(leaseMs / 2);
    const lock = stalled.locks.lockTerm('stall')?.token;
    // By the clocks of that machine, which differ from true time.
    stalled.main.block(random.between(1.1 * leaseMs, 0.95 * maxStallMs));
    run(maxStallMs + leaseMs / 3, () => {
      if (!stalled.believes || stalled.term?.token !== term?.token)
        violated('stall', 'the blocked leader lost its lease');
      if (lock === undefined || stalled.locks.lockTerm('stall')?.token !== lock || !stalled.locks.holds('stall', lock))
        violated('stall', 'the blocked leader lost its lock');
    });

    const faultsEnd = world.now + TROUBLE;
    injectFaults(cluster, faultsEnd);
    // Late answers show from when a renewal counts.
    cluster.connection.faults = { ...cluster.connection.faults, slow: random.between(0.2, 0.6) };
    useLocks(cluster, faultsEnd);
    runSemaphoreWorkload(cluster, faultsEnd);
    injectStalls(cluster, faultsEnd);
    run(TROUBLE);
    endFaults(cluster);
    for (const pod of cluster.pods()) pod.main.unblock();
    run(LEADER_WITHIN);
    leaderOf(cluster);
    const checkLocks = takeEveryLock(cluster);
    run(LOCKED_WITHIN);
    checkLocks();

    const leader = leaderOf(cluster);
    leader.main.block(Infinity);
    // The thread of the next leader may find with its first renewal that the file was replaced, and ends that term.
    const found = world.coverage.has('fault: database replaced') ? leaseMs : 0;
    run(maxStallMs + 1.6 * leaseMs + found);
    if (leaderOf(cluster, leader) === leader) violated('failover', 'a pod that hangs keeps the lease');
    if (leader.believes) violated('L2', 'a pod that hangs believes in its lost lease');
  } catch (error) {
    const violation = error instanceof Error ? error : new Violation('error', String(error));
    world.note('', () => `VIOLATED ${violation.message}`);
    return { seed, coverage: world.coverage, violation };
  }
  return { seed, coverage: world.coverage, violation: undefined };
}

/** Blocks main threads, often that of the leader, and ends renewal threads. */
function injectStalls(cluster: Cluster, until: number): void {
  const { random, world } = cluster;
  const meanPauseMs = random.skewed(300, 3_000);
  const next = (): void => {
    if (world.now >= until) return;
    const pods = cluster.pods();
    const pod = pods.find(({ term }) => term !== undefined && random.chance(0.6)) ?? pods[0];
    if (pod !== undefined && random.chance(0.2)) pod.renewer?.restart();
    else if (pod !== undefined) {
      world.count('stalls: main thread blocked');
      world.note(pod.self.incarnation, () => 'is blocked');
      pod.main.block(random.skewed(500, 12_000));
    }
    world.after(random.between(0, 2 * meanPauseMs), next);
  };
  next();
}

/** @param before returned when no other pod leads. */
function leaderOf(cluster: Cluster, before?: Pod): Pod {
  const leader = cluster.pods().find((pod) => pod.believes && pod !== before) ?? before;
  return leader ?? violated('L4', 'there is no leader');
}
