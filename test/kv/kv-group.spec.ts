import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import { memory } from '../../libs/hedge/src/database/memory/index.js';
import { DEFAULT_GROUP_COMMIT_LIMITS } from '../../libs/hedge/src/kv/group-commit.messages.js';
import {
  GroupCommitter,
  KV_CONDITIONAL_PUT,
  KV_PUT,
  kvConditionalPutHandler,
  kvPutHandler,
} from '../../libs/hedge/src/kv/group-commit.runner.js';
import { StartGate } from '../../libs/hedge/src/common/async/start-gate.js';
import { KvStore } from '../../libs/hedge/src/kv/kv.store.js';
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

/** A pod that serves puts. All pods use one database, and its faults affect all of them. */
async function start(name: string, knowsConditions = true): Promise<TestPod> {
  const pod = await group.start(name);
  const address = (): string => pod.self.address;
  const limits = { ...DEFAULT_GROUP_COMMIT_LIMITS, retryMs: 100 };
  const committer = new GroupCommitter({ log: backend.log, clock: group.clock, lease: LEASE, address, limits });
  pod.messenger.serve(KV_PUT, kvPutHandler(committer, address));
  if (knowsConditions) pod.messenger.serve(KV_CONDITIONAL_PUT, kvConditionalPutHandler(committer, address));
  return pod;
}

const storeOf = ({ messenger, route }: TestPod): KvStore =>
  new KvStore({
    gate: StartGate.opened(),
    messenger,
    route,
    log: backend.log,
    clock: group.clock,
    defaultTimeoutMs: 10_000,
    maxValueBytes: 1_000,
  });

beforeEach(async () => {
  group = new TestGroup();
  faults = new BackendFaults();
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
    group.elect(await start('old', false));
    const entry = await kv.put('k', 'v');
    const refused = { code: 'NO_HANDLER', message: expect.stringContaining('Run the same version') };
    await expect(kv.put('k', 'w', { ifVersion: entry })).rejects.toMatchObject(refused);
    await expect(kv.put('other', 'w', { ifAbsent: true })).rejects.toMatchObject(refused);
    expect(await kv.get('k')).toEqual(entry);
    expect(await kv.get('other')).toBeUndefined();
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
