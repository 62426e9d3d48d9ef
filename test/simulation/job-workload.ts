import type { Cluster } from './cluster.js';
import type { Pod } from './pod.js';
import { actAtRandom } from './workload.js';

/** Any pods pause and resume random jobs until then. Each pause ends some time later. */
export function controlJobs(cluster: Cluster, until: number): void {
  const { random, world } = cluster;
  actAtRandom(cluster, until, random.skewed(400, 6_000), (pod) => {
    const { name } = random.pick(cluster.jobs.all);
    change(cluster, pod, 'pause', name, random.skewed(200, 4_000));
    world.after(random.skewed(50, 4_000), () => {
      const pods = cluster.pods();
      if (pods.length === 0) return;
      const other = random.pick(pods);
      other.run(() => change(cluster, other, 'resume', name, random.skewed(200, 4_000)));
    });
  });
}

/** To call when all faults are over: some resumptions have failed, and some pauses have outlived their time limit. */
export function resumeEveryJob(cluster: Cluster): void {
  const [pod] = cluster.pods();
  for (const { name } of cluster.jobs.all) pod?.run(() => change(cluster, pod, 'resume', name, 2_000));
}

function change(cluster: Cluster, pod: Pod, $case: 'pause' | 'resume', name: string, timeoutMs: number): void {
  const id = cluster.jobs.asked();
  pod.jobs.ask({ $case, value: { name, by: id, reason: '' } }, timeoutMs, (error) => {
    cluster.world.count(`jobs: ${$case} ${error === undefined ? 'acknowledged' : 'failed'}`);
    if (error === undefined) cluster.watch(() => cluster.jobs.acknowledged(id));
  });
}
