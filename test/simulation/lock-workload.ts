import type { Cluster } from './cluster.js';
import { violated } from './violation.js';

const NAMES = ['one', 'two', 'three'];

/** Callers in every pod acquire random locks until then, each for a while. */
export function useLocks(cluster: Cluster, until: number): void {
  const { random, world } = cluster;
  const meanPauseMs = random.skewed(200, 1_500);
  const names = NAMES.slice(0, random.pick([2, 3]));
  const next = (): void => {
    const pods = cluster.pods();
    if (world.now >= until) {
      for (const pod of pods) pod.run(() => pod.locks.close());
      return;
    }
    if (pods.length > 0) {
      const pod = random.pick(pods);
      const once = random.chance(0.2);
      const left = until - world.now;
      const patienceMs = Math.min(left, random.skewed(50, 6_000));
      pod.run(() => pod.locks.use(random.pick(names), once, patienceMs, random.skewed(5, 6_000)));
    }
    world.after(random.between(0, 2 * meanPauseMs), next);
  };
  next();
}

/** One caller in any pod acquires each lock; the returned function reports whether all could. */
export function takeEveryLock(cluster: Cluster): () => void {
  const missing = new Set(NAMES);
  for (const name of NAMES) {
    const pod = cluster.random.pick(cluster.pods());
    pod.run(() => pod.locks.use(name, false, Infinity, 0, () => missing.delete(name)));
  }
  return () => {
    if (missing.size > 0) violated('L4', `nobody can take ${[...missing].join()} after the last fault`);
  };
}
