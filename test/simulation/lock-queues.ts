import { Cluster, type Parts } from './cluster.js';
import type { Pod } from './pod.js';
import { SOUND_PARTS, type History } from './simulate.js';
import { Violation, violated } from './violation.js';

const LOCK = 'one';
const SETTLED_WITHIN = 9_000;
const CALM_MS = 6_000;
const ROUNDS = 3;
/** Without faults, with the jitter of polls and with pods that begin to wait. */
const MOST_CALLS = 6;
/** A waiting pod passes this many turns of all others at most. */
const MOST_TURNS = 3;

/** How the pods are lost that the leader would choose, and the leases after which another pod has the lock. */
const LOSSES = {
  /** The leader notices. The third pod becomes a reader at once. */
  'readers crash': 0.5,
  /** The leader does not notice before they have been silent for a lease. */
  'readers pause': 2,
  /** Their calls fail, and they leave the queue. */
  'readers lose the database': 1.5,
  /** The next reader observes the lease of the dead holder for its whole length. */
  'holder and readers crash': 1.75,
  /** The other pods wait until the next leader chooses readers. */
  'leader and readers crash': 2.75,
  /** No pod reaches another, so no other leader is elected. The pods rely on the last answer of the leader, and then read. */
  'holder and readers crash, and the network fails': 4,
} as const;

type Loss = keyof typeof LOSSES;

/**
 * A history of one lock that all pods of a group want all the time. First nothing fails: each hand-over costs a few calls
 * to the database, and nobody waits for more than some turns of all others. Then the pods are lost that the leader would
 * choose next, and another pod must hold the lock soon. The other invariants of locks are checked after every step.
 */
export function simulateLockQueues(seed: number, parts: Parts = SOUND_PARTS, trace?: (line: string) => void): History {
  const size = 6 + (seed % 4);
  const cluster = new Cluster(seed, parts, { pods: size, olderPods: seed % 4 === 0 });
  const { world, random, machines, network, connection } = cluster;
  world.trace = trace;
  const run = (ms: number): void => world.runUntil(world.now + ms, () => cluster.check());
  try {
    for (const machine of machines) world.after(random.skewed(1, 1_000), () => cluster.startPod(machine));
    run(SETTLED_WITHIN);
    const contention = new Contention(cluster);
    run(1_000);
    contention.checkCalm(() => run(CALM_MS));
    for (let round = 0; round < ROUNDS; round += 1) {
      network.faults = random.chance(0.5)
        ? { drop: 0, duplicate: 0, maxDelayMs: 5 }
        : { drop: random.between(0, 0.02), duplicate: 0.1, maxDelayMs: random.skewed(2, 50) };
      const kind = random.pick(Object.keys(LOSSES) as Loss[]);
      const lost = loseReaders(cluster, kind, run);
      if (lost !== undefined) {
        const granted = contention.grantsWithout(lost);
        for (let left = LOSSES[kind] * cluster.timing.leaseMs; left > 0 && granted() === 0; left -= 10) run(10);
        if (granted() === 0) violated('progress', `no other pod got the lock after: ${kind}`);
      }
      network.heal();
      connection.heal();
      for (const machine of machines) {
        machine.thaw();
        cluster.startPod(machine);
      }
      run(SETTLED_WITHIN);
    }
  } catch (error) {
    const violation = error instanceof Error ? error : new Violation('error', String(error));
    world.note('', () => `VIOLATED ${violation.message}`);
    return { seed, coverage: world.coverage, violation };
  }
  return { seed, coverage: world.coverage, violation: undefined };
}

/** A caller of each pod acquires the lock again and again. */
class Contention {
  /** In the order of the grants. */
  readonly #holders: string[] = [];

  constructor(private readonly cluster: Cluster) {
    const { world, machines } = cluster;
    for (const { address } of machines) world.after(cluster.random.between(0, 200), () => this.#use(address));
  }

  #use(address: string): void {
    const { cluster } = this;
    const { random, world } = cluster;
    const pod = cluster.pod(address);
    const holdMs = random.between(20, 200);
    let ended = false;
    const again = (): void => {
      if (ended) return;
      ended = true;
      world.after(random.between(0, 100), () => this.#use(address));
    };
    if (pod?.alive !== true) return again();
    const patienceMs = random.chance(0.05) ? random.between(10, 500) : Infinity;
    pod.run(() =>
      pod.locks.use(LOCK, false, patienceMs, holdMs, () => {
        this.#holders.push(address);
        world.after(holdMs, again);
      }),
    );
    if (patienceMs < Infinity) world.after(patienceMs + holdMs, again);
    const watch = (): void => {
      if (ended) return;
      // The process has ended, and its callers with it.
      if (cluster.pod(address) === pod && pod.alive) world.after(100, watch);
      else again();
    };
    watch();
  }

  /** How often other pods than these got the lock since now. */
  grantsWithout(lost: readonly Pod[]): () => number {
    const before = this.#holders.length;
    const addresses = lost.map(({ self }) => self.address);
    return () => this.#holders.slice(before).filter((holder) => !addresses.includes(holder)).length;
  }

  checkCalm(pass: () => void): void {
    const { world, machines } = this.cluster;
    // Pods of version 0.1 all try after each release.
    const mixed = this.cluster.pods().some(({ acceptsChanges }) => !acceptsChanges);
    const count = (): number => world.coverage.get('locks: called the database') ?? 0;
    const before = { calls: count(), grants: this.#holders.length };
    pass();
    const holders = this.#holders.slice(before.grants);
    const calls = (count() - before.calls) / holders.length;
    if (mixed) return world.count('calm: with version 0.1');
    world.count('calm: alone');
    if (!(calls <= MOST_CALLS))
      violated('calls', `${calls} calls for each hand-over to one of ${machines.length} pods`);
    for (const { address } of machines) {
      const turns = [-1, ...holders.flatMap((holder, index) => (holder === address ? [index] : [])), holders.length];
      const longest = Math.max(...turns.slice(1).map((turn, index) => turn - (turns[index] ?? 0)));
      if (longest > MOST_TURNS * machines.length) violated('fair', `${address} was passed over ${longest} times`);
    }
  }
}

/** @returns the pods that are lost; undefined when the leader chooses no others for long. */
function loseReaders(cluster: Cluster, kind: Loss, run: (ms: number) => void): readonly Pod[] | undefined {
  const { world, random, machines, network, connection, database } = cluster;
  for (let tries = 0; tries < 500; tries += 1) {
    run(random.between(5, 30));
    const leader = cluster.pods().find(({ believes }) => believes);
    const readers = cluster.pods().filter(({ locks }) => locks.reads(LOCK));
    const holder = cluster.pods().find(({ locks }) => locks.lockTerm(LOCK) !== undefined);
    const others = cluster.pods().filter((pod) => pod !== holder && !readers.includes(pod) && pod.locks.waits(LOCK));
    if (leader === undefined || holder === undefined || holder === leader) continue;
    if (readers.length !== 2 || readers.includes(leader) || others.length < 2) continue;
    world.count(`lost: ${kind}`);
    world.note('', () => `lost: ${kind}: ${[holder, ...readers].map(({ self }) => self.incarnation).join(' ')}`);
    const die = (pods: readonly Pod[]): readonly Pod[] => {
      for (const pod of pods) {
        pod.die();
        world.after(random.skewed(1, 100), () => {
          for (const other of cluster.pods()) {
            other.run(() => {
              other.locks.unlinked(pod.self);
              other.linkClosed(pod.self);
            });
          }
        });
      }
      return pods;
    };
    switch (kind) {
      case 'readers crash':
        return [holder, ...die(readers)];
      case 'readers pause':
        for (const { machine } of readers) machine.freeze(60_000, false);
        return [holder, ...readers];
      case 'readers lose the database':
        for (const { machine } of readers) connection.cutOff(machine, 60_000);
        return [holder, ...readers];
      case 'holder and readers crash':
        return die([holder, ...readers]);
      case 'leader and readers crash':
        return [holder, ...die([leader, ...readers])];
      case 'holder and readers crash, and the network fails':
        for (const { address } of machines) {
          for (const other of machines)
            if (other.address !== address) network.partition(address, other.address, 60_000);
        }
        // The leader can acquire the lock again and again. With a shared clock, the others look once per lease.
        return [...(database.kind === 'shared-clock' ? [] : [leader]), ...die([holder, ...readers])];
    }
  }
  return undefined;
}
