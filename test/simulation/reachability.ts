import { Cluster, type Parts } from './cluster.js';
import type { Machine } from './machine.js';
import type { Pod } from './pod.js';
import { SOUND_PARTS, type History } from './simulate.js';
import { Violation, violated } from './violation.js';

const SETTLED_WITHIN = 9_000;
/** The time from a partition to the resignation of an unreachable leader: noticed, reported twice, read, drained. */
const YIELDS_WITHIN = 24_000;
const QUIET = 20_000;

/**
 * A history in which the database is always reachable, and the network between the pods falls apart once, into two or
 * more sides, or some pods end. Checks, besides all other invariants:
 *
 * - A1: a leader outside of the largest side resigns, within a bounded time, and one inside follows.
 * - A2: the leader changes only then: not because members have ended, and not between sides of equal size.
 * - A3: a pod's view is settled exactly while it is in contact with the leader.
 */
export function simulateReachability(
  seed: number,
  parts: Parts = SOUND_PARTS,
  trace?: (line: string) => void,
): History {
  const cluster = new Cluster(seed, parts, { transactionalJob: false });
  const { world, random, machines } = cluster;
  world.trace = trace;
  const run = (ms: number): void => world.runUntil(world.now + ms, () => cluster.check());
  const elections = (): number => world.coverage.get('election: won') ?? 0;
  try {
    for (const machine of machines) world.after(random.skewed(1, 1_000), () => cluster.startPod(machine));
    run(SETTLED_WITHIN);
    const leader = leaderOf(cluster);
    checkViews(cluster, [machines]);

    const crash = random.chance(0.25);
    const sides = crash ? [machines] : divide(cluster, leader);
    if (crash) {
      const others = cluster.pods().filter((pod) => pod !== leader);
      for (const pod of others.slice(0, random.pick([others.length, others.length - 1]))) pod.die();
    }
    world.count(crash ? 'reachability: members ended' : `reachability: ${sides.length} sides`);
    const largest = Math.max(...sides.map(({ length }) => length));
    const own = sideOf(leader, sides);
    const mayChange = own.length < largest;
    // Each pod outside of the largest sides may lead once, because it backs off after its resignation.
    const mostChanges = machines.filter(
      (machine) => sides.find((side) => side.includes(machine))!.length < largest,
    ).length;
    const before = elections();
    const inLargest = (): boolean => sideOf(leaderOf(cluster), sides).length === largest;
    run(YIELDS_WITHIN);
    let changes = elections() - before;
    if (changes === 0 && !inLargest()) violated('A1', 'a leader that most cannot reach still leads');
    while (!inLargest() && changes <= mostChanges) {
      run(YIELDS_WITHIN);
      if (elections() - before === changes) violated('A1', 'a leader that most cannot reach still leads');
      changes = elections() - before;
    }
    if (changes > mostChanges) violated('A2', `the leader changed ${changes} times`);
    // Until the last one has its view.
    run(SETTLED_WITHIN);
    if (mayChange) world.count('reachability: gave way');
    checkViews(cluster, sides);

    const settled = elections();
    run(QUIET);
    if (elections() !== settled) violated('A2', 'the leader went on changing');
    cluster.network.heal();
    for (const machine of machines) cluster.startPod(machine);
    run(SETTLED_WITHIN);
    if (elections() !== settled) violated('A2', 'the leader changed when the network was whole again');
    checkViews(cluster, [machines]);
  } catch (error) {
    const violation = error instanceof Error ? error : new Violation('error', String(error));
    world.note('', () => `VIOLATED ${violation.message}`);
    return { seed, coverage: world.coverage, violation };
  }
  return { seed, coverage: world.coverage, violation: undefined };
}

/**
 * A history of four pods whose network is not transitive: the leader hears one of them, the other two reach only each
 * other, and the leader can dial only one of these two. Checks A1: the leader resigns, whichever of the two reports
 * first, as the report of that one convinces it.
 */
export function simulateOneWay(seed: number, parts: Parts = SOUND_PARTS, trace?: (line: string) => void): History {
  const cluster = new Cluster(seed, parts, { transactionalJob: false });
  const { world, random, machines, network } = cluster;
  world.trace = trace;
  const run = (ms: number): void => world.runUntil(world.now + ms, () => cluster.check());
  const elections = (): number => world.coverage.get('election: won') ?? 0;
  try {
    const four = machines.slice(0, 4);
    if (four.length < 4) return { seed, coverage: world.coverage, violation: undefined };
    for (const machine of four) world.after(random.skewed(1, 1_000), () => cluster.startPod(machine));
    run(SETTLED_WITHIN);
    const leader = leaderOf(cluster).machine.address;
    const [heard, ...silent] = four.map(({ address }) => address).filter((address) => address !== leader);
    const dialled = random.pick(silent);
    for (const address of silent) {
      network.partition(heard ?? '', address, Infinity);
      network.cutOneWay(address, leader);
      if (address !== dialled) network.cutOneWay(leader, address);
    }
    const before = elections();
    run(2 * YIELDS_WITHIN);
    // A member that the leader can dial may have had a view without the other one, which it then does not report.
    const view = cluster.pod(dialled)?.membership.view?.members ?? [];
    const aware = silent.every((address) => view.some((member) => member.address === address));
    world.count(`reachability: one way${aware ? '' : ', with an earlier view'}`);
    if (aware && elections() === before)
      violated('A1', 'a leader still leads that most cannot reach, and that could dial one');
  } catch (error) {
    const violation = error instanceof Error ? error : new Violation('error', String(error));
    world.note('', () => `VIOLATED ${violation.message}`);
    return { seed, coverage: world.coverage, violation };
  }
  return { seed, coverage: world.coverage, violation: undefined };
}

/**
 * A history in which the leader ends, and the network stays whole. Checks A4, that no member reports it as unreachable: in a
 * large group, the dials of all reporters would keep the next leader from its work.
 */
export function simulateLeaderEnd(seed: number, parts: Parts = SOUND_PARTS, trace?: (line: string) => void): History {
  const cluster = new Cluster(seed, parts, { transactionalJob: false });
  const { world, random, machines, database } = cluster;
  world.trace = trace;
  const run = (ms: number): void => world.runUntil(world.now + ms, () => cluster.check());
  try {
    for (const machine of machines) world.after(random.skewed(1, 1_000), () => cluster.startPod(machine));
    run(SETTLED_WITHIN + random.skewed(1, 1_000));
    leaderOf(cluster).die();
    run(SETTLED_WITHIN);
    if (database.lastReport !== undefined) violated('A4', 'a member has reported a leader that had ended');
  } catch (error) {
    const violation = error instanceof Error ? error : new Violation('error', String(error));
    return { seed, coverage: world.coverage, violation };
  }
  return { seed, coverage: world.coverage, violation: undefined };
}

/** Cuts the network into sides, each of which is whole. The leader is often in a small one. */
function divide({ random, machines, network }: Cluster, leader: Pod): readonly (readonly Machine[])[] {
  const count = random.pick([2, 2, 2, 3, machines.length]);
  const sides: Machine[][] = Array.from({ length: count }, () => []);
  for (const [index, machine] of machines.entries()) {
    const alone = machine === leader.machine || count === machines.length;
    const side = alone ? (count === machines.length ? index : 0) : random.chance(0.15) ? 0 : 1 + (index % (count - 1));
    sides[side]?.push(machine);
  }
  const sideAt = (machine: Machine): number => sides.findIndex((side) => side.includes(machine));
  for (const one of machines) {
    for (const other of machines) {
      if (sideAt(one) < sideAt(other)) network.partition(one.address, other.address, Infinity);
    }
  }
  return sides.filter(({ length }) => length > 0);
}

export function leaderOf(cluster: Cluster): Pod {
  const leader = cluster.pods().find(({ believes }) => believes);
  return leader ?? violated('L4', 'there is no leader');
}

function sideOf({ machine }: Pod, sides: readonly (readonly Machine[])[]): readonly Machine[] {
  return sides.find((side) => side.includes(machine)) ?? [];
}

/** A3 */
function checkViews(cluster: Cluster, sides: readonly (readonly Machine[])[]): void {
  const inContact = sideOf(leaderOf(cluster), sides);
  const members = cluster.pods().filter(({ machine }) => inContact.includes(machine));
  const expected = members.map(({ self }) => self.incarnation).sort();
  for (const { self, machine, membership } of cluster.pods()) {
    const contact = inContact.includes(machine);
    if (membership.settled !== contact) {
      violated('A3', `${self.incarnation} is ${contact ? 'in' : 'out of'} contact, settled: ${membership.settled}`);
    }
    const seen = membership.view?.members.map(({ incarnation }) => incarnation).sort();
    if (contact && seen?.join() !== expected.join()) {
      violated('A3', `the view of ${self.incarnation} is ${seen?.join() ?? 'none'}, not ${expected.join()}`);
    }
  }
}
