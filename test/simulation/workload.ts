import type { Lifetime } from '../../libs/hedge/src/kv/expiry/expiry.core.js';
import type { Cluster } from './cluster.js';
import type { Conditions } from './faults.js';
import type { OperationKind, PlannedItem } from './operations.js';
import type { Pod } from './pod.js';

const KINDS: readonly OperationKind[] = [
  'put',
  'put-if',
  'put-if',
  'delete',
  'overwrite',
  'transaction',
  'send',
  'send',
  'broadcast',
];

/** Each key has appended rows, also under conditions; one has an overwritten row, too. */
const KEYS = ['a', 'b', 'x'];
const OVERWRITTEN = 'x';
/** It stays deleted for so long that retention removes it. */
const DELETED = 'd';
const ALL_KEYS = [...KEYS, DELETED];

/** Every pod starts random operations until then. */
export function runWorkload(cluster: Cluster, until: number, { pauseMs }: Conditions = {}): void {
  const { random } = cluster;
  actAtRandom(cluster, until, pauseMs ?? random.skewed(30, 300), (pod) => {
    if (random.chance(0.3)) read(cluster, pod);
    else ask(cluster, pod);
  });
}

/** A random pod acts, repeatedly until then. */
export function actAtRandom(cluster: Cluster, until: number, meanPauseMs: number, act: (pod: Pod) => void): void {
  const { random, world } = cluster;
  const next = (): void => {
    if (world.now >= until) return;
    actOnce(cluster, act);
    world.after(random.between(0, 2 * meanPauseMs), next);
  };
  next();
}

/** A random pod acts, if one runs. */
function actOnce(cluster: Cluster, act: (pod: Pod) => void): void {
  const pods = cluster.pods();
  if (pods.length === 0) return;
  const pod = cluster.random.pick(pods);
  pod.run(() => act(pod));
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
  const isCall = kind === 'send' || kind === 'broadcast';
  const fenced = !isCall && random.chance(0.2);
  const fence = fenced ? (pod.current()?.epoch ?? 0n) : 0n;
  const once = kind === 'overwrite' || fenced;
  const maxReruns = once ? 0 : kind === 'send' ? random.pick([0, 1, 2]) : Infinity;
  const poison = kind === 'send' && random.chance(0.02) && world.now + POISON_MS < ENDS_BEFORE;
  const by = pod.self.incarnation;
  const ifAbsent = kind === 'put-if' && random.chance(0.3);
  const target = isCall
    ? {}
    : kind === 'put-if'
      ? { plan: [planPut(cluster, ifAbsent)] }
      : kind === 'transaction'
        ? { plan: planTransaction(cluster) }
        : { key: kind === 'overwrite' ? OVERWRITTEN : random.pick(KEYS) };
  const operation = cluster.operations.begin({ kind, fence, maxReruns, poison, by, ifAbsent }, target);
  const to = kind === 'broadcast' ? random.pick(cluster.pods()).self : 'leader';
  pod.messaging.begin(operation, to, poison ? POISON_MS : random.skewed(100, 4_000));
}

/** A put that follows what the caller has just read, or the first row of a key. */
function planPut({ random, database }: Cluster, ifAbsent: boolean): PlannedItem {
  const key = random.pick(KEYS);
  return { call: 'put', key, condition: { follows: ifAbsent ? undefined : database.versions(key).at(-1) } };
}

/** Of two or three keys, most of them with the condition that nothing was written since a read. */
function planTransaction({ random, database }: Cluster): PlannedItem[] {
  const keys = [...KEYS];
  if (random.chance(0.5)) keys.splice(Math.floor(random.between(0, keys.length)), 1);
  const calls = ['put', 'put', 'delete', 'check'] as const;
  const plan = keys.map((key): PlannedItem => {
    const call = random.pick(calls);
    const condition = { follows: random.chance(0.95) ? database.versions(key).at(-1) : undefined };
    return { call, key, ...((call === 'check' || random.chance(0.7)) && { condition }) };
  });
  const [first, ...others] = plan;
  return first && plan.every(({ call }) => call === 'check') ? [{ ...first, call: 'put' }, ...others] : plan;
}

/** One of these keys is put without a lifetime, too. */
const EXPIRING = ['a', 'e', 'e', 'f', 'f'];
const SHORT_MS = [300, 800, 2_000];
/** Longer than a history. */
const LONG_MS = 3_600_000;

/** Every pod puts and renews keys with a lifetime until then. */
export function putExpiring(cluster: Cluster, until: number): void {
  const { database, random } = cluster;
  actAtRandom(cluster, until, 350, (pod) => {
    const owned = random.chance(0.3);
    const key = owned ? `${pod.self.address}/${random.pick([1, 2, 3])}` : random.pick(EXPIRING);
    if (random.chance(0.2)) return readKey(cluster, pod, key);
    const condition = random.chance(0.2) ? { follows: database.versions(key).at(-1) } : undefined;
    putOne(
      cluster,
      pod,
      { call: 'put', key, condition },
      owned ? { owner: pod.self } : { ttlMs: random.pick(SHORT_MS) },
    );
  });
}

/**
 * Pairs of puts at about the same time, by any pods, of a key that nobody puts again. The first one is for long, so a leader
 * that does not know of the second one keeps the key.
 */
export function putPairs(cluster: Cluster, until: number, { pauseMs = 250 }: Conditions = {}): void {
  const { random, world } = cluster;
  let pairs = 0;
  actAtRandom(cluster, until, 4 * pauseMs, (pod) => {
    const item = { call: 'put', key: `pair${(pairs += 1)}` } as const;
    const lifetime = random.chance(0.5) ? { owner: pod.self } : { ttlMs: LONG_MS };
    // Its caller may try it again at several leaders.
    putOne(cluster, pod, item, lifetime, random.between(2_000, 8_000));
    world.after(random.skewed(1, 1_000), () =>
      actOnce(cluster, (other) =>
        putOne(cluster, other, item, random.chance(0.3) ? { owner: other.self } : { ttlMs: random.pick(SHORT_MS) }),
      ),
    );
  });
}

function putOne(
  { operations, random }: Cluster,
  pod: Pod,
  item: PlannedItem,
  lifetime: Lifetime,
  timeoutMs = random.skewed(100, 4_000),
): void {
  const fence = random.chance(0.1) ? (pod.current()?.epoch ?? 0n) : 0n;
  const maxReruns = fence === 0n ? Infinity : 0;
  const by = pod.self.incarnation;
  const operation = operations.begin(
    { kind: 'expiring', lifetime, fence, maxReruns, poison: false, by },
    { plan: [item] },
  );
  pod.messaging.begin(operation, 'leader', timeoutMs);
}

/** Several gets at once, of which some have the same key. */
function read(cluster: Cluster, pod: Pod): void {
  const { random } = cluster;
  for (let gets = random.pick([1, 1, 2, 5]); gets > 0; gets -= 1) {
    readKey(cluster, pod, random.pick(ALL_KEYS));
  }
}

function readKey({ operations, random }: Cluster, pod: Pod, key: string): void {
  const ended = operations.beginRead(key);
  pod.reads.get(key, random.skewed(100, 4_000), (outcome) => {
    if ('entry' in outcome) ended(outcome.entry ?? []);
  });
}

/** Its versions, and the tombstone behind them, are written early. Others follow when the group has recovered. */
export function useDeletedKey(cluster: Cluster): void {
  const { random, world } = cluster;
  const deletedAt = random.between(2_000, 10_000);
  for (let puts = 0; puts < 4; puts += 1)
    world.after(random.between(0, deletedAt), () => write(cluster, 'put', DELETED, 4_000));
  world.after(deletedAt, () => write(cluster, 'delete', DELETED, 4_000));
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
    const timestamp = random.chance(0.7) ? database.lastTimestamp + 1n : 0n;
    pod.watches.open(random.pick(scopes), { timestamp, id: '', key: '' }, random.skewed(1, 500));
  });
}

/** The later puts of a burst are committed while the notices of the earlier ones are on their way. */
const BURST_PUTS = 4;
/** So far apart that a later burst helps no watch that missed a notice of an earlier one. */
const BETWEEN_BURSTS_MS = 1_800;

/** For a group that has recovered: two bursts of puts. */
export function putInBursts(cluster: Cluster): void {
  const { random, world } = cluster;
  for (const burst of [0, BETWEEN_BURSTS_MS]) {
    for (let puts = 0; puts < BURST_PUTS; puts += 1) {
      world.after(burst + random.between(0, 150), () => write(cluster, 'put', random.pick(ALL_KEYS), 2_000));
    }
  }
}

function write(cluster: Cluster, kind: 'put' | 'delete', key: string, timeoutMs: number): void {
  actOnce(cluster, (pod) => {
    const by = pod.self.incarnation;
    const operation = cluster.operations.begin({ kind, fence: 0n, maxReruns: Infinity, poison: false, by }, { key });
    pod.messaging.begin(operation, 'leader', timeoutMs);
  });
}
