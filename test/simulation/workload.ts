import type { Cluster } from './cluster.js';
import type { OperationKind } from './operations.js';
import type { Pod } from './pod.js';

const KINDS: readonly OperationKind[] = ['put', 'put-if', 'overwrite', 'send', 'send', 'broadcast'];

/** Keys for appended rows, and others for overwritten ones: a key of both would have K3 of neither. */
const KEYS = { put: ['a', 'b'], overwrite: ['x'] };

/** Every pod starts random operations until then. */
export function runWorkload(cluster: Cluster, until: number): void {
  const { random } = cluster;
  actAtRandom(cluster, until, random.skewed(30, 300), (pod) => {
    if (random.chance(0.3)) read(cluster, pod);
    else ask(cluster, pod);
  });
}

/** A random pod acts, repeatedly until then. */
export function actAtRandom(cluster: Cluster, until: number, meanPauseMs: number, act: (pod: Pod) => void): void {
  const { random, world } = cluster;
  const next = (): void => {
    if (world.now >= until) return;
    const pods = cluster.pods();
    if (pods.length > 0) {
      const pod = random.pick(pods);
      pod.run(() => act(pod));
    }
    world.after(random.between(0, 2 * meanPauseMs), next);
  };
  next();
}

/** Long enough that several leaders can run it. */
const POISON_MS = 20_000;
/**
 * By true time, for a call that begins at `now`: its clock is up to 4 % slow, and stands still while the machine sleeps,
 * until the faults end at 20 s. So it has ended by 40.9 s, and the history ends at 41 s.
 */
const ENDS_BEFORE = 35_000;

function ask(cluster: Cluster, pod: Pod): void {
  const { random, world } = cluster;
  const kind = random.pick(KINDS);
  const appended = kind === 'put' || kind === 'put-if';
  const key = appended ? random.pick(KEYS.put) : kind === 'overwrite' ? random.pick(KEYS.overwrite) : '';
  // Mostly what the caller has just read; else a key without a value.
  const follows = kind === 'put-if' && random.chance(0.9) ? cluster.database.versions(key).at(-1) : undefined;
  const fenced = key !== '' && random.chance(0.2);
  const fence = fenced ? (pod.current()?.epoch ?? 0n) : 0n;
  const once = kind === 'overwrite' || fenced;
  const maxReruns = once ? 0 : kind === 'send' ? random.pick([0, 1, 2]) : Infinity;
  const poison = kind === 'send' && random.chance(0.02) && world.now + POISON_MS < ENDS_BEFORE;
  const by = pod.self.incarnation;
  const operation = cluster.operations.begin({ kind, key, fence, follows, maxReruns, poison, by });
  const to = kind === 'broadcast' ? random.pick(cluster.pods()).self : 'leader';
  pod.messaging.begin(operation, to, poison ? POISON_MS : random.skewed(100, 4_000));
}

/** Several gets at once, of which some have the same key. */
function read(cluster: Cluster, pod: Pod): void {
  const { operations, random } = cluster;
  for (let gets = random.pick([1, 1, 2, 5]); gets > 0; gets -= 1) {
    const key = random.pick([...KEYS.put, ...KEYS.overwrite]);
    const ended = operations.beginRead(key);
    pod.reads.get(key, random.skewed(100, 4_000), (outcome) => {
      if ('entry' in outcome) ended(outcome.entry ?? []);
    });
  }
}

/** Each pod has few watches at a time; most begin in the present, some with the first row. */
export function openWatches(cluster: Cluster, until: number): void {
  const { random, database } = cluster;
  const scopes = [
    { prefix: '', exact: false },
    { prefix: 'a', exact: true },
    { prefix: 'x', exact: false },
  ];
  actAtRandom(cluster, until, 1_500, (pod) => {
    const timestamp = random.chance(0.8) ? database.lastTimestamp + 1n : 0n;
    pod.watches.open(random.pick(scopes), { timestamp, id: '', key: '' }, random.skewed(1, 500));
  });
}
