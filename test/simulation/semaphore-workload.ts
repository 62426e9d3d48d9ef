import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import type { PermitHandle } from '../../libs/hedge/src/semaphores/client/permit.js';
import type { Cluster } from './cluster.js';
import type { Pod } from './pod.js';
import { isInRow, SEMAPHORES, type SemaphoreNeed } from './semaphore-oracle.js';
import { actAtRandom } from './workload.js';

const LONGEST_WAIT_MS = 4_000;

/** Every pod acquires, holds and releases random permits until then. */
export function runSemaphoreWorkload(cluster: Cluster, until: number): void {
  const { random } = cluster;
  actAtRandom(cluster, until, random.skewed(60, 700), (pod) => {
    if (random.chance(0.1)) releaseForeign(cluster, pod);
    else acquire(cluster, pod);
  });
}

/** S2, when all faults are over: every semaphore can be acquired as a whole. */
export function acquireAll(cluster: Cluster, withinMs: number): void {
  for (const [name, limit] of Object.entries(SEMAPHORES)) {
    const [pod] = cluster.pods();
    const served = cluster.semaphores.expect();
    pod?.run(() =>
      pod.semaphores.acquire({ name, limit, permits: limit, wait: true }, { timeoutMs: withinMs }, (result) => {
        if (result === undefined || result instanceof Error) return;
        served();
        cluster.semaphores.granted(pod, result);
        release(cluster, result);
      }),
    );
  }
}

function acquire(cluster: Cluster, pod: Pod): void {
  const { random, world } = cluster;
  const [name, limit] = random.pick(Object.entries(SEMAPHORES));
  const permits = limit > 1 && random.chance(0.3) ? 2 : 1;
  const need: SemaphoreNeed = { name, limit, permits, wait: random.chance(0.85) };
  const timeoutMs = random.chance(0.5) ? random.skewed(200, LONGEST_WAIT_MS) : LONGEST_WAIT_MS;
  const stop = new AbortController();
  if (random.chance(0.1)) pod.after(random.between(0, timeoutMs), () => stop.abort(new Error('gave up')));
  pod.semaphores.acquire(need, { timeoutMs, signal: stop.signal }, (result) => {
    if (result instanceof Error) {
      world.count(`semaphores: ${result instanceof HedgeError ? result.code : 'gave up'}`);
    } else if (result === undefined) {
      world.count('semaphores: not free');
    } else {
      world.note(pod.self.incarnation, () => `got ${result.id} of ${name}, token ${result.fencingToken}`);
      cluster.semaphores.granted(pod, result);
      fenceBy(cluster, pod, result);
      // Sometimes longer than permits last without renewal.
      const holdMs = random.chance(0.4) ? random.between(2_000, 8_000) : random.skewed(5, 1_000);
      pod.after(holdMs, () => {
        if (!result.isValid()) world.count('semaphores: lost');
        release(cluster, result);
      });
    }
  });
}

/** Transactions of this pod may be fenced by the permit. */
function fenceBy({ fenced, semaphoreRows, semaphoreTiming }: Cluster, pod: Pod, permit: PermitHandle): void {
  const { id, name, fencingToken: token } = permit;
  fenced.acquired({
    what: SEMAPHORES[name] === 1 ? `semaphore ${name}` : `permit ${id}`,
    token,
    by: pod.self,
    idleMs: semaphoreTiming.permitMs,
    isValid: () => permit.isValid(),
    fence: (transaction) => semaphoreRows.fence(transaction, id, token),
    isLatest: () => isInRow(semaphoreRows.read(name), name, id),
  });
}

/** Sometimes twice (S3). */
function release(cluster: Cluster, permit: PermitHandle): void {
  cluster.semaphores.released(permit);
  void permit.release();
  if (cluster.random.chance(0.2)) void permit.release();
}

function releaseForeign(cluster: Cluster, pod: Pod): void {
  const others = cluster.semaphores.held.filter((held) => held.pod.self.incarnation !== pod.self.incarnation);
  if (others.length === 0) return;
  const { id, name } = cluster.random.pick(others).permit;
  pod.semaphores.releaseForeign(name, id);
}
