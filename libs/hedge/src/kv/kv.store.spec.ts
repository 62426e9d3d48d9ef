import { beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { Backend } from '../database/backend.js';
import { memory } from '../database/memory/index.js';
import type { LeaderBelief } from '../messaging/leader-route.js';
import type { Encoded, OutgoingRequest } from '../messaging/message.js';
import type { Messenger } from '../messaging/messenger.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import { ExpiryRunner } from './expiry/expiry.runner.js';
import { DEFAULT_GROUP_COMMIT_LIMITS } from './group-commit.messages.js';
import {
  GroupCommitter,
  KV_CONDITIONAL_PUT,
  KV_TRANSACTION,
  kvConditionalPutHandler,
  kvPutHandler,
  kvTransactionHandler,
} from './group-commit.runner.js';
import { StartGate } from '../common/async/start-gate.js';
import type { HedgeError } from '../common/errors.js';
import type { KvCursor, KvVersion } from './kv-entry.js';
import { KvStore, type KvStoreDeps } from './kv.store.js';
import { WatchHub } from './watch/watch-hub.runner.js';
import { KvConditionalPut, KvPut, KvTransaction } from '../wire/hedge/v1/link.js';
import { MAX_EXPIRING_KEY_BYTES, MAX_KEY_BYTES, maxValueBytes } from './kv-limits.js';

const MAX_VALUE = 1_000;
const address = (): string => 'pod:1';

let clock: VirtualClock;
let backend: Backend;
let kv: KvStore;
let deps: KvStoreDeps;
let requests: OutgoingRequest[];
let belief: LeaderBelief | undefined;

beforeEach(() => {
  clock = new VirtualClock();
  backend = memory({ clock }).create({ timeoutMs: 1_000 });
  const limits = { ...DEFAULT_GROUP_COMMIT_LIMITS, retryMs: 100 };
  const committer = new GroupCommitter({ log: backend.log, clock, lease: 'hedge/lease/g', address, limits });
  const expiry = new ExpiryRunner({ log: backend.log, committer, clock, lease: 'hedge/lease/g', group: 'g' });
  const handle = kvPutHandler(committer, address);
  const handlers = new Map([
    [KV_CONDITIONAL_PUT, kvConditionalPutHandler(committer, address)],
    [KV_TRANSACTION, kvTransactionHandler(committer, expiry, address, MAX_VALUE)],
  ]);
  requests = [];
  belief = undefined;
  const messenger = {
    request(request: OutgoingRequest): Promise<Encoded> {
      requests.push(request);
      const { payload, type, topic, timeoutMs } = request;
      const caller = { address: 'pod:2', incarnation: 'i' };
      const { signal } = new AbortController();
      const epoch = belief?.epoch ?? 1n;
      return (handlers.get(type) ?? handle)({
        type,
        topic,
        payload,
        timeoutMs,
        caller,
        requestId: 'r',
        attempt: 1,
        epoch,
        signal,
      });
    },
  } as unknown as Messenger;
  const route = { current: () => belief, leads: () => false, refresh: async () => {}, onChange: () => () => {} };
  deps = {
    gate: StartGate.opened(),
    messenger,
    route,
    log: backend.log,
    hub: new WatchHub({ log: backend.log, clock, route, request: () => new Promise(() => {}), random: () => 0 }),
    clock,
    defaultTimeoutMs: 10_000,
    maxValueBytes: MAX_VALUE,
  };
  kv = new KvStore(deps);
});

/** Acquires the lease for the pod that serves puts. */
async function elect(): Promise<bigint> {
  const holder = { address: 'pod:1', incarnation: 'i' };
  const taken = await backend.lease.acquire({ name: 'hedge/lease/g', holder, leaseMs: 1_000 });
  if (!taken.acquired) throw new Error('the first acquisition must succeed');
  belief = { leader: holder, epoch: taken.token, self: false };
  return taken.token;
}

describe('KvStore.put', () => {
  it('returns the entry that get and history return later, and JSON shows its version as text', async () => {
    const entry = await kv.put('orders/17', 'paid');
    expect(entry).toMatchObject({ key: 'orders/17', value: 'paid', leader: 'pod:1' });
    expect(entry.version / 1_000_000n).toBe(BigInt(entry.timestamp.getTime()));
    expect(await kv.get('orders/17')).toEqual(entry);
    expect(await kv.history('orders/17')).toEqual([entry]);
    expect(JSON.parse(JSON.stringify(entry))).toEqual({
      ...entry,
      timestamp: entry.timestamp.toISOString(),
      version: entry.version.toString(),
    });
  });

  it('sends a repeatable request to the leader, with its deadline and signal', async () => {
    const { signal } = new AbortController();
    await kv.put('k', 'v', { timeoutMs: 50, signal });
    await kv.put('k', 'v');
    expect(requests[0]).toMatchObject({ to: 'leader', timeoutMs: 50 });
    expect(requests[0]?.maxReruns).toBeUndefined();
    expect(requests[0]?.signal).toBe(signal);
    expect(requests[1]?.timeoutMs).toBe(10_000);
  });

  it('replaces the value with append: false, and never sends that twice (K1, K3)', async () => {
    await elect();
    await kv.put('k', 'kept');
    await kv.put('k', 'first', { append: false });
    const last = await kv.put('k', 'second', { append: false });
    expect(last.id).toBe('-');
    expect(requests.at(-1)?.maxReruns).toBe(0);
    expect((await kv.history('k')).map(({ value }) => value)).toEqual(['second', 'kept']);
  });

  it('stores two versions when an equal value is put twice', async () => {
    await Promise.all([kv.put('k', 'same'), kv.put('k', 'same')]);
    expect(await kv.history('k')).toHaveLength(2);
  });

  it('fences by the present leader, or by the token of a leader task', async () => {
    await expect(kv.put('k', 'v', { fenced: true })).rejects.toMatchObject({ code: 'NO_LEADER', retryable: true });
    const token = await elect();
    await kv.put('k', 'v', { fenced: true });
    await kv.put('k', 'v', { fenced: token });
    await expect(kv.put('k', 'v', { fenced: token - 1n })).rejects.toMatchObject({ code: 'LEASE_LOST' });
    for (const fenced of [0n, -1n, 2n ** 64n, 'yes' as unknown as boolean]) {
      await expect(kv.put('k', 'v', { fenced })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
  });

  it.each([
    ['an empty key', ''],
    ['a reserved key', '__hedge/secret/g'],
    ["Go's reserved key", '__caller=10.0.0.1:1'],
    ['a key with a NUL character', 'a\0b'],
    ['a key with a lone surrogate', 'a\ud800'],
    ['a key that is too long', 'é'.repeat(MAX_KEY_BYTES / 2 + 1)],
    ['a key that is not a string', 17 as unknown as string],
  ])('and reads reject %s, and send nothing', async (_, key) => {
    const refused = { code: 'INVALID_ARGUMENT' };
    await expect(kv.put(key, 'v')).rejects.toMatchObject(refused);
    await expect(kv.get(key)).rejects.toMatchObject(refused);
    await expect(kv.history(key)).rejects.toMatchObject(refused);
    expect(requests).toEqual([]);
  });

  it('accepts the longest key and value, and rejects one byte more with both numbers', async () => {
    const key = 'k'.repeat(MAX_KEY_BYTES);
    await kv.put(key, 'v'.repeat(MAX_VALUE));
    await expect(kv.put(key, 'v'.repeat(MAX_VALUE + 1))).rejects.toMatchObject({
      code: 'PAYLOAD_TOO_LARGE',
      message: expect.stringMatching(/at most \d+ fit into a message\. .* raise limits\.maxMessageBytes on all pods/),
      details: { bytes: MAX_VALUE + 1, maxBytes: MAX_VALUE },
    });
  });

  it('rejects a key whose deletion may not fit into an index, if it has a time to live', async () => {
    await elect();
    const longest = 'k'.repeat(MAX_EXPIRING_KEY_BYTES);
    const store = new KvStore({ ...deps, prefix: 'p/' });
    await kv.put(longest, 'v', { ttlMs: 1_000 });
    await store.put(longest.slice(2), 'v', { whileAlive: true });
    requests = [];
    const refused = { code: 'INVALID_ARGUMENT', message: expect.stringContaining('at most 2048 are allowed') };
    for (const key of [`${longest}k`, longest.slice(1)]) {
      await expect(store.put(key, 'v', { ttlMs: 1_000 })).rejects.toMatchObject(refused);
      await expect(store.put(key, 'v', { whileAlive: true })).rejects.toMatchObject(refused);
      await expect(store.transaction([{ put: key, value: 'v', ttlMs: 1_000 }])).rejects.toMatchObject(refused);
    }
    expect(requests).toEqual([]);
    await store.put(longest, 'v');
  });

  it('names no option when a value is too large for the databases', async () => {
    for (const maxBytes of [MAX_VALUE, maxValueBytes(2 ** 30)]) {
      const store = new KvStore({ ...deps, maxValueBytes: maxBytes });
      await expect(store.put('k', 'v'.repeat(2_621_441))).rejects.toMatchObject({
        code: 'PAYLOAD_TOO_LARGE',
        message:
          'The value of "k" has 2621441 bytes in UTF-8; at most 2621440 bytes fit into the databases, and no option raises this. Split it, or store it elsewhere.',
      });
    }
  });

  it('rejects values that are not text', async () => {
    await expect(kv.put('k', { a: 1 } as unknown as string)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(kv.put('k', '\udfff')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(kv.putJson('k', undefined)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(kv.putJson('k', 1n)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('rejects values that JSON would change silently', async () => {
    for (const value of [new Map([[1, 2]]), { items: [NaN] }, new Error('lost'), new Uint8Array(2), [undefined]]) {
      await expect(kv.putJson('k', value)).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        message: expect.stringContaining('cannot be written as JSON: value'),
      });
    }
    await kv.putJson('k', { at: new Date(0), none: undefined });
    expect(await kv.getJson('k')).toEqual({ at: '1970-01-01T00:00:00.000Z' });
  });
});

describe('KvStore.delete', () => {
  it('deletes a key for get and keys until the next put, and history keeps all versions', async () => {
    const written = await kv.put('k', 'v');
    const deleted = await kv.delete('k');
    expect(deleted).toMatchObject({ key: 'k', value: '', deleted: true, leader: 'pod:1' });
    expect(deleted.version).toBeGreaterThan(written.version);
    expect(await kv.get('k')).toBeUndefined();
    expect(await kv.getJson('k')).toBeUndefined();
    expect(await kv.keys('')).toEqual([]);
    const again = await kv.put('k', 'again');
    expect(await kv.get('k')).toEqual(again);
    expect(await kv.keys('')).toEqual(['k']);
    expect(await kv.history('k')).toEqual([again, deleted, written]);
    expect(await kv.history('k', { before: deleted })).toEqual([written]);
  });

  it('deletes a value that was overwritten, and a later overwrite is the value again', async () => {
    await elect();
    await kv.put('k', 'v', { append: false });
    await kv.delete('k');
    expect(await kv.get('k')).toBeUndefined();
    await kv.put('k', 'w', { append: false });
    expect(await kv.get('k')).toMatchObject({ value: 'w' });
  });

  it('tells an empty value from a deletion', async () => {
    const empty = await kv.put('k', '');
    expect(await kv.get('k')).toEqual(empty);
    expect(empty).not.toHaveProperty('deleted');
  });

  it('accepts a key that has no value', async () => {
    expect(await kv.delete('never')).toMatchObject({ deleted: true });
    expect(await kv.history('never')).toHaveLength(1);
  });

  it('sends a row that a leader of any version appends: an empty value under a marked id', async () => {
    await kv.delete('k');
    const [request] = requests;
    expect(request).toMatchObject({ name: 'delete "k"', timeoutMs: 10_000 });
    expect(request).not.toHaveProperty('maxReruns');
    const row = KvPut.decode(request!.payload.bytes);
    expect(row).toMatchObject({ key: 'k', value: '', overwrite: false, fence: 0n });
    expect(row.id).toMatch(/^[\da-f-]{36}-deleted$/);
  });

  it('fences as put does, and names the call in its errors', async () => {
    await expect(kv.delete('k', { fenced: true })).rejects.toMatchObject({
      code: 'NO_LEADER',
      message: expect.stringContaining('delete "k"'),
    });
    const token = await elect();
    await kv.delete('k', { fenced: token });
    await expect(kv.delete('k', { fenced: token - 1n })).rejects.toMatchObject({ code: 'LEASE_LOST' });
  });

  it('rejects the options of put that it does not have, and a reserved key', async () => {
    const refused = { code: 'INVALID_ARGUMENT' };
    await expect(kv.delete('k', { append: false } as object)).rejects.toMatchObject(refused);
    await expect(kv.delete('__hedge/secret/g')).rejects.toMatchObject(refused);
    expect(requests).toEqual([]);
  });
});

describe('KvStore writes with a condition', () => {
  it('writes when the given version is the newest, also as text or as its parts', async () => {
    const first = await kv.put('k', '1', { ifAbsent: true });
    const second = await kv.put('k', '2', { ifVersion: first });
    const third = await kv.put('k', '3', { ifVersion: { version: String(second.version), id: second.id } });
    expect(await kv.get('k')).toEqual(third);
    const deleted = await kv.delete('k', { ifVersion: third });
    expect(deleted).toMatchObject({ deleted: true });
    expect(await kv.history('k')).toEqual([deleted, third, second, first]);
  });

  it('fails with CONFLICT and the newest entry when another version is there, and writes nothing', async () => {
    const old = await kv.put('k', 'old');
    const newest = await kv.put('k', 'new');
    const refused = [
      kv.put('k', 'x', { ifVersion: old }),
      kv.put('k', 'x', { ifVersion: { version: newest.version, id: old.id } }),
      kv.put('k', 'x', { ifAbsent: true }),
      kv.putJson('k', 1, { ifAbsent: true }),
      kv.delete('k', { ifVersion: old }),
    ];
    for (const call of refused) {
      await expect(call).rejects.toMatchObject({ code: 'CONFLICT', retryable: false, details: { entry: newest } });
    }
    expect(await kv.history('k')).toEqual([newest, old]);
    const error: unknown = await kv.put('never', 'x', { ifVersion: old }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'CONFLICT', details: { entry: undefined } });
    expect(error).toMatchObject({
      message: expect.stringContaining('put "never" was not written: the key has no version'),
    });
  });

  it('shows a deletion as the newest entry of a CONFLICT', async () => {
    const old = await kv.put('k', 'v');
    const deleted = await kv.delete('k');
    await expect(kv.put('k', 'x', { ifVersion: old })).rejects.toMatchObject({ details: { entry: deleted } });
    await kv.put('k', 'again', { ifVersion: deleted });
    expect(await kv.get('k')).toMatchObject({ value: 'again' });
  });

  it('takes a deleted key for an absent one, and names the deletion, so that no late attempt can follow another one', async () => {
    await kv.put('k', 'v');
    const deleted = await kv.delete('k');
    requests.length = 0;
    await kv.put('k', 'again', { ifAbsent: true, timeoutMs: 5_000 });
    const positions = requests.map(({ payload }) => KvConditionalPut.decode(payload.bytes).follows);
    expect(positions).toEqual([undefined, { timestamp: deleted.version, id: deleted.id }]);
    expect(await kv.get('k')).toMatchObject({ value: 'again' });
    await expect(kv.put('k', 'x', { ifAbsent: true })).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  it('sees the keys of its prefix, and shows them without it', async () => {
    const prefixed = new KvStore({ ...deps, prefix: 'orders/' });
    const entry = await prefixed.put('k', 'v', { ifAbsent: true });
    expect(entry).toMatchObject({ key: 'k' });
    expect(await kv.get('orders/k')).toMatchObject({ value: 'v' });
    await expect(prefixed.put('k', 'x', { ifAbsent: true })).rejects.toMatchObject({ details: { entry } });
  });

  it('is a kind of request of its own, which is repeated under the next leader unless it is fenced', async () => {
    const token = await elect();
    const entry = await kv.put('k', 'v', { ifAbsent: true });
    await kv.put('k', 'w', { ifVersion: entry, fenced: token });
    expect(requests.map(({ type }) => type)).toEqual([KV_CONDITIONAL_PUT, KV_CONDITIONAL_PUT]);
    expect(requests[0]).not.toHaveProperty('maxReruns');
    expect(requests[1]).toMatchObject({ maxReruns: 0, name: 'put "k"' });
    await expect(kv.put('k', 'x', { ifAbsent: true, fenced: token - 1n })).rejects.toMatchObject({
      code: 'LEASE_LOST',
    });
  });

  it('refuses what is not one exact version, and conditions that exclude each other', async () => {
    const entry = await kv.put('k', 'v');
    requests.length = 0;
    const refused: object[] = [
      { ifVersion: undefined },
      { ifVersion: entry.version },
      { ifVersion: { version: entry.version } },
      { ifVersion: { version: 1, id: entry.id } },
      { ifVersion: entry, ifAbsent: true },
      { ifVersion: entry, append: false },
      { ifAbsent: true, append: false },
      { ifAbsent: 'yes' },
    ];
    for (const options of refused) {
      await expect(kv.put('k', 'x', options)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
    await expect(kv.put('k', 'x', { ifVersion: undefined })).rejects.toMatchObject({
      message: expect.stringContaining('set "ifAbsent" instead'),
    });
    expect(requests).toEqual([]);
    await kv.put('k', 'x', { ifAbsent: false });
  });
});

describe('KvStore.transaction', () => {
  it('writes all operations in one commit, checks keys without writing them, and returns the written entries', async () => {
    const settings = await kv.put('settings', 'on');
    const old = await kv.put('b', 'old');
    const [a, b, c] = await kv.transaction([
      { put: 'a', value: '1', ifAbsent: true },
      { check: 'settings', ifVersion: settings },
      { delete: 'b', ifVersion: old },
      { check: 'never', ifAbsent: true },
      { put: 'c', value: '3' },
    ]);
    expect([a, b, c]).toMatchObject([
      { key: 'a', value: '1' },
      { key: 'b', value: '', deleted: true },
      { key: 'c', value: '3' },
    ]);
    expect(new Set([a, b, c].map((entry) => entry?.version)).size).toBe(1);
    expect(await kv.getMany(['a', 'b', 'c', 'settings', 'never'])).toEqual([a, undefined, c, settings, undefined]);
    expect(await kv.history('b')).toEqual([b, old]);
  });

  it('writes nothing when one condition does not hold: CONFLICT has the keys, and the entries that are there', async () => {
    const [a, b] = [await kv.put('a', '1'), await kv.put('b', '1')];
    const newer = await kv.put('b', '2');
    const error: unknown = await kv
      .transaction([
        { put: 'a', value: 'x', ifVersion: a },
        { put: 'b', value: 'x', ifVersion: b },
        { check: 'never', ifVersion: a },
        { put: 'new', value: 'x' },
      ])
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'CONFLICT',
      retryable: false,
      details: { keys: ['b', 'never'], entries: [newer] },
      message: expect.stringContaining('the conditions of "b", "never" do not hold'),
    });
    expect(await kv.getMany(['a', 'b', 'new'])).toEqual([a, newer, undefined]);
  });

  it('takes deleted keys for absent ones, and names their deletions', async () => {
    await Promise.all([kv.put('a', 'v'), kv.put('b', 'v')]);
    const deleted = [await kv.delete('a'), await kv.delete('b')];
    requests.length = 0;
    const put = ['a', 'b', 'c'].map((key) => ({ put: key, value: 'again', ifAbsent: true }));
    await kv.transaction(put, { timeoutMs: 5_000 });
    const positions = requests.map(({ payload }) =>
      KvTransaction.decode(payload.bytes).items.map(({ condition }) => condition?.follows),
    );
    const named = deleted.map(({ version, id }) => ({ timestamp: version, id }));
    expect(positions).toEqual([
      [undefined, undefined, undefined],
      [...named, undefined],
    ]);
    await expect(kv.transaction(put)).rejects.toMatchObject({ details: { keys: ['a', 'b', 'c'] } });
  });

  it('leaves large entries out of a CONFLICT, and names their keys', async () => {
    const value = 'x'.repeat(600);
    const entries = [await kv.put('a', value), await kv.put('b', value), await kv.put('c', 'small')];
    const puts = ['a', 'b', 'c'].map((key) => ({ put: key, value: '', ifAbsent: true }));
    await expect(new KvStore({ ...deps, maxValueBytes: 10_000 }).transaction(puts)).rejects.toMatchObject({
      details: { keys: ['a', 'b', 'c'], entries: [entries[0], entries[2]] },
    });
  });

  it('gives its rows ids that are together in the order of commits, in the order of the operations', async () => {
    const many = new KvStore({ ...deps, maxValueBytes: 100_000 });
    const transactions = ['x', 'y'].map((name) => {
      const puts = Array.from({ length: 20 }, (_, i) => ({ put: `${name}/${19 - i}`, value: `${name} ${i}` }));
      return many.transaction(puts);
    });
    const [x = [], y = []] = await Promise.all(transactions);
    expect(x[0]?.version).toBe(y[0]?.version);
    const after = { timestamp: 0n, id: '', key: '' };
    const { entries } = await backend.log.changes({ prefix: '', exact: false, after, limit: 100 });
    expect(entries.map(({ value }) => value)).toEqual([...x, ...y].map(({ value }) => value));
  });

  it('sees the keys of its prefix, and shows them without it', async () => {
    const prefixed = new KvStore({ ...deps, prefix: 'orders/' });
    const [entry] = await prefixed.transaction([{ put: 'k', value: 'v' }]);
    expect(entry).toMatchObject({ key: 'k' });
    expect(await kv.get('orders/k')).toMatchObject({ value: 'v' });
    await expect(prefixed.transaction([{ put: 'k', value: 'x', ifAbsent: true }])).rejects.toMatchObject({
      details: { keys: ['k'], entries: [entry] },
    });
  });

  it('is a kind of request of its own, which is repeated under the next leader unless it is fenced', async () => {
    const token = await elect();
    const operations = [{ put: 'k', value: 'v' }];
    await kv.transaction(operations);
    await kv.transaction(operations, { fenced: token });
    expect(requests.map(({ type }) => type)).toEqual([KV_TRANSACTION, KV_TRANSACTION]);
    expect(requests[0]).not.toHaveProperty('maxReruns');
    expect(requests[1]).toMatchObject({ maxReruns: 0 });
    await expect(kv.transaction(operations, { fenced: token - 1n })).rejects.toMatchObject({ code: 'LEASE_LOST' });
  });

  it.each<[string, unknown]>([
    ['no list', { put: 'k', value: 'v' }],
    ['an empty list', []],
    ['more than 64 operations', Array.from({ length: 65 }, (_, i) => ({ put: String(i), value: '' }))],
    ['an operation without a call', [{ key: 'k', value: 'v' }]],
    ['an operation with two calls', [{ put: 'k', delete: 'k', value: 'v' }]],
    ['null', [null]],
    ['a put without a value', [{ put: 'k' }]],
    ['a deletion with a value', [{ delete: 'k', value: 'v' }]],
    ['a deletion of an absent key', [{ delete: 'k', ifAbsent: true }]],
    ['a check without a condition', [{ put: 'k', value: 'v' }, { check: 'l' }]],
    ['a check alone', [{ check: 'k', ifAbsent: true }]],
    ['two conditions', [{ put: 'k', value: 'v', ifAbsent: true, ifVersion: { version: 1n, id: 'a' } }]],
    ['a version without an id', [{ put: 'k', value: 'v', ifVersion: 1n }]],
    ['an undefined version', [{ put: 'k', value: 'v', ifVersion: undefined }]],
    ['a key twice', [{ put: 'k', value: 'v' }, { delete: 'k' }]],
    ['a reserved key', [{ put: '__hedge/secret/g', value: 'v' }]],
  ])('rejects %s, and sends nothing', async (_, operations) => {
    await expect(kv.transaction(operations as [])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(requests).toEqual([]);
  });

  it('rejects more bytes than one message holds, with both numbers', async () => {
    const puts = [1, 2, 3].map((n) => ({ put: `k${n}`, value: 'é'.repeat(100) }));
    expect(await kv.transaction(puts.slice(1))).toHaveLength(2);
    await expect(kv.transaction(puts)).rejects.toMatchObject({
      code: 'PAYLOAD_TOO_LARGE',
      details: { bytes: 3 * (2 + 200 + 160), maxBytes: MAX_VALUE },
    });
  });
});

const MINUTE = 60_000;

async function values(): Promise<string[]> {
  return (await kv.history('k')).map(({ value }) => value);
}

describe('KvStore.trim', () => {
  it('deletes the versions that are not among the newest, and ten minutes older than the newest one', async () => {
    const first = await kv.put('k', 'one');
    await kv.put('k', 'two');
    clock.advance(9 * MINUTE);
    await kv.put('k', 'three');
    clock.advance(MINUTE - 1);
    await kv.trim(await kv.put('k', 'four'), 2);
    expect(await values()).toEqual(['four', 'three', 'two', 'one']);
    clock.advance(MINUTE);
    const newest = await kv.put('k', 'five');
    await kv.trim(newest, 4);
    expect(await values()).toEqual(['five', 'four', 'three', 'two']);
    await kv.trim(newest, 2);
    expect(await values()).toEqual(['five', 'four', 'three']);
    await expect(kv.watch('k', { from: first }).next()).rejects.toMatchObject({ code: 'COMPACTED' });
  });

  it('leaves keys of other names, also in a store with a prefix', async () => {
    const prefixed = new KvStore({ ...deps, prefix: 'orders/' });
    for (const store of [kv, prefixed]) await store.put('k', 'one');
    clock.advance(11 * MINUTE);
    await kv.put('k', 'two');
    await prefixed.trim(await prefixed.put('k', 'two'), 1);
    expect(await values()).toEqual(['two', 'one']);
    expect(await prefixed.history('k')).toMatchObject([{ value: 'two', compacted: true }]);
  });
});

/** As the retention of the leader does it. */
function deleteOld(): Promise<number> {
  return backend.log.trim!({ key: 'a/1', keep: 1, limit: 9, record: { prefix: 'a/', leader: '' } });
}

describe('KvStore after retention has deleted versions', () => {
  it('history marks the oldest version that is left, where versions before it may be gone', async () => {
    await kv.put('a/1', 'one');
    const newest = await kv.put('a/1', 'two');
    const other = await kv.put('a/2', 'other');
    const apart = await kv.put('b', 'apart');
    expect(await kv.history('a/1', { limit: 2 })).toHaveLength(2);
    expect(await deleteOld()).toBe(1);
    const marked = { ...newest, compacted: true };
    expect(await kv.history('a/1')).toEqual([marked]);
    expect(JSON.stringify(await kv.history('a/1'))).toContain('"compacted":true');
    expect(await kv.history('a/1', { order: 'oldest-first', limit: 1 })).toEqual([marked]);
    expect(await kv.history('a/1', { limit: 1 })).toEqual([newest]);
    expect(await kv.history('a/2', { after: other.version - 1n })).toEqual([other]);
    expect(await kv.history('b')).toEqual([apart]);
    expect(await kv.get('a/1')).toEqual(newest);
  });

  it('W1 a watch from before them fails with COMPACTED, and details.from leads to what is left', async () => {
    const first = await kv.put('a/1', 'one');
    const second = await kv.put('a/1', 'two');
    const third = await kv.put('a/2', 'three');
    const apart = kv.watch('b', { from: new Date(0) });
    expect(await deleteOld()).toBe(1);
    for (const target of ['a/', '', 'a/1', { key: 'a/2' }]) {
      const error = await kv
        .watch(target, { from: new Date(0) })
        .next()
        .catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: 'COMPACTED', retryable: false });
      const { from } = (error as HedgeError).details as { from: KvVersion & { key: string } };
      const next = await kv.watch({ key: 'a/2' }, { from }).next();
      expect(next.value).toEqual(third);
    }
    await expect(kv.watch('a/', { from: first }).next()).rejects.toMatchObject({ code: 'COMPACTED' });
    await kv.put('b', 'b');
    expect((await apart.next()).value).toMatchObject({ value: 'b' });
    const last = await kv.put('a/1', 'last');
    expect((await kv.watch('a/1', { from: second }).next()).value).toEqual(last);
  });
});

describe('KvStore reads', () => {
  it('return undefined or an empty list for a key that was never put', async () => {
    expect(await kv.get('k')).toBeUndefined();
    expect(await kv.getJson('k')).toBeUndefined();
    expect(await kv.history('k')).toEqual([]);
  });

  it('return JSON values, and fail on other values', async () => {
    await kv.putJson('k', { total: 3 });
    expect(await kv.getJson<{ total: number }>('k')).toEqual({ total: 3 });
    await kv.put('k', 'plain');
    await expect(kv.getJson('k')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('offer the limits of the Go library: latest, all, oldest, n latest', async () => {
    for (const value of ['1', '2', '3']) await kv.put('k', value);
    const values = async (options: Parameters<KvStore['history']>[1]) =>
      (await kv.history('k', options)).map(({ value }) => value);
    expect((await kv.get('k'))?.value).toBe('3');
    expect(await values({ limit: Infinity })).toEqual(['3', '2', '1']);
    expect(await values({ limit: 1, order: 'oldest-first' })).toEqual(['1']);
    expect(await values({ limit: 2 })).toEqual(['3', '2']);
  });

  it.each(['newest-first', 'oldest-first'] as const)(
    'page through the versions of one commit, %s (K2)',
    async (order) => {
      const puts = Array.from({ length: 10 }, (_, index) => kv.put('k', String(index)));
      const written = await Promise.all(puts);
      expect(new Set(written.map(({ version }) => version)).size).toBe(1);
      const paged: string[] = [];
      for (;;) {
        const last = written.find(({ value }) => value === paged.at(-1));
        const cursor = last && (order === 'newest-first' ? { before: last } : { after: last });
        const page = await kv.history('k', { order, limit: 3, ...cursor });
        if (page.length === 0) break;
        paged.push(...page.map(({ value }) => value));
      }
      const expected = written.map(({ value }) => value);
      expect(paged).toEqual(order === 'newest-first' ? expected.reverse() : expected);
    },
  );

  it('accept dates and versions as bounds', async () => {
    const first = await kv.put('k', '1');
    const second = await kv.put('k', '2');
    expect(await kv.history('k', { before: second.version })).toEqual([first]);
    expect(await kv.history('k', { after: first.version })).toEqual([second]);
    expect(await kv.history('k', { after: JSON.parse(JSON.stringify(first)) as KvCursor })).toEqual([second]);
    expect(await kv.history('k', { after: String(first.version) })).toEqual([second]);
    expect(await kv.history('k', { before: first.timestamp })).toEqual([]);
    expect(await kv.history('k', { after: new Date(0) })).toHaveLength(2);
  });

  it.each([
    { limit: 0 },
    { limit: 1.5 },
    { limit: '3' as unknown as number },
    { before: new Date(NaN) },
    { after: 'yesterday' },
    { after: -1n },
    { before: { version: 1 } as unknown as Date },
    { order: 'up' as unknown as 'newest-first' },
  ])('reject %p', async (options) => {
    await expect(kv.history('k', options)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('see only keys with the prefix, and return them without it', async () => {
    await kv.put('a/1', 'outside');
    await kv.put('other', 'outside');
    const own = new KvStore({ ...deps, prefix: 'a/' });
    expect(await own.put('2', 'inside')).toMatchObject({ key: '2', value: 'inside' });
    expect(await own.get('1')).toMatchObject({ key: '1', value: 'outside' });
    expect(await own.history('2')).toMatchObject([{ key: '2', value: 'inside' }]);
    expect(await own.keys('')).toEqual(['1', '2']);
    expect(await own.keys('', { limit: 1, after: '1' })).toEqual(['2']);
    expect(await own.keys('2')).toEqual(['2']);
    expect(await own.get('other')).toBeUndefined();
    expect(await kv.get('a/2')).toMatchObject({ key: 'a/2', value: 'inside' });
    await expect(own.put('k'.repeat(MAX_KEY_BYTES - 1), 'v')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(own.get('__hedge/secret/g')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(new KvStore({ ...deps, prefix: '__hed' }).put('ge/x', 'v')).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
  });

  it('list keys without reading all reserved keys', async () => {
    const reserved = Array.from({ length: 5_000 }, (_, n) => `__hedge/expiry/g/${n}`);
    const rows = ['A', ...reserved, '__hedge0', 'b', 'c'].map((key) => ({ key, id: 'x', value: 'v', leader: '' }));
    await backend.log.append(rows);
    const calls = jest.spyOn(backend.log, 'keys');
    expect(await kv.keys('', { limit: 3 })).toEqual(['A', '__hedge0', 'b']);
    expect(await kv.keys('', { limit: 3, after: '__hedge/expiry/g/1' })).toEqual(['__hedge0', 'b', 'c']);
    expect((await kv.entries('', { limit: 2 })).map(({ key }) => key)).toEqual(['A', '__hedge0']);
    expect(calls).toHaveBeenCalledTimes(5);
    expect(await kv.keys('', { limit: Infinity })).toEqual(['A', '__hedge0', 'b', 'c']);
    expect(calls).toHaveBeenCalledTimes(7);
    expect(calls.mock.calls.every(([{ limit }]) => limit <= 5_000)).toBe(true);
  });

  it('list keys by prefix in pages, without the reserved keys', async () => {
    const reserved = ['__caller=a', '__hedge/secret/g', '__hedge/semaphore/s'];
    await backend.log.append(reserved.map((key) => ({ key, id: 'x', value: 'v', leader: '' })));
    for (const key of ['_a', 'a/2', 'a/1', 'b', '__b']) await kv.put(key, 'v');
    expect(await kv.keys('')).toEqual(['__b', '_a', 'a/1', 'a/2', 'b']);
    expect(await kv.keys('', { limit: 1 })).toEqual(['__b']);
    expect(await kv.keys('', { limit: 2, after: '__b' })).toEqual(['_a', 'a/1']);
    expect(await kv.keys('a/')).toEqual(['a/1', 'a/2']);
    await expect(kv.keys('__hedge/')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});
