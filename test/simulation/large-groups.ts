import { Cluster, type Parts } from './cluster.js';
import { leaderOf } from './reachability.js';
import { SOUND_PARTS, type History } from './simulate.js';
import { Violation, violated } from './violation.js';

const JOINED_WITHIN = 9_000;
const FAULTS_MS = 6_000;
/** A heartbeat reports the version that a member lacks, and the next one the version that it lost again. */
const WHOLE_WITHIN = 2_000;

export interface LargeGroup extends History {
  /** Entries of members that all views and changes had, from the first start until all had joined. */
  readonly sentWhileJoining: number;
}

/**
 * A history of a group with hundreds of pods: all start at once, the network loses, repeats and reorders messages while
 * pods crash and start, the leader crashes, and then the network is whole. Checks, besides all other invariants (M1: two
 * members never have different views of the same name):
 *
 * - all views are whole, and the same, soon after each of these;
 * - while all pods join, nobody but the first leader leads.
 */
export function simulateLargeGroup(
  seed: number,
  pods: number,
  parts: Parts = SOUND_PARTS,
  trace?: (line: string) => void,
): LargeGroup {
  const cluster = new Cluster(seed, parts, { pods });
  const { world, random, machines, network } = cluster;
  world.trace = trace;
  const run = (ms: number): void => world.runUntil(world.now + ms, () => cluster.check());
  let sentWhileJoining = 0;
  try {
    for (const machine of machines) world.after(random.between(0, 2_000), () => cluster.startPod(machine));
    run(JOINED_WITHIN);
    checkWhole(cluster);
    const terms = world.coverage.get('election: won') ?? 0;
    if (terms !== 1) violated('stable', `${terms} terms while the pods joined`);
    sentWhileJoining = world.coverage.get('membership: members sent') ?? 0;

    network.faults = { drop: 0.1, duplicate: 0.05, maxDelayMs: 400 };
    for (let crashes = 0; crashes < pods / 10; crashes += 1) {
      const { address } = random.pick(machines);
      world.after(random.between(0, FAULTS_MS), () => {
        if (leaderOf(cluster).machine.address !== address) cluster.crash(address);
      });
    }
    run(FAULTS_MS);
    network.heal();
    for (const machine of machines) cluster.startPod(machine);
    run(JOINED_WITHIN);
    checkWhole(cluster);

    leaderOf(cluster).die();
    run(JOINED_WITHIN);
    checkWhole(cluster);
    run(WHOLE_WITHIN);
    checkWhole(cluster);
  } catch (error) {
    const violation = error instanceof Error ? error : new Violation('error', String(error));
    return { seed, coverage: world.coverage, violation, sentWhileJoining };
  }
  return { seed, coverage: world.coverage, violation: undefined, sentWhileJoining };
}

function checkWhole(cluster: Cluster): void {
  const { epoch, version } = leaderOf(cluster).membership.view ?? { epoch: 0n, version: 0 };
  const running = cluster.pods();
  for (const { self, membership } of running) {
    const { view, settled } = membership;
    if (view?.epoch !== epoch || view.version !== version || view.members.length !== running.length || !settled) {
      violated(
        'whole',
        `${self.incarnation} has view ${view?.epoch}/${view?.version} of ${view?.members.length} members`,
      );
    }
  }
}
