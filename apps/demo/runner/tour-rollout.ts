import assert from 'node:assert/strict';
import { type DemoCluster, eventually } from './demo-cluster.js';
import { since, START_MS, TAKE_OVER_MS } from './figures.js';
import { Load } from './load.js';
import type { Ending, Pod } from './pod.js';

const PODS = 5;
/** Sends of each new pod after the update. */
const SENDS = 10;

/**
 * Replaces five pods by five of a new version, as a Deployment with `maxSurge: 1` does: one new pod starts at a time, and when
 * it is ready, an old one stops. Each pod sends to the leader from its readiness until its stop.
 */
export async function leadershipMovesOnce(cluster: DemoCluster): Promise<string> {
  while (cluster.pods.length < PODS) await cluster.add();
  const { leader, followers } = await cluster.agree(START_MS);
  const terms = new Set(cluster.terms);
  const lost = cluster.losses.length;
  const loads = new Map<Pod, Load>();
  const send = (pod: Pod): void => void loads.set(pod, new Load(pod, (_, key) => pod.request('/send', key)));
  for (const pod of cluster.pods) send(pod);

  const start = performance.now();
  cluster.appVersion += 1;
  const old = [followers[0]!, leader, ...followers.slice(1)];
  const started: Pod[] = [];
  const endings: Promise<Ending>[] = [];
  for (const before of old) {
    const pod = await cluster.add();
    started.push(pod);
    await eventually(
      START_MS,
      () => `${pod.name} is ready`,
      async () => (await pod.cluster()).view.settled,
    );
    send(pod);
    // The Service stops sending requests to a pod before the pod stops.
    await loads.get(before)?.stop();
    endings.push(before.stop());
  }
  for (const ending of await Promise.all(endings)) assert.match(ending, /^(SIGTERM|exit code 0)$/);
  const took = since(start);

  const done = started.map((pod) => loads.get(pod)?.acknowledged.length ?? 0);
  await eventually(
    TAKE_OVER_MS,
    () => 'each new pod sends',
    async () => started.every((pod, index) => loads.get(pod)!.acknowledged.length >= done[index]! + SENDS),
  );
  await Promise.all([...loads.values()].map((load) => load.stop()));
  const after = await cluster.agree(TAKE_OVER_MS);
  const failures = [...loads.values()].flatMap((load) => load.failures);
  assert.deepEqual(failures, [], 'no send may fail');
  // On a machine that is too busy, a leader cannot renew a lease of three seconds in time. Its next term is no hand-over.
  const losses = cluster.losses.slice(lost);
  const handOvers = cluster.terms.filter((token) => !terms.has(token)).length - losses.length;
  assert.equal(handOvers, 1, `the leadership must move once, beside ${losses.length} lost leases`);
  assert.ok(started.includes(after.leader), 'a pod of the new version must lead');
  const sends = [...loads.values()].reduce((sum, load) => sum + load.acknowledged.length, 0);
  return (
    `${PODS} pods replaced by ${PODS} of a new version in ${took}: ${handOvers} hand-over, from ${leader.name} to ` +
    `${after.leader.name}; ${sends} sends meanwhile, ${failures.length} failed` +
    losses.map((loss) => `. A lease was lost: "${loss}"`).join('')
  );
}
