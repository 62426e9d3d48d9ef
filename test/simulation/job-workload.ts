import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import type { JobAction } from '../../libs/hedge/src/jobs/job-requests.js';
import type { Cluster } from './cluster.js';
import type { Conditions } from './faults.js';
import { ADDED_JOB, INTERVALS } from './job-oracle.js';
import type { Pod } from './pod.js';
import { REFUSED_REASON } from './pod-jobs.js';
import { actAtRandom } from './workload.js';

type Change = 'pause' | 'resume' | 'add' | 'remove';

const PAUSE = ['pause', 'resume'] as const;
const REMOVAL = ['remove', 'add'] as const;
const REPLACEMENT = ['add', 'add'] as const;

/** A run may be asked for again so long after the first time. With the last call, that is less than its id counts. */
const AGAIN_MS = 4_000;

/** Any pods run, pause and resume random jobs until then, and remove, change and add one. Each pause ends some time later. */
export function controlJobs(cluster: Cluster, until: number, { redefinesJob = false }: Conditions = {}): void {
  const { random, world } = cluster;
  if (redefinesJob)
    return actAtRandom(cluster, until, 150, (pod) => change(cluster, pod, 'add', ADDED_JOB, random.skewed(200, 4_000)));
  actAtRandom(cluster, until, random.skewed(300, 3_000), (pod) => {
    const { name } = random.pick(cluster.jobs.all);
    if (random.chance(0.5)) return runNow(cluster, pod, name, cluster.jobs.asked(), random.skewed(200, 6_000));
    const [first, then] = name === ADDED_JOB && random.chance(0.7) ? random.pick([REMOVAL, REPLACEMENT]) : PAUSE;
    change(cluster, pod, first, name, random.skewed(200, 4_000));
    world.after(random.skewed(50, 4_000), () => {
      const pods = cluster.pods();
      if (pods.length === 0) return;
      const other = random.pick(pods);
      other.run(() => change(cluster, other, then, name, random.skewed(200, 4_000)));
    });
  });
}

/** Adds the job that is added at run time for the first time. */
export function addJob(cluster: Cluster): void {
  const [pod] = cluster.pods();
  pod?.run(() => change(cluster, pod, 'add', ADDED_JOB, 4_000));
}

/** To call when all faults are over: some resumptions have failed, and some pauses have outlived their time limit. */
export function resumeEveryJob(cluster: Cluster): void {
  const [pod] = cluster.pods();
  pod?.run(() => change(cluster, pod, 'add', ADDED_JOB, 2_000));
  for (const { name } of cluster.jobs.all) pod?.run(() => change(cluster, pod, 'resume', name, 2_000));
}

/** A caller that does not know the outcome may ask again, also from another pod. */
function runNow(
  cluster: Cluster,
  pod: Pod,
  name: string,
  id: string,
  timeoutMs: number,
  since = cluster.world.now,
): void {
  const { jobs, random, world } = cluster;
  const again = random.chance(0.2) && world.now < since + AGAIN_MS;
  // Another call with the id may be claimed while this one is refused.
  const only = !again && world.now === since;
  pod.jobs.ask({ $case: 'run', value: { name, id, by: pod.self.address, reason: '' } }, timeoutMs, (error) => {
    const refused = error instanceof HedgeError && error.code === 'CONFLICT';
    world.count(`jobs: runNow ${error === undefined ? 'acknowledged' : refused ? 'refused' : 'failed'}`);
    if (error === undefined) cluster.watch(() => jobs.ranNow(name, id));
    else if (refused && only) cluster.watch(() => jobs.refused(name, id));
  });
  if (again) {
    world.after(random.skewed(1, 8_000), () => {
      const pods = cluster.pods();
      if (pods.length === 0) return;
      const other = random.pick(pods);
      world.count('jobs: runNow again');
      other.run(() => runNow(cluster, other, name, id, random.skewed(200, 6_000), since));
    });
  }
}

function change(cluster: Cluster, pod: Pod, $case: Change, name: string, timeoutMs: number): void {
  const { jobs, random, world } = cluster;
  const id = jobs.asked();
  const value = { name, by: id, reason: !jobs.hurried && random.chance(0.1) ? REFUSED_REASON : '' };
  const definition = JSON.stringify({ everyMs: random.pick(INTERVALS) });
  const action: JobAction = $case === 'add' ? { $case, value: { ...value, definition } } : { $case, value };
  pod.jobs.ask(action, timeoutMs, (error) => {
    const refused = error instanceof HedgeError && error.code === 'INVALID_ARGUMENT';
    world.count(`jobs: ${refused ? 'change refused' : `${$case} ${error === undefined ? 'acknowledged' : 'failed'}`}`);
    if (error === undefined) cluster.watch(() => jobs.acknowledged(id));
    else if (refused) cluster.watch(() => jobs.changeRefused(id));
  });
}
