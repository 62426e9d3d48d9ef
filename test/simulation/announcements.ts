import { Cluster, type Parts } from './cluster.js';
import type { Pod } from './pod.js';
import { SOUND_PARTS, type History } from './simulate.js';
import { Violation, violated } from './violation.js';

const SETTLED_WITHIN = 9_000;
const LEADER_WITHIN = 12_000;
const TROUBLE = 15_000;
/** Leases that an idle group passes. */
const IDLE_LEASES = 4;

/**
 * A history of the election alone, without requests. First nothing fails: no follower may read the lease, and the leader
 * renews it three times per lease. Then the network, the database and the leader fail in short intervals, and the
 * invariants of the leadership are checked after every step. At last all is well again, and the leader crashes, stands
 * still or loses all its connections. After a crash, which closes its links, another pod must lead a lease and a quarter
 * later. A leader that is silent may have renewed without an announcement, which its followers find a third later.
 */
export function simulateAnnouncements(
  seed: number,
  parts: Parts = SOUND_PARTS,
  trace?: (line: string) => void,
): History {
  const cluster = new Cluster(seed, parts);
  const { world, random, machines, network, connection } = cluster;
  const { leaseMs } = cluster.timing;
  world.trace = trace;
  const run = (ms: number): void => world.runUntil(world.now + ms, () => cluster.check());
  const count = (what: string): number => world.coverage.get(what) ?? 0;
  try {
    for (const machine of machines) world.after(random.skewed(1, 1_000), () => cluster.startPod(machine));
    run(SETTLED_WITHIN);
    const reads = count('election: lease read');
    const renewals = count('election: lease renewed');
    run(IDLE_LEASES * leaseMs);
    const [read, renewed] = [count('election: lease read') - reads, count('election: lease renewed') - renewals];
    if (read > 0) violated('idle', `the lease was read ${read} times while its holder announced its renewals`);
    if (renewed > 3 * IDLE_LEASES + 1) violated('idle', `the lease was renewed ${renewed} times`);

    makeTrouble(cluster, world.now + TROUBLE);
    run(TROUBLE);
    network.heal();
    connection.heal();
    for (const machine of machines) machine.thaw();
    run(LEADER_WITHIN);
    const leader = leaderOf(cluster);
    run(random.between(0, leaseMs / 3));
    const leases = loseLeader(cluster, leader) === 'crash' ? 1.25 : 1.6;
    run(leases * leaseMs);
    if (leaderOf(cluster, leader) === leader) violated('failover', `no other pod leads after ${leases} leases`);
  } catch (error) {
    const violation = error instanceof Error ? error : new Violation('error', String(error));
    world.note('', () => `VIOLATED ${violation.message}`);
    return { seed, coverage: world.coverage, violation };
  }
  return { seed, coverage: world.coverage, violation: undefined };
}

/** Short failures of the database, and a leader that stands still or is cut off soon after them. */
function makeTrouble(cluster: Cluster, until: number): void {
  const { world, random, network, connection } = cluster;
  const share = (most: number): number => (random.chance(0.3) ? 0 : random.between(0, most));
  network.faults = { drop: share(0.1), duplicate: share(0.3), maxDelayMs: random.skewed(2, 300) };
  const faults = { failBefore: share(0.5), failAfter: share(0.2), late: share(0.1), slow: share(0.3) };
  connection.faults = faults;
  const later = (ms: number, run: () => void): void => void world.after(ms, () => world.now < until && run());
  const next = (): void => {
    if (world.now >= until) return;
    const leader = cluster.pods().find(({ term }) => term !== undefined);
    const kind = random.pick(['outage', 'pause', 'sleep', 'cut off', 'partition', 'resign', 'late renewal']);
    world.count(`trouble: ${kind}`);
    world.note('', () => `trouble: ${kind}`);
    if (kind === 'outage' && !connection.outage) connection.fail(random.between(100, 900));
    if (kind === 'pause') leader?.machine.freeze(random.between(500, 5_000), false);
    if (kind === 'sleep') random.pick(cluster.machines).freeze(random.between(500, 5_000), true);
    if (kind === 'cut off' && leader !== undefined) connection.cutOff(leader.machine, random.between(500, 4_000));
    if (kind === 'partition' && leader !== undefined) separate(cluster, leader, random.between(500, 4_000));
    if (kind === 'late renewal') {
      // The leader renews late, and stands still before its next renewal.
      connection.faults = { ...faults, failBefore: 1 };
      later(random.between(500, 900), () => (connection.faults = faults));
      later(random.between(900, 1_500), () => leader?.machine.freeze(random.between(2_500, 5_000), false));
    }
    if (kind === 'resign') leader?.run(() => leader.elect({ type: 'resign' }));
    world.after(random.between(100, 3_000), next);
  };
  next();
}

function loseLeader(cluster: Cluster, leader: Pod): string {
  const { world, random, connection } = cluster;
  const kind = random.pick(['crash', 'pause', 'cut off']);
  world.count(`failover: ${kind}`);
  world.note(leader.self.incarnation, () => `failover: ${kind}`);
  if (kind === 'crash') {
    leader.die();
    for (const pod of cluster.pods()) {
      world.after(random.skewed(1, 200), () => pod.run(() => pod.linkClosed(leader.self)));
    }
  }
  if (kind === 'pause') leader.machine.freeze(60_000, false);
  if (kind === 'cut off') {
    separate(cluster, leader, 60_000);
    connection.cutOff(leader.machine, 60_000);
  }
  return kind;
}

function separate({ machines, network }: Cluster, { machine }: Pod, ms: number): void {
  for (const other of machines) if (other !== machine) network.partition(machine.address, other.address, ms);
}

/** @param before returned when no other pod leads. */
function leaderOf(cluster: Cluster, before?: Pod): Pod {
  const leader = cluster.pods().find((pod) => pod.believes && pod !== before) ?? before;
  return leader ?? violated('L4', 'there is no leader');
}
