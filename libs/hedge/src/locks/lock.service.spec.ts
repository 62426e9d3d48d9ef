import { beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { LeaseTable } from '../database/lease-table.js';
import { lockName } from '../database/row-names.js';
import { memory, memoryDatabase } from '../database/memory/index.js';
import { HedgeError } from '../common/errors.js';
import { TIMING_PRESETS } from '../common/timing.js';
import { BackendFaults, faulty } from '../testing/faults.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import type { Lock } from './lock.js';
import { LockManager } from './lock.runner.js';
import { StartGate } from '../common/async/start-gate.js';
import { LockService } from './lock.service.js';

const timing = TIMING_PRESETS.local;

interface Pod {
  readonly manager: LockManager;
  readonly locks: LockService;
  readonly faults: BackendFaults;
  readonly calls: string[];
  readonly lines: string[];
}

const reasonOf = ({ lines }: Pod, lock: Lock): string => {
  expect(lock.isValid()).toBe(false);
  const { message } = lock.signal.reason as HedgeError;
  expect(lines).toContain(message);
  return message;
};

describe('LockService', () => {
  let clock: VirtualClock;
  let database: ReturnType<typeof memoryDatabase>;
  let pods: Pod[];

  const pod = (name: string): Pod => {
    const faults = new BackendFaults();
    const lines: string[] = [];
    const calls: string[] = [];
    const { lease } = faulty(memory({ database, clock }), faults, clock).create({ timeoutMs: 1_000 });
    const manager: LockManager = new LockManager({
      leases: counted(lease, calls),
      holder: () => ({ address: `${name}:1`, incarnation: name }),
      // Without a leader, each pod hears of each release.
      queue: {
        wait: () => undefined,
        leave: () => undefined,
        released: (lock, token) => {
          for (const other of pods) if (other.manager !== manager) other.manager.releasedElsewhere(lock, token);
        },
      },
      clock,
      group: 'test',
      timing,
      // Of jitter: an unlucky sequence of pauses outlasts the deadline of a renewal.
      random: () => 0.5,
      logger: { log: (line) => void lines.push(line), warn: (line) => void lines.push(line) },
    });
    const locks = new LockService({ gate: StartGate.opened(), manager: manager, clock, defaultTimeoutMs: 10_000 });
    const made = { manager, locks, faults, calls, lines };
    pods.push(made);
    return made;
  };
  /** Small steps, so that promises settle between timers. */
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 50) await clock.advanceAsync(Math.min(50, ms - passed));
  };
  /** The state of a promise after that time. */
  const after = async <Result>(ms: number, promise: Promise<Result>): Promise<Result> => {
    let settled = false;
    void promise.catch(() => undefined).finally(() => (settled = true));
    await pass(ms);
    if (!settled) throw new Error(`not settled after ${ms} ms`);
    return promise;
  };

  beforeEach(() => {
    clock = new VirtualClock();
    database = memoryDatabase({ clock });
    pods = [];
  });

  it('runs a function under the lock, with its token and signal, and returns its result', async () => {
    const { locks } = pod('a');
    let seen: Lock | undefined;
    const result = await after(
      50,
      locks.use('one', async (lock) => {
        const { isValid, signal, fencingToken } = lock;
        seen = lock;
        expect([isValid(), signal.aborted, fencingToken > 0n]).toEqual([true, false, true]);
        return 'done';
      }),
    );
    expect(result).toBe('done');
    expect(seen?.isValid()).toBe(false);
    expect(seen?.signal.aborted).toBe(false);
    expect(await after(50, locks.holder('one'))).toBeUndefined();
  });

  it.each([
    [
      'throws',
      () => {
        throw new Error('broken');
      },
    ],
    ['rejects', () => Promise.reject(new Error('broken'))],
  ])('releases the lock when the function %s', async (_, run) => {
    const { locks } = pod('a');
    await expect(after(50, locks.use('one', {}, run))).rejects.toThrow('broken');
    expect(
      await after(
        50,
        locks.tryUse('one', () => 'free'),
      ),
    ).toEqual({ ran: true, result: 'free' });
  });

  it('L1: never runs two at once, over pods and within each, and tokens rise', async () => {
    let running = 0;
    const tokens: bigint[] = [];
    const work = [pod('a'), pod('b'), pod('c')].flatMap(({ locks }) =>
      Array.from({ length: 5 }, () =>
        locks.use('one', { timeoutMs: Infinity }, async ({ fencingToken }) => {
          running += 1;
          expect(running).toBe(1);
          tokens.push(fencingToken);
          await new Promise<void>((resolve) => void clock.after(20, resolve));
          running -= 1;
        }),
      ),
    );
    await after(10_000, Promise.all(work));
    expect(tokens).toHaveLength(15);
    expect(tokens).toEqual([...tokens].sort((a, b) => Number(a - b)));
  });

  it('a waiting pod acquires a lock at once when it is released', async () => {
    const [a, b] = [pod('a'), pod('b')];
    const held = await after(50, a.locks.acquire('one'));
    const waiting = b.locks.acquire('one', { timeoutMs: 60_000 });
    await pass(1_000);
    await after(50, held.release());
    expect((await after(50, waiting)).fencingToken).toBeGreaterThan(held.fencingToken);
  });

  it('L4: another pod acquires the lock of a dead holder once its lease has expired', async () => {
    const [a, b] = [pod('a'), pod('b')];
    const held = await after(50, a.locks.acquire('one'));
    const waiting = b.locks.acquire('one', { timeoutMs: 60_000 });
    await pass(4_000);
    a.faults.outage = true; // for the database the pod is dead
    const next = await after(5_000, waiting);
    expect(next.fencingToken).toBeGreaterThan(held.fencingToken);
    expect([held.isValid(), next.isValid()]).toEqual([false, true]);
  });

  it('L2, L3: a lock that cannot be renewed is lost before its lease ends, finally, and its signal aborts', async () => {
    const { locks, faults, lines } = pod('a');
    const held = await after(50, locks.acquire('one'));
    await pass(1_000);
    const order: unknown[] = [];
    held.signal.addEventListener('abort', () => order.push(held.isValid()));
    faults.outage = true;
    await pass(2_500);
    expect(order).toEqual([false]);
    expect(held.signal.reason).toMatchObject({ code: 'LEASE_LOST' });
    expect(lines.join('\n')).toMatch(/Lock "one" is lost: the last renewal failed: \S/);
    faults.outage = false;
    await pass(5_000);
    expect(held.isValid()).toBe(false);
    await after(50, held.release());
  });

  it('L2: isValid() is false right after the process stalled, and a clock that is set back does not revive the lock', async () => {
    const { locks } = pod('a');
    const held = await after(50, locks.acquire('one'));
    clock.jumpWall(2_700);
    expect(held.isValid()).toBe(false);
    clock.jumpWall(-2_700);
    expect(held.isValid()).toBe(false);
    expect(held.signal.reason).toMatchObject({ code: 'LEASE_LOST' });
  });

  it('L3: a lock that was found expired stays so, although the wall clock was set back right after the reading', async () => {
    const { locks } = pod('a');
    const held = await after(50, locks.acquire('one'));
    const { mono, wall } = clock.now();
    jest.spyOn(clock, 'now').mockReturnValueOnce({ mono, wall: wall + 2_700 });
    expect(held.isValid()).toBe(false);
    expect(held.isValid()).toBe(false);
    expect(held.signal.reason).toMatchObject({ code: 'LEASE_LOST' });
  });

  describe('names the cause of a lost lock, in its signal and in the log', () => {
    it('a failed database call, with its error', async () => {
      const one = pod('a');
      const held = await after(50, one.locks.acquire('one'));
      one.faults.each(() => ({ fails: 'before-effect' }));
      await pass(3_000);
      expect(reasonOf(one, held)).toMatch(
        /^Lock "one" is lost: the last renewal failed: Planned fault: lease\.renewAll/,
      );
    });

    it('the failure of its own renewal, not of another call', async () => {
      const one = pod('a');
      const held = await after(50, one.locks.acquire('one'));
      one.faults.each((call) => (call === 'lease.acquire' ? { fails: 'before-effect' } : undefined));
      void one.locks.acquire('two', { timeoutMs: 500 }).catch(() => undefined);
      await pass(1_000);
      clock.block(4_000);
      expect(reasonOf(one, held)).toContain('the event loop was blocked');
    });

    it('a database that is slower than backendTimeoutMs, which `timing` sets', async () => {
      const one = pod('a');
      const held = await after(50, one.locks.acquire('one'));
      one.faults.each(() => ({ delayMs: 5_000 }));
      await pass(3_000);
      expect(reasonOf(one, held)).toMatch(/did not answer within 1000 ms \(backendTimeoutMs\).*`timing`/);
    });

    it('a blocked event loop, with the duration', async () => {
      const one = pod('a');
      const held = await after(50, one.locks.acquire('one'));
      await pass(100);
      clock.block(4_000);
      const [, blockedMs] = /the event loop was blocked for (\d+) ms/.exec(reasonOf(one, held)) ?? [];
      expect(Number(blockedMs)).toBeGreaterThan(2_700);
    });

    it('a jump of the wall clock, with its size', async () => {
      const one = pod('a');
      const held = await after(50, one.locks.acquire('one'));
      await pass(100);
      clock.jumpWall(3_600_000);
      expect(reasonOf(one, held)).toContain('the wall clock jumped 3600000 ms ahead');
    });
  });

  it('renews 300 locks by one call per third of a lease, whenever they were acquired', async () => {
    const { locks, calls } = pod('a');
    const held: Lock[] = [];
    for (let n = 0; n < 300; n += 1) {
      void locks.acquire(`lock ${n}`).then((lock) => held.push(lock));
      await clock.advanceAsync(7);
    }
    await pass(1_000);
    expect(held).toHaveLength(300);
    calls.length = 0;
    await pass(4 * timing.leaseMs);
    expect(held.every(({ isValid }) => isValid())).toBe(true);
    expect(new Set(calls)).toEqual(new Set(['renewAll']));
    expect(calls.length).toBeGreaterThanOrEqual(11);
    expect(calls.length).toBeLessThanOrEqual(13);
  });

  it('retries 300 failed renewals together', async () => {
    const { locks, calls, faults } = pod('a');
    const held = await after(100, Promise.all(Array.from({ length: 300 }, (_, n) => locks.acquire(`lock ${n}`))));
    calls.length = 0;
    faults.outage = true;
    await pass(1_600);
    expect(calls.length).toBeGreaterThan(2);
    expect(calls.length).toBeLessThan(12);
    faults.outage = false;
    await pass(1_000);
    expect(held.every(({ isValid }) => isValid())).toBe(true);
  });

  it('acquires and releases many locks with a bounded number of concurrent calls', async () => {
    const { locks, faults, manager, calls } = pod('a');
    let [running, most] = [0, 0];
    faults.each(() => {
      running += 1;
      most = Math.max(most, running);
      clock.after(20, () => (running -= 1));
      return { delayMs: 20 };
    });
    await after(400, Promise.all(Array.from({ length: 200 }, (_, n) => locks.acquire(`lock ${n}`))));
    expect(most).toBe(32);
    faults.each(() => ({ delayMs: 700 }));
    const late = await after(5_500, Promise.all(Array.from({ length: 200 }, (_, n) => locks.acquire(`late ${n}`))));
    expect(late.every(({ isValid }) => isValid())).toBe(true);
    faults.each(() => ({ delayMs: 20 }));
    calls.length = 0;
    await after(800, manager.close());
    expect(calls).toEqual(Array.from({ length: 400 }, () => 'release'));
  });

  it('many waiting callers of one pod cost the reads of one', async () => {
    const [a, b, c] = [pod('a'), pod('b'), pod('c')];
    await after(50, a.locks.acquire('one'));
    void b.locks.acquire('one', { timeoutMs: Infinity });
    for (let n = 0; n < 100; n += 1) void c.locks.acquire('one', { timeoutMs: Infinity });
    await pass(10_000);
    expect(c.calls.length).toBeLessThan(1.3 * b.calls.length);
  });

  it('tries once with timeoutMs 0 while another pod, or another caller of this pod, holds the lock', async () => {
    const [a, b] = [pod('a'), pod('b')];
    const held = await after(50, a.locks.acquire('one'));
    expect(await after(50, b.locks.tryAcquire('one'))).toBeUndefined();
    expect(await after(50, a.locks.tryAcquire('one'))).toBeUndefined();
    expect(
      await after(
        50,
        b.locks.tryUse('one', () => 1),
      ),
    ).toEqual({ ran: false });
    await expect(after(50, b.locks.acquire('one', { timeoutMs: 0 }))).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
    });
    await after(50, held.release());
    expect(await after(50, b.locks.tryAcquire('one'))).toBeDefined();
  });

  it('names the holder of a lock that was not free in time', async () => {
    const [a, b] = [pod('a'), pod('b')];
    await after(50, a.locks.acquire('one'));
    await expect(after(600, b.locks.acquire('one', { timeoutMs: 500 }))).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
      retryable: true,
      details: { lock: 'one', timeoutMs: 500, holder: 'a:1' },
    });
    const holder = await after(50, b.locks.holder('one'));
    expect(holder).toMatchObject({ member: { address: 'a:1', incarnation: 'a' }, fencingToken: expect.any(BigInt) });
    expect(JSON.parse(JSON.stringify(holder))).toMatchObject({ fencingToken: String(holder?.fencingToken) });
    const again = b.calls.length;
    await pass(5_000);
    expect(b.calls).toHaveLength(again); // no caller waits
  });

  it('reports that the database does not answer rather than that the lock is held', async () => {
    const { locks, faults } = pod('a');
    faults.outage = true;
    await expect(after(600, locks.acquire('one', { timeoutMs: 500 }))).rejects.toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
    });
    await expect(after(600, locks.tryAcquire('two'))).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    await expect(after(600, locks.holder('one'))).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
  });

  it('stops waiting when the signal aborts, and calls nothing if it has aborted before', async () => {
    const [a, b] = [pod('a'), pod('b')];
    await after(50, a.locks.acquire('one'));
    const scope = new AbortController();
    const waiting = b.locks.acquire('one', { timeoutMs: Infinity, signal: scope.signal });
    scope.abort(new Error('enough'));
    await expect(after(50, waiting)).rejects.toThrow('enough');
    const calls = b.calls.length;
    await expect(b.locks.use('two', { signal: scope.signal }, hang)).rejects.toThrow('enough');
    expect(b.calls).toHaveLength(calls);
  });

  it('a second release, or one after a loss, does not affect the next holder', async () => {
    const [a, b] = [pod('a'), pod('b')];
    const first = await after(50, a.locks.acquire('one'));
    await after(50, first.release());
    const second = await after(50, b.locks.acquire('one'));
    await after(50, first.release());
    const third = a.locks.acquire('one', { timeoutMs: Infinity });
    await after(50, first.release());
    await pass(5_000);
    expect(second.isValid()).toBe(true);
    await after(50, second.release());
    expect((await after(50, third)).isValid()).toBe(true);
  });

  it('a late answer to a cancelled caller does not affect the next holder', async () => {
    const [a, b] = [pod('a'), pod('b')];
    const first = await after(50, a.locks.acquire('one'));
    const scope = new AbortController();
    b.faults.once('lease.read', { delayMs: 800 });
    const waiting = b.locks.acquire('one', { signal: scope.signal });
    void waiting.catch(() => undefined);
    await pass(600);
    expect(b.calls).toEqual(['acquire', 'read']);
    scope.abort();
    await after(50, first.release());
    const held = await after(50, b.locks.acquire('one'));
    await pass(2 * timing.leaseMs);
    expect(held.isValid()).toBe(true);
  });

  it('releases a lock at the end of `await using`', async () => {
    const { locks } = pod('a');
    const held = await after(50, locks.acquire('one'));
    await after(50, held[Symbol.asyncDispose]());
    expect(await after(50, locks.tryAcquire('one'))).toBeDefined();
  });

  it('rejects new acquisitions and keeps held locks while it stops, and releases all at once when it closes', async () => {
    const [a, b] = [pod('a'), pod('b')];
    const held = await after(50, Promise.all(['one', 'two', 'three'].map((name) => a.locks.acquire(name))));
    const waitsHere = a.locks.acquire('one');
    const waitsThere = b.locks.acquire('two', { timeoutMs: Infinity });
    await pass(100);
    a.manager.drain();
    await expect(after(50, waitsHere)).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
    await expect(after(50, a.locks.acquire('four'))).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
    await expect(after(50, a.locks.tryAcquire('four'))).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
    await pass(2 * timing.leaseMs);
    expect(held.map(({ isValid }) => isValid())).toEqual([true, true, true]);

    await after(50, a.manager.close());
    expect(held.map(({ isValid }) => isValid())).toEqual([false, false, false]);
    expect(held[0]?.signal.reason).toMatchObject({ code: 'SHUTTING_DOWN' });
    expect((await after(50, waitsThere)).isValid()).toBe(true);
    expect(await after(50, b.locks.tryAcquire('one'))).toBeDefined();
  });

  it('closes in time when the database does not answer', async () => {
    const { locks, manager, faults } = pod('a');
    await after(50, locks.acquire('one'));
    faults.outage = true;
    await after(timing.backendTimeoutMs, manager.close());
  });

  it('L1: releases a lock whose acquisition was in flight when the pod closed', async () => {
    const [a, b] = [pod('a'), pod('b')];
    a.faults.once('lease.acquire', { delayMs: 200 });
    const waiting = a.locks.acquire('one');
    void waiting.catch(() => undefined);
    await after(500, a.manager.close());
    await expect(waiting).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
    expect(await after(50, b.locks.tryAcquire('one'))).toBeDefined();
  });

  it.each([
    ['an empty name', ''],
    ['no name', undefined],
    ['a reserved name', '__hedge/semaphore/x'],
    ['a name with a NUL', 'a\0b'],
    ['a name too long for the key', 'x'.repeat(4_001)],
  ])('rejects %s', async (_, name) => {
    const { locks, calls } = pod('a');
    for (const refused of [
      locks.acquire(name as string),
      locks.tryAcquire(name as string),
      locks.use(name as string, hang),
      locks.tryUse(name as string, hang),
      locks.holder(name as string),
    ]) {
      await expect(refused).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
    expect(calls).toEqual([]);
  });

  it.each([
    ['a negative time', { timeoutMs: -1 }],
    ['a time that is none', { timeoutMs: Number.NaN }],
    ['a text for a time', { timeoutMs: '5' as unknown as number }],
    ['a signal that is none', { signal: {} as AbortSignal }],
  ])('rejects %s', async (_, options) => {
    const { locks, calls } = pod('a');
    await expect(locks.acquire('one', options)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(locks.use('one', options, undefined as unknown as () => void)).rejects.toBeInstanceOf(HedgeError);
    expect(calls).toEqual([]);
  });

  it('keeps the locks of two groups apart, whatever their names', () => {
    const pairs = [
      ['a', 'b/c'],
      ['a/b', 'c'],
      ['a%2Fb', 'c'],
      ['a%2fb', 'c'],
    ] as const;
    expect(new Set(pairs.map(([group, name]) => lockName(group, name))).size).toBe(4);
  });
});

const hang = (): Promise<never> => new Promise(() => undefined);

/** Records the name of each call. */
function counted(leases: LeaseTable, calls: string[]): LeaseTable {
  return new Proxy(leases, {
    get(target, name: keyof LeaseTable) {
      const value = target[name];
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        calls.push(name);
        return (value as (...args: unknown[]) => unknown).apply(target, args);
      };
    },
  });
}
