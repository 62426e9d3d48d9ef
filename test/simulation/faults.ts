import type { Cluster } from './cluster.js';
import type { Machine } from './machine.js';
import type { Pod } from './pod.js';

type Fault = (cluster: Cluster) => void;

/** The kinds of faults. A history has a random selection of them. */
const FAULTS: Readonly<Record<string, Fault>> = {
  crash: (cluster) => {
    const pod = anyPod(cluster);
    if (pod !== undefined) cluster.crash(pod.self.address);
  },
  'stop and start': (cluster) => {
    const pod = anyPod(cluster);
    pod?.run(() => pod.elect({ type: 'stop' }));
    cluster.world.after(cluster.random.skewed(1_500, 8_000), () => pod && cluster.startPod(pod.machine));
  },
  resign: (cluster) => {
    const pod = leaderOf(cluster);
    pod?.run(() => pod.elect({ type: 'resign' }));
  },
  'leader pauses': (cluster) => leaderOf(cluster)?.machine.freeze(cluster.random.skewed(1_000, 8_000), false),
  pause: (cluster) => cluster.random.pick(cluster.machines).freeze(cluster.random.skewed(50, 8_000), false),
  sleep: (cluster) => anyOf(cluster, sleeps)?.freeze(cluster.random.skewed(200, 20_000), true),
  'wall clock jumps': (cluster) => {
    const sign = cluster.random.chance(0.5) ? 1 : -1;
    anyOf(cluster, (machine) => !sleeps(machine))?.jumpWall(sign * cluster.random.skewed(100, 3_600_000));
  },
  'database clock jumps': (cluster) => {
    if (cluster.database.kind !== 'shared-clock') jumpClock(cluster);
  },
  'database replaced': (cluster) => {
    if (cluster.database.kind !== 'file') return;
    cluster.database.replace();
    cluster.semaphoreRows.lose();
  },
  'database went back': (cluster) => {
    const { database, random, world } = cluster;
    if (database.kind !== 'server') return;
    const { acquiredAt } = database;
    cluster.semaphoreRows.abortFenced();
    // Often just before the last acquisition, else by the lag of a replica, or to a backup.
    const lost = acquiredAt !== undefined && random.chance(0.5);
    database.goBack(lost ? acquiredAt - random.skewed(0.001, 500) : world.now - random.skewed(1, 10_000));
    // Another server has another clock.
    if (random.chance(0.5)) jumpClock(cluster);
  },
  partition: (cluster) => {
    const { random, network, machines } = cluster;
    const alone = random.pick(machines);
    const all = random.chance(0.5);
    for (const other of machines) {
      if (other === alone || !(all || random.chance(0.4))) continue;
      const ms = random.skewed(100, 6_000);
      network.partition(alone.address, other.address, ms);
      if (random.chance(0.5)) cluster.links.cut(alone.address, other.address);
    }
  },
  'leader cut off from members': (cluster) => {
    const { random, network, machines } = cluster;
    const leader = leaderOf(cluster);
    // Sometimes with other pods on its side of the partition.
    const side = machines.filter(({ address }) => address === leader?.self.address || random.chance(0.15));
    const ms = random.skewed(1_000, 15_000);
    for (const one of side) {
      for (const other of machines) if (!side.includes(other)) network.partition(one.address, other.address, ms);
    }
  },
  'links cut': (cluster) => cluster.links.cut(cluster.random.pick(cluster.machines).address),
  'database outage': (cluster) => {
    if (cluster.connection.outage) return;
    cluster.connection.outage = true;
    cluster.world.after(cluster.random.skewed(100, 6_000), () => {
      cluster.connection.outage = false;
    });
  },
  'pod cut off from the database': (cluster) => {
    const machine = leaderOf(cluster)?.machine ?? cluster.random.pick(cluster.machines);
    cluster.connection.cutOff(machine, cluster.random.skewed(200, 8_000));
  },
  'forged view': (cluster) => {
    const [liar, victim] = [anyPod(cluster), anyPod(cluster)];
    // A forged view must not name a leader in its own term, now or later.
    if (liar === undefined || victim === undefined || liar.term !== undefined) return;
    // It may hold the lease already, and not know it yet.
    if (cluster.database.lease.claim?.holder.incarnation === liar.self.incarnation) return;
    const epoch = cluster.database.lease.token + cluster.random.pick([-1n, 0n, 10n ** 18n]);
    const member = { ...liar.self, confirmed: true };
    liar.sendView(victim.self, { epoch, version: 1_000, settled: true, leader: liar.self, members: [member] });
  },
};

/** Injects random faults until then; their kinds and rates differ from seed to seed. */
export function injectFaults(cluster: Cluster, until: number): void {
  const { random, world, network, connection } = cluster;
  const share = (): number => (random.chance(0.3) ? 0 : random.skewed(0.002, 0.2));
  network.faults = { drop: share(), duplicate: share() * 3, maxDelayMs: random.skewed(2, 600) };
  connection.faults = { failBefore: share(), failAfter: share(), late: share(), slow: 3 * share() };
  const kinds = Object.keys(FAULTS).filter(() => random.chance(0.6));
  if (kinds.length === 0) return;
  const meanPauseMs = random.skewed(400, 5_000);
  const next = (): void => {
    if (world.now >= until) return;
    const kind = random.pick(kinds);
    world.count(`fault: ${kind}`);
    world.note('', () => `fault: ${kind}`);
    FAULTS[kind]?.(cluster);
    world.after(random.between(0, 2 * meanPauseMs), next);
  };
  world.after(random.between(0, 2 * meanPauseMs), next);
}

/** Ends all faults, and resumes all machines. */
export function endFaults(cluster: Cluster): void {
  cluster.network.heal();
  cluster.connection.heal();
  for (const machine of cluster.machines) {
    machine.thaw();
    cluster.startPod(machine);
  }
}

function jumpClock({ database, random }: Cluster): void {
  const sign = random.chance(0.5) ? 1 : -1;
  database.jumpClock(sign * random.skewed(10, 3_600_000));
}

/**
 * A machine either sleeps or has its wall clock set. Both at once can hide the elapsed time from both
 * of its clocks, which no lease can survive.
 */
function sleeps({ address }: Machine): boolean {
  return Number(address.slice(1)) % 2 === 0;
}

function anyOf(cluster: Cluster, fit: (machine: Machine) => boolean): Machine | undefined {
  return cluster.random.pick(cluster.machines.filter(fit));
}

function anyPod(cluster: Cluster): Pod | undefined {
  const pods = cluster.pods();
  return pods.length === 0 ? undefined : cluster.random.pick(pods);
}

function leaderOf(cluster: Cluster): Pod | undefined {
  return cluster.pods().find(({ term }) => term !== undefined);
}
