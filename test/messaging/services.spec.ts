import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { View } from '../../libs/hedge/src/membership/view.js';
import { ClusterService, type ClusterView } from '../../libs/hedge/src/membership/cluster.service.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { StartGate } from '../../libs/hedge/src/common/async/start-gate.js';
import { LeaderService } from '../../libs/hedge/src/election/leader.service.js';
import type { LeaderElector } from '../../libs/hedge/src/election/leader-elector.runner.js';
import { SILENT } from '../../libs/hedge/src/common/line-logger.js';
import { PayloadCodec } from '../../libs/hedge/src/messaging/serializer.js';
import type { StreamCaller } from '../../libs/hedge/src/streams/stream-caller.js';
import { gate, TestGroup, type TestPod } from './group.js';

declare module '../../libs/hedge/src/messaging/topics.js' {
  interface HedgeTopics {
    'test.declared': { data: { qty: number }; reply: { total: number } };
  }
}

/** The view of one pod. The test decides it. */
class TestViews {
  view: View | undefined;
  settled = false;
  readonly #listeners = new Set<() => void>();

  set(leader: MemberId, members: readonly MemberId[], settled = true): void {
    const version = (this.view?.version ?? 0) + 1;
    const all = members.map(({ address, incarnation }) => ({ address, incarnation, confirmed: true }));
    this.view = { epoch: 1_792_000_000_000_000_000n, version, settled, leader, members: all };
    this.settled = settled;
    for (const listener of this.#listeners) listener();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

let group: TestGroup;
let a: TestPod;
let b: TestPod;
let c: TestPod;
let views: TestViews;
let cluster: ClusterService;
let leader: LeaderService;

beforeEach(async () => {
  ({ group, a, b, c } = await TestGroup.ofThree());
  views = new TestViews();
  const { clock } = group;
  const streams = {} as StreamCaller;
  const shared = {
    gate: StartGate.opened(),
    messenger: a.messenger,
    streams,
    codec: new PayloadCodec(),
    clock,
    defaultTimeoutMs: 1_000,
  };
  cluster = new ClusterService({ ...shared, transport: a.transport, membership: views });
  // These tests use only the part of the election that the route also has.
  leader = new LeaderService({
    ...shared,
    elector: a.route as unknown as LeaderElector,
    maxReruns: 1,
    retryMs: 100,
    leaseMs: 3_000,
    logger: SILENT,
  });
});

afterEach(() => group.close());

const everybody = (): MemberId[] => [a.self, b.self, c.self];

describe('ClusterService.broadcast', () => {
  beforeEach(() => views.set(b.self, everybody()));

  it('runs at every member of the view including this one, and returns the outcome of each', async () => {
    b.handler = () => 'from b';
    c.handler = () => {
      throw new Error('cache is gone');
    };
    const broadcast = cluster.broadcast<string>('flush', 'x');
    await group.pass();
    const results = await broadcast;
    expect(broadcast.settled).toBe(true);
    expect(results).toMatchObject([
      { member: a.self, value: 'x' },
      { member: b.self, value: 'from b' },
      { member: c.self, error: { code: 'HANDLER_FAILED', message: 'cache is gone' } },
    ]);
    expect(JSON.parse(JSON.stringify(results))).toEqual([
      { member: a.self, value: 'x', ms: expect.any(Number) },
      { member: b.self, value: 'from b', ms: expect.any(Number) },
      { member: c.self, error: expect.objectContaining({ code: 'HANDLER_FAILED' }), ms: expect.any(Number) },
    ]);
  });

  it('distinguishes members that were not reached, that may have run it, and that timed out', async () => {
    b.handler = () => new Promise(() => undefined);
    c.handler = () => new Promise(() => undefined);
    const d = { address: 'd:1', incarnation: 'never-started' };
    views.set(b.self, [...everybody(), d]);
    const broadcast = cluster.broadcast('flush', 'x', { timeoutMs: 500 });
    await group.pass();
    group.network.kill(c.self);
    await group.pass(600);
    expect((await broadcast).map(({ error, value }) => error?.code ?? value)).toEqual([
      'x',
      'DEADLINE_EXCEEDED',
      'OUTCOME_UNKNOWN',
      'MEMBER_UNREACHABLE',
    ]);
  });

  it('does not wait for a member that leaves the view and has no link', async () => {
    c.handler = () => new Promise(() => undefined);
    const broadcast = cluster.broadcast('flush', 'x', { timeoutMs: 60_000 });
    await group.pass();
    group.network.kill(c.self);
    await group.pass(20);
    views.set(b.self, [a.self, b.self]);
    expect((await broadcast).map(({ error }) => error?.code)).toEqual([undefined, undefined, 'OUTCOME_UNKNOWN']);
  });

  it('yields the results as they arrive, also to a caller that stops early', async () => {
    const slow = gate<string>();
    const slower = gate<string>();
    a.handler = () => slower.opened;
    b.handler = () => slow.opened;
    const broadcast = cluster.broadcast<string>('flush');
    const arrived: string[] = [];
    const iteration = (async () => {
      for await (const { member } of broadcast) {
        arrived.push(member.address);
        if (arrived.length === 2) break;
      }
    })();
    await group.pass();
    expect(arrived).toEqual(['c:1']);
    slow.open('slow');
    await group.pass();
    await iteration;
    expect(arrived).toEqual(['c:1', 'b:1']);
    slower.open('slower');
    await group.pass();
    expect((await broadcast).map(({ value }) => value)).toEqual(['slower', 'slow', undefined]);
  });

  it('can skip this pod, or address only the given members', async () => {
    const skipped = cluster.broadcast('flush', 1, { skipSelf: true });
    const some = cluster.broadcast('flush', 2, { only: ['c:1', b.self, 'd:1'] });
    await group.pass();
    expect((await skipped).map(({ member }) => member)).toEqual([b.self, c.self]);
    expect(await some).toMatchObject([
      { member: c.self, value: 2 },
      { member: b.self, value: 2 },
      { member: { address: 'd:1' }, error: { code: 'MEMBER_UNREACHABLE' } },
    ]);
    expect(a.ran).toEqual([]);
  });

  it('asks a member once, however often the list names it', async () => {
    const broadcast = cluster.broadcast('flush', 1, { only: ['c:1', c.self, 'c:1', 'd:1', 'd:1'] });
    await group.pass();
    expect((await broadcast).map(({ member }) => member.address)).toEqual(['c:1', 'd:1']);
    expect(c.ran).toHaveLength(1);
  });

  it('encodes the data once for all', async () => {
    let times = 0;
    const counted = { toJSON: () => (times += 1) };
    const broadcast = cluster.broadcast('flush', counted);
    await group.pass();
    await broadcast;
    expect(times).toBe(1);
  });

  it('rejects invalid arguments at once, for callers that await and for callers that iterate', async () => {
    for (const [topic, data] of [['x'.repeat(257), 1] as const, ['flush', 1n] as const]) {
      await expect(cluster.broadcast(topic, data)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
      const iteration = cluster.broadcast(topic, data)[Symbol.asyncIterator]();
      await expect(iteration.next()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
  });

  it.each([
    [{ timeoutMs: 0 }, "timeoutMs of broadcast 'flush' is 0."],
    [{ only: 'b:1' as never }, "only of broadcast 'flush' is not a list"],
    [{ only: [7 as never] }, "only of broadcast 'flush' is not a list"],
  ])('refuses %o as a whole, and asks no member', async (options, message) => {
    await expect(cluster.broadcast('flush', 1, options)).rejects.toThrow(message);
    expect(c.ran).toEqual([]);
  });

  it('rejects with the reason of the signal', async () => {
    b.handler = () => new Promise(() => undefined);
    const scope = new AbortController();
    const broadcast = cluster.broadcast('flush', 1, { signal: scope.signal });
    await group.pass();
    scope.abort(new Error('enough'));
    await expect(broadcast).rejects.toThrow('enough');
    await group.pass();
    expect(b.ran[0]?.signal.aborted).toBe(true);
  });

  it('reports that the view was not settled', async () => {
    views.set(b.self, [a.self], false);
    const broadcast = cluster.broadcast('flush');
    await group.pass();
    expect(broadcast.settled).toBe(false);
    expect(await broadcast).toHaveLength(1);
  });
});

describe('ClusterService', () => {
  it('has an empty view at first, then the latest one, whose epoch is a string of digits in JSON', () => {
    expect(cluster.view).toEqual({ epoch: 0n, version: 0, settled: false, leader: undefined, members: [] });
    views.set(b.self, everybody());
    expect(cluster.members().map(({ address }) => address)).toEqual(['a:1', 'b:1', 'c:1']);
    expect(JSON.parse(JSON.stringify(cluster.view))).toMatchObject({
      epoch: '1792000000000000000',
      version: 1,
      settled: true,
      leader: b.self,
    });
    expect(cluster.self).toBe(a.self);
  });

  it('rejects a broadcast with NO_LEADER until the pod has a view', async () => {
    await expect(cluster.broadcast('flush')).rejects.toMatchObject({ code: 'NO_LEADER', retryable: true });
  });

  it('emits the present view, and each later one', () => {
    const seen: ClusterView[] = [];
    const early = cluster.changes$.subscribe((view) => seen.push(view));
    expect(seen).toEqual([]);
    views.set(b.self, [a.self]);
    const late = cluster.changes$.subscribe((view) => seen.push(view));
    early.unsubscribe();
    views.set(b.self, everybody());
    late.unsubscribe();
    views.set(b.self, [a.self]);
    expect(seen.map(({ version }) => version)).toEqual([1, 1, 2]);
  });
});

describe('LeaderService', () => {
  it('sends to the leader, with the default timeout', async () => {
    b.handler = (data) => ({ got: data });
    const reply = leader.send('price', { qty: 2 });
    await group.pass();
    await expect(reply).resolves.toEqual({ got: { qty: 2 } });
    expect(b.ran).toMatchObject([{ topic: 'price', timeoutMs: 1_000 }]);
  });

  it('checks the types of a declared topic: the type check of the repository verifies the errors expected here', async () => {
    views.set(b.self, everybody());
    // Replies with a number also for data of the wrong type.
    b.handler = (data) => ({ total: (data as { qty: number }).qty * 3 || 0 });
    const declared = leader.send('test.declared', { qty: 2 });
    // @ts-expect-error its data is an object with a number
    const wrongData = leader.send('test.declared', 'two');
    const undeclared = leader.send<{ total: number }>('test.other', { qty: 3 });
    await group.pass();
    const { total }: { total: number } = await declared;
    expect([total, (await undeclared).total]).toEqual([6, 9]);
    await wrongData;
    const untyped = leader.send('test.other', { qty: 1 });
    await group.pass();
    // @ts-expect-error an undeclared topic without a type replies with unknown
    expect((await untyped).total).toBe(3);
    // @ts-expect-error the same types hold for broadcasts
    await cluster.broadcast('test.declared', { qty: 'two' });
  });

  it('accepts a timeout, a signal, and the default topic', async () => {
    const reply = leader.send('', undefined, { timeoutMs: 7 });
    await group.pass();
    await expect(reply).resolves.toBeUndefined();
    expect(b.ran).toMatchObject([{ topic: '', timeoutMs: 7 }]);
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(leader.send('', undefined, { signal })).rejects.toThrow('enough');
  });

  it.each([['x'.repeat(257)], [7 as unknown as string]])('refuses an invalid topic', async (topic) => {
    await expect(leader.send(topic)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it.each([
    [{ timeoutMs: Number.NaN }, "timeoutMs of send 'price' is NaN."],
    [{ timeoutMs: -1 }, "timeoutMs of send 'price' is -1."],
    [{ timeoutMs: 2 ** 32 }, 'at most 4294967295'],
    [{ timeoutMs: '5' as never }, "is the text '5'."],
    [{ signal: 'now' as never }, "signal of send 'price' is not an AbortSignal."],
  ])('refuses %o, and says which values are valid', async (options, message) => {
    await expect(leader.send('price', 1, options)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining(message),
    });
  });

  it('refuses data that the serializer cannot encode', async () => {
    await expect(leader.send('price', 1n)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('emits the known leader, and each change', () => {
    const seen: (string | undefined)[] = [];
    const subscription = leader.changes$.subscribe((member) => seen.push(member?.address));
    group.elect(c);
    group.elect(undefined);
    subscription.unsubscribe();
    group.elect(a);
    expect(seen).toEqual(['b:1', 'c:1', undefined]);
    expect(leader.leader()).toEqual(a.self);
  });
});
