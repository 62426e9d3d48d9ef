import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import { memory } from '../../libs/hedge/src/database/memory/index.js';
import { ExpiryRunner } from '../../libs/hedge/src/kv/expiry/expiry.runner.js';
import { DEFAULT_GROUP_COMMIT_LIMITS } from '../../libs/hedge/src/kv/group-commit.messages.js';
import {
  GroupCommitter,
  KV_CONDITIONAL_PUT,
  KV_PUT,
  KV_TRANSACTION,
  kvConditionalPutHandler,
  kvPutHandler,
  kvTransactionHandler,
} from '../../libs/hedge/src/kv/group-commit.runner.js';
import { StartGate } from '../../libs/hedge/src/common/async/start-gate.js';
import type { KvEntry, KvVersion } from '../../libs/hedge/src/kv/kv-entry.js';
import type { KvWatch } from '../../libs/hedge/src/kv/watch/kv-watch.js';
import { KvStore, type KvWatchOptions } from '../../libs/hedge/src/kv/kv.store.js';
import { KV_WATCH, WatchAnnouncer } from '../../libs/hedge/src/kv/watch/watch-announcer.runner.js';
import { WatchHub } from '../../libs/hedge/src/kv/watch/watch-hub.runner.js';
import type { Encoded, OutgoingRequest } from '../../libs/hedge/src/messaging/message.js';
import { BackendFaults, faulty } from '../../libs/hedge/src/testing/faults.js';
import { gate, TestGroup, type TestPod } from '../messaging/group.js';

const LEASE = 'hedge/lease/g';

let group: TestGroup;
let faults: BackendFaults;
let backend: Backend;
let caller: TestPod;
let first: TestPod;
let second: TestPod;
let kv: KvStore;
/** By pod: deletes keys whose time to live is over, while it leads. */
let expiries: Map<TestPod, ExpiryRunner>;

/** A pod that serves puts. All pods use one database, and its faults affect all of them. */
async function start(
  name: string,
  { knowsConditions = true, knowsTransactions = true, knowsWatches = true } = {},
): Promise<TestPod> {
  const pod = await group.start(name);
  const address = (): string => pod.self.address;
  const limits = { ...DEFAULT_GROUP_COMMIT_LIMITS, retryMs: 100 };
  const { log } = backend;
  const { clock } = group;
  const announcer = new WatchAnnouncer(pod.self.incarnation, clock);
  const onCommitted = (keys: readonly string[]): void => announcer.committed(keys);
  const committer = new GroupCommitter({ log, clock, lease: LEASE, address, limits, onCommitted });
  if (knowsWatches) {
    pod.messenger.serve(KV_WATCH, (request) => new Promise((resolve) => announcer.handle(request, resolve)));
  }
  pod.messenger.serve(KV_PUT, kvPutHandler(committer, address));
  if (knowsConditions) pod.messenger.serve(KV_CONDITIONAL_PUT, kvConditionalPutHandler(committer, address));
  const expiry = new ExpiryRunner({ log, committer, clock, lease: LEASE, group: 'g' });
  expiries.set(pod, expiry);
  if (knowsTransactions) pod.messenger.serve(KV_TRANSACTION, kvTransactionHandler(committer, expiry, address, 1_000));
  return pod;
}

function storeOf({ messenger, route }: TestPod): KvStore {
  const { log } = backend;
  const { clock } = group;
  const request = (outgoing: OutgoingRequest): Promise<Encoded> => messenger.request(outgoing);
  return new KvStore({
    gate: StartGate.opened(),
    messenger,
    route,
    log,
    hub: new WatchHub({ log, clock, route, request, random: Math.random }),
    clock,
    defaultTimeoutMs: 10_000,
    maxValueBytes: 1_000,
  });
}

beforeEach(async () => {
  group = new TestGroup();
  faults = new BackendFaults();
  expiries = new Map();
  backend = faulty(memory({ clock: group.clock }), faults, group.clock).create({ timeoutMs: 1_000 });
  [caller, first, second] = [await start('caller'), await start('first'), await start('second')];
  kv = storeOf(caller);
  group.elect(first);
});

afterEach(() => group.close());

/** Another writer of the table appends, whatever the leader waits for. */
const writeBeside = (value: string): Promise<unknown> =>
  backend.log.append([{ key: 'k', id: `${value}-id`, value, leader: 'another' }]);

const values = async (): Promise<string[]> => (await kv.history('k')).map(({ value }) => value);

describe('puts in a group', () => {
  it('wait for a leader, and fail with NO_LEADER without one', async () => {
    group.elect(undefined);
    const late = kv.put('k', 'late', { timeoutMs: 5_000 });
    const never = expect(kv.put('k', 'never', { timeoutMs: 500 })).rejects.toMatchObject({
      code: 'NO_LEADER',
      message: expect.stringContaining('put "k"'),
    });
    await group.pass(1_000);
    await never;
    group.elect(second);
    await group.pass(1_000);
    expect(await late).toMatchObject({ value: 'late', leader: second.self.address });
    expect(await values()).toEqual(['late']);
  });

  it('K1: a put that both leaders of a change have written is one row', async () => {
    faults.once('log.append', { answerDelayMs: 2_000 });
    const put = kv.put('k', 'v');
    await group.pass(100);
    group.elect(second);
    await group.pass(3_000);
    expect(await put).toMatchObject({ value: 'v' });
    expect(await values()).toEqual(['v']);
  });

  it('K1: a put whose link breaks before the answer is one row', async () => {
    faults.once('log.append', { answerDelayMs: 300 });
    const put = kv.put('k', 'v');
    await group.pass(100);
    group.network.partition(caller.self, first.self);
    await group.pass(500);
    group.network.heal(caller.self, first.self);
    await group.pass(3_000);
    expect(await put).toMatchObject({ value: 'v', leader: first.self.address });
    expect(await values()).toEqual(['v']);
  });

  it('K4: a put with a condition that the first leader wrote, and both leaders of a change received, is no conflict', async () => {
    const before = await kv.put('k', 'before');
    faults.once('log.appendIf', { answerDelayMs: 2_000 });
    const put = kv.put('k', 'v', { ifVersion: before });
    await group.pass(100);
    await writeBeside('after');
    group.elect(second);
    await group.pass(3_000);
    expect(await put).toMatchObject({ value: 'v' });
    expect(await values()).toEqual(['after', 'v', 'before']);
  });

  it('K4: a put with a condition that was refused is not written by the late call of the former leader', async () => {
    const before = await kv.put('k', 'before');
    faults.once('log.appendIf', { delayMs: 2_000 });
    const put = expect(kv.put('k', 'late', { ifVersion: before })).rejects.toMatchObject({
      code: 'CONFLICT',
      details: { entry: { value: 'next' } },
    });
    await group.pass(100);
    await writeBeside('next');
    group.elect(second);
    await group.pass(500);
    await put;
    await group.pass(3_000);
    expect(await values()).toEqual(['next', 'before']);
  });

  it('K4: an absent key that was put and deleted meanwhile is not put by the late call of the former leader', async () => {
    faults.once('log.appendIf', { delayMs: 2_000 });
    const put = expect(kv.put('k', 'late', { ifAbsent: true })).rejects.toMatchObject({ code: 'CONFLICT' });
    await group.pass(100);
    await writeBeside('next');
    group.elect(second);
    await group.pass(500);
    await put;
    await kv.delete('k');
    await group.pass(3_000);
    expect(await kv.get('k')).toBeUndefined();
  });

  it('with a condition are refused by a leader that does not know conditions, and nothing is written', async () => {
    group.elect(await start('old', { knowsConditions: false }));
    const entry = await kv.put('k', 'v');
    const refused = { code: 'NO_HANDLER', message: expect.stringContaining('Run the same version') };
    await expect(kv.put('k', 'w', { ifVersion: entry })).rejects.toMatchObject(refused);
    await expect(kv.put('other', 'w', { ifAbsent: true })).rejects.toMatchObject(refused);
    expect(await kv.get('k')).toEqual(entry);
    expect(await kv.get('other')).toBeUndefined();
  });

  it('K5: a transaction that both leaders of a change have received is written once, and no conflict', async () => {
    const before = await kv.put('k', 'before');
    faults.once('log.appendIf', { answerDelayMs: 2_000 });
    const written = kv.transaction([
      { put: 'k', value: 'v', ifVersion: before },
      { put: 'l', value: 'v' },
    ]);
    await group.pass(100);
    await writeBeside('after');
    group.elect(second);
    await group.pass(3_000);
    expect(await written).toMatchObject([{ key: 'k' }, { key: 'l' }]);
    expect(await values()).toEqual(['after', 'v', 'before']);
    expect(await kv.history('l')).toHaveLength(1);
  });

  it('K5: a transaction that was refused is not written by the late call of the former leader', async () => {
    const before = await kv.put('k', 'before');
    faults.once('log.appendIf', { delayMs: 2_000 });
    const operations = [
      { check: 'k', ifVersion: before },
      { put: 'l', value: 'late' },
    ];
    const refused = expect(kv.transaction(operations)).rejects.toMatchObject({
      code: 'CONFLICT',
      details: { keys: ['k'], entries: [{ value: 'next' }] },
    });
    await group.pass(100);
    await writeBeside('next');
    group.elect(second);
    await group.pass(500);
    await refused;
    await group.pass(3_000);
    expect(await kv.get('l')).toBeUndefined();
  });

  it('K5: a transaction without an answer of the database was written as a whole, or not at all', async () => {
    for (const fails of ['before-effect', 'after-effect'] as const) {
      faults.each((call) => (call === 'log.appendIf' ? { fails } : undefined));
      const operations = ['a', 'b'].map((name) => ({ put: `${fails}/${name}`, value: 'v' }));
      const failed = expect(kv.transaction(operations, { timeoutMs: 2_000 })).rejects.toMatchObject({
        code: 'DEADLINE_EXCEEDED',
        retryable: false,
      });
      await group.pass(3_000);
      await failed;
      expect(await kv.entries(`${fails}/`)).toHaveLength(fails === 'after-effect' ? 2 : 0);
    }
  });

  it('K5: a transaction is refused by a leader that does not know transactions, and no part of it is written', async () => {
    group.elect(await start('old', { knowsTransactions: false }));
    const operations = ['a', 'b'].map((key) => ({ put: key, value: 'v' }));
    await expect(kv.transaction(operations)).rejects.toMatchObject({
      code: 'NO_HANDLER',
      message: expect.stringContaining('Run the same version'),
    });
    expect(await kv.entries('')).toEqual([]);
    await kv.put('a', 'v', { ifAbsent: true });
  });

  it.each([
    ['an overwrite', { append: false }],
    ['a fenced put', { fenced: true }],
  ])('K1: %s that a leader began is never sent to the next leader', async (_, options) => {
    const lease = await backend.lease.acquire({ name: LEASE, holder: first.self, leaseMs: 60_000 });
    if (!lease.acquired) throw new Error('the first acquisition must succeed');
    group.epoch = lease.token - 1n;
    group.elect(first); // with the token of the lease
    faults.once('log.append', { delayMs: 2_000 }).once('log.overwrite', { delayMs: 2_000 });
    const put = expect(kv.put('k', 'v', options)).rejects.toMatchObject({
      code: 'OUTCOME_UNKNOWN',
      retryable: false,
      message: expect.stringContaining('The value was written once or not at all: read the key.'),
    });
    await group.pass(100);
    group.elect(second);
    await group.pass(500);
    await put;
    expect(await values()).toEqual([]); // not written by the second leader
    await group.pass(3_000);
    expect(await values()).toEqual(['v']); // written once by the first, whose call to the database succeeded late
  });

  it('K1: a late overwrite of a former leader does not undo one that the next leader has acknowledged', async () => {
    const acquire = async (pod: typeof first): Promise<void> => {
      const lease = await backend.lease.acquire({ name: LEASE, holder: pod.self, leaseMs: 60_000 });
      if (!lease.acquired) throw new Error('the lease must be free');
      group.epoch = lease.token - 1n;
      group.elect(pod); // with the token of the lease
    };
    await acquire(first);
    faults.once('log.overwrite', { delayMs: 2_000 });
    const put = expect(kv.put('k', 'late', { append: false })).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    await group.pass(100);
    await backend.lease.release({ name: LEASE, holder: first.self, token: group.epoch });
    await acquire(second);
    const next = kv.put('k', 'next', { append: false });
    await group.pass(500);
    await put;
    await next;
    await group.pass(3_000);
    expect(await values()).toEqual(['next']);
  });

  it('of a handler are served while the leader drains and waits for the handler', async () => {
    const own = storeOf(first);
    const { opened, open } = gate();
    first.handler = async () => {
      await opened;
      await own.put('k', 'from the handler');
      return 'done';
    };
    const sent = caller.send('work');
    await group.pass(100);
    let drained = false;
    void first.messenger.drain(group.epoch).then(() => (drained = true));
    open();
    await group.pass(200);
    expect(drained).toBe(true);
    expect(await sent).toBe('done');
    expect(await values()).toEqual(['from the handler']);
  });

  it('of one moment are committed together', async () => {
    const puts = Array.from({ length: 20 }, (_, index) => kv.put('k', String(index)));
    await group.pass(100);
    const written = await Promise.all(puts);
    expect(new Set(written.map(({ version }) => version)).size).toBe(1);
    expect(await values()).toEqual(written.map(({ value }) => value).reverse());
  });

  it('report that a value may be written when the database became unavailable during the put', async () => {
    faults.each((call) => (call === 'log.append' ? { fails: 'after-effect' } : undefined));
    const put = expect(kv.put('k', 'v', { timeoutMs: 2_000 })).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
      retryable: false,
    });
    await group.pass(3_000);
    await put;
    expect(await values()).toEqual(['v']);
  });
});

/** The pod becomes the leader, also in the database. @param notified the pods that learn of it now. */
async function acquire(pod: TestPod, notified: readonly TestPod[] = group.pods): Promise<void> {
  const { leader, epoch } = group;
  if (leader !== undefined) await backend.lease.release({ name: LEASE, holder: leader.self, token: epoch });
  const lease = await backend.lease.acquire({ name: LEASE, holder: pod.self, leaseMs: 600_000 });
  if (!lease.acquired) throw new Error('the lease must be free');
  group.epoch = lease.token - 1n;
  group.elect(pod, notified); // with the token of the lease
  for (const [other, expiry] of expiries) {
    if (other === pod) expiry.elected(lease.token);
    else if (other === leader && notified.includes(other)) expiry.ended();
  }
}

describe('keys with a time to live in a group', () => {
  beforeEach(() => acquire(first));

  it('K6: are deleted when it has passed, as watches and history see, and renewed by each put', async () => {
    const { seen } = collect(storeOf(second).watch(''));
    await group.pass(100);
    const put = await kv.put('k', 'v', { ttlMs: 2_000 });
    await group.pass(1_900);
    await kv.put('k', 'w', { ttlMs: 2_000 });
    await group.pass(1_900);
    expect(await kv.get('k')).toMatchObject({ value: 'w' });
    await group.pass(200);
    expect(await kv.get('k')).toBeUndefined();
    const [deletion, ...earlier] = await kv.history('k');
    expect(deletion).toMatchObject({ deleted: true, expired: true, value: '', leader: first.self.address });
    expect(earlier.at(-1)).toEqual(put);
    expect(seen).toEqual(['k=v', 'k=w', 'k deleted']);
    await group.pass(1_000);
    expect(await backend.log.history('__hedge/expiry/g/k', { limit: 9, order: 'newest-first' })).toEqual([]);
  });

  it('K6: stay when another put, a deletion or an overwrite came after', async () => {
    for (const key of ['put', 'overwritten', 'deleted']) await kv.put(key, 'v', { ttlMs: 2_000 });
    await kv.put('put', 'w');
    await kv.put('overwritten', 'w', { append: false });
    await kv.delete('deleted');
    await group.pass(3_000);
    expect(await kv.entries('')).toMatchObject([{ key: 'overwritten' }, { key: 'put', value: 'w' }]);
    expect(await kv.history('deleted')).toHaveLength(2);
    expect(await backend.log.keys({ prefix: '__hedge/expiry/', limit: 9 })).toEqual([]);
  });

  it('K6: get their whole time from the next leader, which deletes them then', async () => {
    await kv.put('k', 'v', { ttlMs: 5_000 });
    await group.pass(4_900);
    await acquire(second);
    await group.pass(4_900);
    expect(await kv.get('k')).toMatchObject({ value: 'v' });
    await group.pass(300);
    expect((await kv.history('k'))[0]).toMatchObject({ expired: true, leader: second.self.address });
  });

  it('K6: are not deleted by a former leader whose deletion arrives late', async () => {
    await kv.put('k', 'v', { ttlMs: 2_000 });
    faults.once('log.appendIf', { delayMs: 1_500 });
    await group.pass(2_100);
    await acquire(second);
    await group.pass(1_900);
    expect(await kv.get('k')).toMatchObject({ value: 'v' });
    await group.pass(300);
    expect(await kv.get('k')).toBeUndefined();
    await group.pass(3_000);
    expect(await kv.history('k')).toHaveLength(2);
  });

  it('K6: are put by the leader of their fence, not by a former one that the next leader would not notice', async () => {
    await acquire(second, [second]);
    await group.pass(100);
    const put = kv.put('k', 'v', { ttlMs: 2_000, fenced: group.epoch });
    await group.pass(500);
    expect(await put).toMatchObject({ leader: second.self.address });
    await group.pass(2_100);
    expect(await kv.get('k')).toBeUndefined();
  });

  it('K4: with a condition are put once, or refused, over a change of the leader', async () => {
    faults.once('log.appendIf', { delayMs: 1_500 });
    const put = kv.put('k', 'v', { ttlMs: 5_000, ifAbsent: true });
    await group.pass(100);
    await acquire(second);
    await group.pass(3_000);
    const entry = await put;
    expect(entry).toMatchObject({ leader: second.self.address });
    expect(await kv.history('k')).toEqual([entry]);
    await expect(kv.put('k', 'w', { ttlMs: 5_000, ifAbsent: true })).rejects.toMatchObject({
      code: 'CONFLICT',
      details: { entry },
    });
    const next = await kv.put('k', 'w', { ttlMs: 1_000, ifVersion: entry });
    await group.pass(1_100);
    expect(await kv.get('k')).toBeUndefined();
    const again = await kv.put('k', 'x', { ttlMs: 5_000, ifAbsent: true });
    expect((await kv.history('k')).map(({ id }) => id)).toEqual([
      again.id,
      `${next.id}-expired-deleted`,
      next.id,
      entry.id,
    ]);
  });

  it('K6: expire when the put failed without an answer, and was written', async () => {
    faults.each((call) => (call === 'log.appendIf' ? { fails: 'after-effect' } : undefined));
    const put = expect(kv.put('k', 'v', { ttlMs: 2_000, timeoutMs: 1_000 })).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
    });
    await group.pass(1_100);
    await put;
    faults.each(() => undefined);
    expect(await kv.get('k')).toMatchObject({ value: 'v' });
    await group.pass(5_000);
    expect(await kv.get('k')).toBeUndefined();
  });

  it('K5: in a transaction expire on their own, and count twice for its length', async () => {
    await kv.transaction([
      { put: 'a', value: 'v', ttlMs: 1_000 },
      { put: 'b', value: 'v', ttlMs: 2_000 },
      { put: 'c', value: 'v' },
    ]);
    await group.pass(1_500);
    expect(await kv.keys('')).toEqual(['b', 'c']);
    await group.pass(1_000);
    expect(await kv.keys('')).toEqual(['c']);
    const operations = Array.from({ length: 33 }, (_, n) => ({ put: `k${n}`, value: 'v', ttlMs: 1_000 }));
    await expect(kv.transaction(operations)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('33 of them have "ttlMs" and count twice'),
    });
  });

  it('are refused by a leader of version 0.1, and nothing is written', async () => {
    await acquire(await start('old', { knowsTransactions: false }));
    await expect(kv.put('k', 'v', { ttlMs: 1_000 })).rejects.toMatchObject({ code: 'NO_HANDLER' });
    expect(await kv.get('k')).toBeUndefined();
  });

  it.each([0, 999, 1_000.5, -1, 366 * 86_400_000, NaN, '1000'])('have no time to live of %p', async (ttlMs) => {
    const invalid = { code: 'INVALID_ARGUMENT', message: expect.stringContaining('"ttlMs" of put "k"') };
    await expect(kv.put('k', 'v', { ttlMs: ttlMs as number })).rejects.toMatchObject(invalid);
    await expect(kv.transaction([{ put: 'k', value: 'v', ttlMs: ttlMs as number }])).rejects.toMatchObject(invalid);
    await expect(kv.put('k', 'v', { ttlMs: 1_000, append: false })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});

/** The entries that a watch has yielded so far. */
function collect(watch: KvWatch): { readonly seen: string[]; readonly ended: Promise<unknown> } {
  const seen: string[] = [];
  const read = async (): Promise<void> => {
    for await (const { key, value, deleted } of watch)
      seen.push(deleted === true ? `${key} deleted` : `${key}=${value}`);
  };
  return { seen, ended: read().catch((error: unknown) => error) };
}

describe('watches in a group', () => {
  it('W1: yield each version of the prefix in the order of commits, on every pod, soon after the put', async () => {
    const watches = [caller, first, second].map((pod) => collect(storeOf(pod).watch('a/')));
    await group.pass(100);
    await kv.put('a/1', 'x');
    await kv.put('b/1', 'other');
    await kv.put('a/2', 'y');
    await kv.delete('a/1');
    await group.pass(50);
    for (const { seen } of watches) expect(seen).toEqual(['a/1=x', 'a/2=y', 'a/1 deleted']);
  });

  it('W1 K5: yield the entries of a transaction one after the other, with one version, on every pod', async () => {
    const watches = [caller, first, second].map((pod) => ({ watch: storeOf(pod).watch('a/'), seen: [] as KvEntry[] }));
    for (const { watch, seen } of watches) {
      void (async () => {
        for await (const entry of watch) seen.push(entry);
      })();
    }
    await group.pass(100);
    const transactions = [caller, second].map((pod, i) =>
      storeOf(pod).transaction([
        { put: `a/${i}/z`, value: 'z' },
        { delete: `a/${i}/y` },
        { put: `b/${i}`, value: 'other' },
        { put: `a/${i}/x`, value: 'x' },
      ]),
    );
    await group.pass(100);
    const written = await Promise.all(transactions);
    for (const { watch, seen } of watches) {
      const [one, two] = [seen.slice(0, 3), seen.slice(3)];
      for (const entries of written) {
        const mine = entries.filter(({ key }) => key.startsWith('a/'));
        expect([one, two]).toContainEqual(mine);
      }
      await watch.return();
    }
  });

  it('W1: go on after a change of the leader, a lost link and an outage of the database', async () => {
    const { seen } = collect(kv.watch('k'));
    await group.pass(100);
    await kv.put('k', '1');
    group.elect(second);
    await kv.put('k', '2');
    group.network.partition(caller.self, second.self);
    await writeBeside('3');
    await group.pass(2_000);
    expect(seen).toEqual(['k=1', 'k=2', 'k=3']);
    group.network.heal(caller.self, second.self);
    await group.pass(2_000);
    await kv.put('k', '4');
    faults.outage = true;
    await group.pass(5_000);
    faults.outage = false;
    await group.pass(5_000);
    await kv.put('k', '5');
    await group.pass(50);
    expect(seen).toEqual(['k=1', 'k=2', 'k=3', 'k=4', 'k=5']);
  });

  it('W1: find rows that no leader has announced, and work with a leader that announces nothing', async () => {
    const { seen } = collect(kv.watch({ key: 'k' }));
    await group.pass(100);
    await writeBeside('1');
    await group.pass(10_100);
    expect(seen).toEqual(['k=1']);
    group.elect(await start('old', { knowsWatches: false }));
    await kv.put('k', '2');
    await kv.put('kk', 'not this key');
    await group.pass(2_000);
    expect(seen).toEqual(['k=1', 'k=2']);
  });

  it('begin behind an entry or at a time, and show later entries only', async () => {
    const [one, two] = [await kv.put('k', '1'), await kv.put('k', '2')];
    await kv.put('k', '3');
    const from = async (cursor: KvWatchOptions['from']): Promise<string[]> => {
      const { seen } = collect(kv.watch('', { from: cursor }));
      await group.pass(100);
      return seen;
    };
    expect(await from(one)).toEqual(['k=2', 'k=3']);
    expect(await from(JSON.parse(JSON.stringify(two)))).toEqual(['k=3']);
    expect(await from(new Date(0))).toEqual(['k=1', 'k=2', 'k=3']);
    const { seen } = collect(kv.watch(''));
    await group.pass(100);
    expect(seen).toEqual([]);
  });

  it('W1: continue behind an entry with the other rows of its commit, also with those that have the same id', async () => {
    const row = { value: '', leader: 'l' };
    const keys = ['k/1', 'k/2', 'k/3'];
    await backend.log.append(keys.map((key) => ({ ...row, key, id: key === 'k/3' ? 'b' : 'a' })));
    const first = await kv.get('k/1');
    const places = [first, { key: 'k/1', version: String(first?.version), id: 'a' }];
    for (const from of places) {
      const { seen } = collect(kv.watch('k/', { from }));
      await group.pass(100);
      expect(seen).toEqual(['k/2=', 'k/3=']);
    }
    const refused = expect.objectContaining({ code: 'INVALID_ARGUMENT' });
    const { version } = places[1] as KvVersion;
    for (const from of [version, BigInt(version), { version, id: 'a' }])
      expect(() => kv.watch('k/', { from } as object)).toThrow(refused);
  });

  it('W1: begin at a time with all rows of a commit of that time', async () => {
    await backend.log.append(['a', 'b'].map((id) => ({ key: 'k', id, value: id, leader: 'l' })));
    const { timestamp } = (await kv.get('k')) ?? {};
    const { seen } = collect(kv.watch('k', { from: timestamp }));
    const { seen: sinceLong } = collect(kv.watch('k', { from: new Date(-8.64e15) }));
    const { seen: inFuture } = collect(kv.watch('k', { from: new Date(8.64e15) }));
    await group.pass(100);
    expect([seen, sinceLong, inFuture]).toEqual([['k=a', 'k=b'], ['k=a', 'k=b'], []]);
  });

  it('of a slow reader hold one page, and read the rest from the log', async () => {
    let longest = 0;
    const { changes } = backend.log;
    backend.log.changes = async (query) => {
      const page = await changes(query);
      longest = Math.max(longest, page.entries.length);
      return page;
    };
    const watch = kv.watch('k');
    await watch.ready;
    const rows = Array.from({ length: 1_000 }, (_, n) => ({ key: 'k', id: `id ${n}`, value: `${n}`, leader: 'l' }));
    for (const row of rows) await backend.log.append([row]);
    for (const { value } of rows) {
      const next = watch.next();
      await group.pass(1);
      expect(await next).toMatchObject({ done: false, value: { value } });
    }
    expect(longest).toBe(100);
  });

  it('read the log once for all watches of one prefix on a pod, and only when rows were committed', async () => {
    let reads = 0;
    const { changes } = backend.log;
    backend.log.changes = (query) => ((reads += 1), changes(query));
    const watches = Array.from({ length: 10 }, () => collect(kv.watch('a/')));
    await group.pass(1_000);
    reads = 0;
    await kv.put('b/1', 'other');
    await group.pass(1_000);
    expect(reads).toBe(0);
    await kv.put('a/1', 'x');
    await group.pass(1_000);
    for (const { seen } of watches) expect(seen).toEqual(['a/1=x']);
    expect(reads).toBe(1);
  });

  it('have caught up when they have yielded all versions that were written before', async () => {
    const rows = Array.from({ length: 250 }, (_, n) => ({ key: 'k', id: `id ${n}`, value: `${n}`, leader: 'l' }));
    for (const row of rows) await backend.log.append([row]);
    const watch = kv.watch('k', { from: new Date(0) });
    const { seen } = collect(watch);
    let counted: number | undefined;
    void watch.caughtUp().then(() => (counted = seen.length));
    await group.pass(100);
    expect(counted).toBe(250);
    const again = watch.caughtUp();
    await group.pass(1);
    await again;
    const never = expect(watch.caughtUp()).rejects.toMatchObject({ code: 'CANCELLED' });
    await watch.return();
    await never;
  });

  it('end with the loop, with CANCELLED by their signal, and refuse bad arguments', async () => {
    const controller = new AbortController();
    const { ended } = collect(kv.watch('k', { signal: controller.signal }));
    await group.pass(100);
    controller.abort(new Error('enough'));
    expect(await ended).toMatchObject({ code: 'CANCELLED', message: 'watch "k" was cancelled by its signal.' });
    const left = kv.watch('k');
    const next = left.next();
    await left.return();
    expect(await next).toEqual({ done: true, value: undefined });
    expect(await left.next()).toEqual({ done: true, value: undefined });
    const refused = expect.objectContaining({ code: 'INVALID_ARGUMENT' });
    expect(() => kv.watch('__hedge/')).toThrow(refused);
    expect(() => kv.watch({ key: '' })).toThrow(refused);
    expect(() => kv.watch(undefined as unknown as string)).toThrow(refused);
    expect(() => kv.watch('k', { from: 'yesterday' } as object)).toThrow(refused);
    expect(() => kv.watch('k', { after: 1n } as object)).toThrow(refused);
    faults.outage = true;
    const failed = kv.watch('k');
    await expect(failed.ready).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    await expect(failed.next()).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
  });
});

describe('reads of several keys', () => {
  it('getMany gives the entries in the order of the keys, and entries those of a prefix, page by page', async () => {
    const [a, b, c] = [await kv.put('p/a', '1'), await kv.put('p/b', '2'), await kv.put('p/c', '3')];
    await kv.put('q', '4');
    await kv.put('p/d', '5');
    await kv.delete('p/d');
    expect(await kv.getMany(['p/c', 'never', 'p/a', 'p/c', 'p/d'])).toEqual([c, undefined, a, c, undefined]);
    expect(await kv.getMany([])).toEqual([]);
    expect(await kv.entries('p/')).toEqual([a, b, c]);
    expect(await kv.entries('p/', { limit: 2 })).toEqual([a, b]);
    expect(await kv.entries('p/', { limit: 2, after: 'p/b' })).toEqual([c]);
    await expect(kv.getMany(['p/a', ''])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it.each(['newest-first', 'oldest-first'] as const)(
    'history pages, %s, have each version once while others put, delete and overwrite',
    async (order) => {
      // Commits of three versions, so that pages end within a commit.
      for (let commit = 0; commit < 4; commit += 1)
        await Promise.all([0, 1, 2].map((i) => kv.put('k', `${commit}/${i}`)));
      await kv.delete('k');
      const before = await kv.history('k', { limit: Infinity, order });
      const paged: KvEntry[] = [];
      for (let page = await kv.history('k', { limit: 2, order }); page.length > 0;) {
        paged.push(...page);
        if (paged.length >= before.length) break;
        await Promise.all([kv.put('k', 'later'), kv.put('k', 'later')]);
        await backend.log.overwrite({ key: 'k', value: 'over', leader: 'l' });
        await kv.delete('k');
        const cursor = order === 'newest-first' ? { before: paged.at(-1) } : { after: paged.at(-1) };
        page = await kv.history('k', { limit: 2, order, ...cursor });
      }
      expect(paged.slice(0, before.length)).toEqual(before);
    },
  );

  it('entries pages have no key twice, and each key that has a value all the time', async () => {
    const names = Array.from({ length: 9 }, (_, i) => `p/${i}`);
    for (const key of names) await kv.put(key, 'old');
    const paged: KvEntry[] = [];
    for (let page = await kv.entries('p/', { limit: 2 }); page.length > 0;) {
      paged.push(...page);
      const last = paged.at(-1)!.key;
      // Behind the pages and before them, keys appear and go, and values change.
      if (paged.length < names.length) await kv.put(`${last}a`, 'new');
      await kv.put('p/0', 'changed');
      await kv.put('p/8', 'changed');
      await kv.delete(`${paged[0]!.key}a`);
      page = await kv.entries('p/', { limit: 2, after: last });
    }
    const found = paged.map(({ key }) => key);
    expect(new Set(found).size).toBe(found.length);
    expect(found.filter((key) => names.includes(key))).toEqual(names);
    expect(paged.find(({ key }) => key === 'p/8')).toMatchObject({ value: 'changed' });
  });

  it('entries fills a page when keys are deleted meanwhile', async () => {
    const rest = [];
    for (const key of ['p/a', 'p/b', 'p/c', 'p/d']) rest.push(await kv.put(key, 'v'));
    const { keys } = backend.log;
    backend.log.keys = async (query) => {
      const found = await keys(query);
      if (query.after === undefined) for (const key of ['p/a', 'p/b']) await kv.delete(key);
      return found;
    };
    expect(await kv.entries('p/', { limit: 2 })).toEqual(rest.slice(2));
  });
});
