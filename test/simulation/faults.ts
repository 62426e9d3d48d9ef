import type { DatabaseFaults } from './calls.js';
import type { Cluster } from './cluster.js';
import type { DatabaseKind } from './database.js';
import type { Machine } from './machine.js';
import type { Pod } from './pod.js';

/** @param until the end of all faults. */
type Fault = (cluster: Cluster, until: number) => void;

/** The kinds of faults. A history has a random selection of them. */
const FAULTS = {
  crash: (cluster) => {
    const pod = anyPod(cluster);
    if (pod !== undefined) cluster.crash(pod.self.address);
  },
  'stop and start': (cluster) => {
    const pod = cluster.random.chance(0.5) ? leaderOf(cluster) : anyPod(cluster);
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
  'wall clock set ahead for one reading': (cluster) => {
    const pod = leaderOf(cluster);
    if (pod === undefined || sleeps(pod.machine)) return;
    const misread = (): void => pod.machine.misreadWall(cluster.random.skewed(100, 3_600_000));
    pod.run(() => {
      misread();
      pod.current();
      pod.locks.check(misread);
    });
  },
  'database clock jumps': jumpClock,
  'database replaced': (cluster) => {
    cluster.database.replace();
    cluster.semaphoreRows.lose();
    // The new leader hears nothing of the permits that it holds.
    const holder = permitHolder(cluster);
    if (holder !== undefined && cluster.random.chance(0.7))
      isolate(cluster, holder, cluster.random.between(2_000, 8_000));
  },
  'database went back': goBack,
  'database went back to before a hand-over': (cluster, until) => {
    const leader = leaderOf(cluster);
    leader?.run(() => leader.elect({ type: 'resign' }));
    later(cluster, until, cluster.random.skewed(100, 2_000), () => goBack(cluster));
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
    cluster.connection.fail(cluster.random.skewed(100, 6_000));
  },
  'pod cut off from the database': (cluster) => {
    const machine = leaderOf(cluster)?.machine ?? cluster.random.pick(cluster.machines);
    cluster.connection.cutOff(machine, cluster.random.skewed(200, 8_000));
  },
  'leader with a slow database pauses': (cluster, until) => {
    const { connection, random } = cluster;
    const machine = leaderOf(cluster)?.machine;
    if (machine === undefined) return;
    const slowMs = random.between(500, 2_000);
    connection.slowDown(machine, slowMs);
    later(cluster, until, slowMs, () => machine.freeze(random.between(1_000, 6_000), false));
  },
  'permit holder gets answers late, and is cut off': (cluster, until) => {
    const { network, random } = cluster;
    const machine = permitHolder(cluster);
    if (machine === undefined) return;
    const slowMs = random.between(300, 1_000);
    const pauseMs = random.between(300, 2_000);
    network.slowDown(machine.address, slowMs);
    later(cluster, until, slowMs, () => machine.freeze(pauseMs, false));
    // It reads the answers that arrived meanwhile, and reaches nobody.
    later(cluster, until, slowMs + pauseMs - 1, () => isolate(cluster, machine, random.between(2_000, 8_000)));
  },
  'caller cut off, then its leader crashes': (cluster, until) => {
    const { network, random } = cluster;
    const leader = leaderOf(cluster);
    const caller = anyPod(cluster);
    if (leader === undefined || caller === undefined || caller === leader) return;
    const ms = random.between(50, 1_000);
    network.partition(caller.self.address, leader.self.address, ms);
    later(cluster, until, ms, () => cluster.crash(leader.self.address));
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
} satisfies Record<string, Fault>;

export type FaultKind = keyof typeof FAULTS;

/** What a history is limited to; the seed chooses the rest. */
export interface Conditions {
  readonly database?: DatabaseKind;
  /** The only kind of fault, besides those of single messages and calls. */
  readonly fault?: FaultKind;
  /** The shares of calls to the database that fail. */
  readonly calls?: Partial<DatabaseFaults>;
  /** How long a permit is valid. */
  readonly permitMs?: number;
  /** The mean time between two operations of the pods. */
  readonly pauseMs?: number;
  /** The only changes of jobs are new definitions of the added one, which follow each other closely. */
  readonly redefinesJob?: boolean;
}

/** The faults that only some kinds of databases have. */
const FAULTS_OF_DATABASES: Readonly<Record<DatabaseKind, readonly FaultKind[]>> = {
  'shared-clock': [],
  file: ['database clock jumps', 'database replaced'],
  server: ['database clock jumps', 'database went back', 'database went back to before a hand-over'],
};

/** The faults that show rare bugs best when they are the only ones. */
const ALONE: readonly FaultKind[] = [
  'crash',
  'database replaced',
  'database went back',
  'database went back to before a hand-over',
  'leader with a slow database pauses',
  'permit holder gets answers late, and is cut off',
];

/** Injects random faults until then; their kinds and rates differ from seed to seed. */
export function injectFaults(cluster: Cluster, until: number, { fault, calls }: Conditions = {}): void {
  const { random, world, network, connection } = cluster;
  const share = (): number => (random.chance(0.3) ? 0 : random.skewed(0.002, 0.2));
  network.faults = { drop: share(), duplicate: share() * 3, maxDelayMs: random.skewed(2, 600) };
  connection.faults = { failBefore: share(), failAfter: 2 * share(), late: share(), slow: 3 * share(), ...calls };
  const kinds = fault === undefined ? pickFaults(cluster) : [fault];
  if (kinds.length === 0) return;
  const meanPauseMs = kinds.length === 1 ? random.between(2_000, 6_000) : random.skewed(400, 5_000);
  const next = (): void => {
    if (world.now >= until) return;
    const kind = random.pick(kinds);
    world.count(`fault: ${kind}`);
    world.note('', () => `fault: ${kind}`);
    FAULTS[kind](cluster, until);
    world.after(random.between(0, 2 * meanPauseMs), next);
  };
  world.after(random.between(0, 2 * meanPauseMs), next);
}

/** Often one kind alone, whose effects no other fault hides. */
function pickFaults({ database, random }: Cluster): readonly FaultKind[] {
  const own = FAULTS_OF_DATABASES[database.kind];
  const foreign = Object.values(FAULTS_OF_DATABASES)
    .flat()
    .filter((kind) => !own.includes(kind));
  const isPossible = (kind: FaultKind): boolean => !foreign.includes(kind);
  if (random.chance(0.3)) return [random.pick(ALONE.filter(isPossible))];
  return (Object.keys(FAULTS) as FaultKind[]).filter((kind) => isPossible(kind) && random.chance(0.6));
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

function later({ world }: Cluster, until: number, ms: number, run: () => void): void {
  world.after(ms, () => world.now < until && run());
}

function goBack(cluster: Cluster): void {
  const { database, random, world } = cluster;
  const { acquiredAt } = database;
  cluster.semaphoreRows.abortFenced();
  // Often just before the last acquisition, else by the lag of a replica, or to a backup.
  const lost = acquiredAt !== undefined && random.chance(0.5);
  database.goBack(lost ? acquiredAt - random.skewed(0.001, 500) : world.now - random.skewed(1, 10_000));
  // Another server has another clock.
  if (random.chance(0.5)) jumpClock(cluster);
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

/** A follower that holds a valid permit. */
function permitHolder(cluster: Cluster): Machine | undefined {
  const { random, semaphores } = cluster;
  const leader = leaderOf(cluster)?.machine;
  const held = semaphores.held.filter(({ pod, permit }) => pod.machine !== leader && pod.semaphores.holds(permit.id));
  return held.length === 0 ? undefined : random.pick(held).pod.machine;
}

function isolate({ machines, network }: Cluster, machine: Machine, ms: number): void {
  for (const other of machines) if (other !== machine) network.partition(machine.address, other.address, ms);
}

function leaderOf(cluster: Cluster): Pod | undefined {
  return cluster.pods().find(({ term }) => term !== undefined);
}
