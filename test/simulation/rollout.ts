import { Cluster, type Parts } from './cluster.js';
import type { Machine } from './machine.js';
import type { Pod } from './pod.js';
import { leaderOf } from './reachability.js';
import { SOUND_PARTS, type History } from './simulate.js';
import { Violation, violated } from './violation.js';

const SIZE = 5;
const SETTLED_WITHIN = 9_000;
/** A take-over after a crash. */
const LEADER_WITHIN = 6_000;
const MOST_CRASHES = 4;
const OLD = '1.9';
const NEW = '1.10';
const NEVER_READY = '2.0';

/**
 * A history of five pods that are replaced by five of a new version, one after another, beside a pod of a still newer
 * version that is never ready. With and without `preferNewest`. In some histories the pods of the new version die as soon
 * as they lead, and in some a single one runs beside the old ones for long. Checks, besides all other invariants:
 *
 * - H1: a pod that has begun to stop does not campaign (checked by `Pod`).
 * - H2: a group hands over at most once to each newer version, before its leader stops.
 * - H3: in a rolling update without crashes the leadership moves once, to a ready pod of the new version.
 */
export function simulateRollout(seed: number, parts: Parts = SOUND_PARTS, trace?: (line: string) => void): History {
  const prefers = seed % 3 !== 0;
  const cluster: Cluster = new Cluster(seed, parts, {
    pods: 2 * SIZE + 1,
    transactionalJob: false,
    appVersion: (address) => (prefers ? versionOf(cluster.machines, address) : undefined),
  });
  const { world, random, machines } = cluster;
  world.trace = trace;
  const old = machines.slice(0, SIZE);
  const next = machines.slice(SIZE, 2 * SIZE);
  const [neverReady] = machines.slice(2 * SIZE);
  const crashes = random.chance(0.4);
  const count = (what: string): number => world.coverage.get(what) ?? 0;
  const elections = (): number => count('election: won');
  const crashed = new Set<string>();
  const run = (ms: number): void =>
    world.runUntil(world.now + ms, () => {
      cluster.check();
      const leader = cluster.pods().find(({ believes }) => believes);
      if (leader === undefined) return;
      if (leader.machine === neverReady && !crashes) violated('H3', 'a pod leads that is not ready');
      if (
        crashes &&
        next.includes(leader.machine) &&
        !crashed.has(leader.self.incarnation) &&
        crashed.size < MOST_CRASHES
      ) {
        crashed.add(leader.self.incarnation);
        cluster.crash(leader.self.address);
      }
    });
  try {
    for (const machine of old) world.after(random.skewed(1, 1_000), () => cluster.startPod(machine));
    askWhoLeads(cluster);
    run(SETTLED_WITHIN);
    if (neverReady === undefined) throw new Error('the group has too few machines');
    cluster.notReady.add(neverReady.address);
    cluster.startPod(neverReady);
    const before = elections();

    const canary = random.chance(0.3);
    if (canary) {
      cluster.startPod(next[0]!);
      run(60_000);
      world.count('rollout: two versions for long');
    } else {
      rollOut(cluster, old, next, run);
      world.count('rollout: complete');
    }
    run(crashes ? MOST_CRASHES * LEADER_WITHIN : LEADER_WITHIN);
    leaderOf(cluster);
    const handedOver = count(`membership: handed over to version ${NEW}`);
    if (handedOver > 1) violated('H2', `the leaders handed over ${handedOver} times to version ${NEW}`);
    if (handedOver > 0) world.count('rollout: handed over while the leader ran');
    if (crashes) {
      world.count('rollout: the new leader died');
      return { seed, coverage: world.coverage, violation: undefined };
    }

    // A successor that does not reach itself at its own address does not campaign, and another pod takes over.
    const moves = elections() - before;
    const excused = count('election: own address failed');
    const expected = canary && !prefers ? 0 : 1;
    if (moves !== expected && excused === 0) violated('H3', `the leadership moved ${moves} times, not ${expected}`);
    if (excused === 0) world.count(`rollout: moved ${moves} times`);
    if (!canary && !next.includes(leaderOf(cluster).machine)) violated('H3', 'a pod of the old version leads');
    const settled = elections();
    run(SETTLED_WITHIN);
    if (elections() !== settled) violated('H3', 'the leadership moved after the update');
    return { seed, coverage: world.coverage, violation: undefined };
  } catch (error) {
    const violation = error instanceof Error ? error : new Violation('error', String(error));
    world.note('', () => `VIOLATED ${violation.message}`);
    return { seed, coverage: world.coverage, violation };
  }
}

/** As a Deployment with `maxSurge: 1` and `maxUnavailable: 0`: it stops an old pod, any one, when a new one is ready. */
function rollOut(cluster: Cluster, old: readonly Machine[], next: readonly Machine[], run: (ms: number) => void): void {
  const { random } = cluster;
  const running = [...old];
  for (const machine of next) {
    cluster.startPod(machine);
    // Long enough for two heartbeats, and sometimes for a hand-over before the stop.
    run(random.between(1_500, 5_000));
    const [stopped] = running.splice(Math.floor(random.between(0, running.length)), 1);
    const pod: Pod | undefined = stopped && cluster.pod(stopped.address);
    pod?.run(() => pod.elect({ type: 'stop' }));
    run(random.between(200, 2_000));
  }
}

/** Pods read the lease at any time: a send that reaches no leader asks again who leads. */
function askWhoLeads(cluster: Cluster): void {
  const { world, random } = cluster;
  world.after(random.skewed(1, 200), () => {
    const pods = [...cluster.pods()];
    if (pods.length > 0) {
      const pod = random.pick(pods);
      pod.run(() => pod.elect({ type: 'refresh' }));
    }
    askWhoLeads(cluster);
  });
}

function versionOf(machines: readonly Machine[], address: string): string {
  const index = machines.findIndex((machine) => machine.address === address);
  return index < SIZE ? OLD : index < 2 * SIZE ? NEW : NEVER_READY;
}
