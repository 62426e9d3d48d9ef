import { Cluster, type Parts } from './cluster.js';
import { endFaults, injectFaults } from './faults.js';
import { runFencedTransactions, standStill } from './fence-workload.js';
import { takeEveryLock, useLocks } from './lock-workload.js';
import { runSemaphoreWorkload } from './semaphore-workload.js';
import { SOUND_PARTS, type History } from './simulate.js';
import { Violation, violated } from './violation.js';

const FAULTS_END = 15_000;
const WORK_ENDS = FAULTS_END + 2_000;
/** After the last fault. The last fenced transactions that hang end in this time, too. */
const LEADER_WITHIN = 12_000;
const LOCKED_WITHIN = 4_000;

/**
 * A history in which leaders and holders of locks and permits, also former ones, write to the database in fenced
 * transactions, while everything fails at random for a while. Checks, besides all other invariants:
 *
 * - F1: when a fenced transaction commits, no later acquisition was committed before.
 * - L4: a holder that stands still in a fenced transaction delays its successor for a bounded time.
 */
export function simulateFences(seed: number, parts: Parts = SOUND_PARTS, trace?: (line: string) => void): History {
  const cluster = new Cluster(seed, parts);
  const { world, random, machines } = cluster;
  world.trace = trace;
  const runUntil = (end: number): void => world.runUntil(end, () => cluster.check());
  try {
    for (const machine of machines) world.after(random.skewed(1, 3_000), () => cluster.startPod(machine));
    injectFaults(cluster, FAULTS_END);
    useLocks(cluster, WORK_ENDS);
    runSemaphoreWorkload(cluster, WORK_ENDS);
    runFencedTransactions(cluster, WORK_ENDS);
    runUntil(FAULTS_END);
    endFaults(cluster);
    runUntil(FAULTS_END + LEADER_WITHIN);
    if (!cluster.pods().some(({ believes }) => believes)) violated('L4', 'no leader after the last fault');
    const checkLocks = takeEveryLock(cluster);
    runUntil(world.now + LOCKED_WITHIN);
    checkLocks();
    const { withinMs, check } = standStill(cluster);
    runUntil(world.now + withinMs);
    check();
  } catch (error) {
    const violation = error instanceof Error ? error : new Violation('error', String(error));
    world.note('', () => `VIOLATED ${violation.message}`);
    return { seed, coverage: world.coverage, violation };
  }
  return { seed, coverage: world.coverage, violation: undefined };
}
