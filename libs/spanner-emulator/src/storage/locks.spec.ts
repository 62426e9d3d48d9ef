import { beforeEach, describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { FULL_RANGE, pointRange, prefixRange } from './key-encoding.js';
import { ALL_COLUMNS, columnMask, LockSpace, LockTable, type LockOwner, type LockRequest } from './locks.js';

const settled = async (promise: Promise<void> | undefined): Promise<string> => {
  // A release grants locks in a microtask. Two turns are enough to see it.
  const turns = new Promise<string>((resolve) => setImmediate(() => setImmediate(() => resolve('waiting'))));
  const outcome = (promise ?? Promise.resolve()).then(
    () => 'granted',
    () => 'rejected',
  );
  return Promise.race([outcome, turns]);
};

describe('LockTable', () => {
  let locks: LockTable;
  let space: LockSpace;

  beforeEach(() => {
    locks = new LockTable(1_000);
    space = new LockSpace();
  });

  const owner = (age: number, idleSince?: number) => {
    const self = {
      age,
      idleSince,
      wounded: false,
      wound: () => {
        self.wounded = true;
        locks.release(self, new Error('wounded'));
      },
    };
    return self satisfies LockOwner;
  };
  const request = (exclusive: boolean, range = pointRange('k'), columns = ALL_COLUMNS): LockRequest => ({
    space,
    range,
    columns,
    exclusive,
  });
  it('grants shared locks to readers, and none to a writer meanwhile', async () => {
    const [a, b, c] = [owner(1), owner(2), owner(3)];
    expect(locks.acquire(a, [request(false)])).toBeUndefined();
    expect(locks.acquire(b, [request(false)])).toBeUndefined();
    const waiting = locks.acquire(c, [request(true)]);
    locks.release(a, new Error('done'));
    expect(await settled(waiting)).toBe('waiting');
    locks.release(b, new Error('done'));
    expect(await settled(waiting)).toBe('granted');
  });

  it('lets owners that lost their locks before read one after another, the oldest first', async () => {
    const retry = (age: number) => Object.assign(owner(age), { queues: true });
    const [first, second, third, reader] = [retry(2), retry(3), retry(4), owner(1)];
    expect(locks.acquire(reader, [request(false)])).toBeUndefined();
    expect(locks.acquire(first, [request(false)])).toBeUndefined();
    expect(locks.acquire(owner(5), [request(false)])).toBeUndefined();
    const elsewhere = locks.acquire(second, [request(false, pointRange('other'))]);
    expect(elsewhere).toBeUndefined();
    const waiting = [third, second].map((one) => locks.acquire(one, [request(false)]));
    expect(await Promise.all(waiting.map(settled))).toEqual(['waiting', 'waiting']);
    locks.release(first, new Error('done'));
    expect(await Promise.all(waiting.map(settled))).toEqual(['waiting', 'granted']);
    locks.release(second, new Error('done'));
    expect(await settled(waiting[0])).toBe('granted');
    expect([first, second, third, reader].map(({ wounded }) => wounded)).toEqual([false, false, false, false]);
  });

  it('lets an older owner wound a younger one, and a younger one wait for an older one', async () => {
    const [old, young] = [owner(1), owner(2)];
    expect(locks.acquire(young, [request(true)])).toBeUndefined();
    expect(locks.acquire(old, [request(true)])).toBeUndefined();
    expect(young.wounded).toBe(true);
    const other = owner(3);
    const waiting = locks.acquire(other, [request(false)]);
    expect(await settled(waiting)).toBe('waiting');
    expect(other.wounded).toBe(false);
    locks.release(old, new Error('done'));
    expect(await settled(waiting)).toBe('granted');
  });

  it('rejects the waiting requests of a released owner', async () => {
    const [old, young] = [owner(1), owner(2)];
    expect(locks.acquire(old, [request(true)])).toBeUndefined();
    const waiting = locks.acquire(young, [request(true)]);
    locks.release(young, new Error('rolled back'));
    expect(await settled(waiting)).toBe('rejected');
    expect(locks.contended).toBe(false);
  });

  it.each([
    ['a point and the range around it', prefixRange('k'), pointRange('k1'), true],
    ['a point and a range beside it', prefixRange('k'), pointRange('l'), false],
    ['two ranges that overlap', prefixRange('k'), FULL_RANGE, true],
    ['two points', pointRange('k'), pointRange('k\0x'), false],
  ])('%s conflict if they overlap', async (_name, held, wanted, conflict) => {
    for (const [first, second] of [
      [held, wanted],
      [wanted, held],
    ] as const) {
      const [old, young] = [owner(1), owner(2)];
      expect(locks.acquire(old, [request(true, first)])).toBeUndefined();
      expect(await settled(locks.acquire(young, [request(false, second)]))).toBe(conflict ? 'waiting' : 'granted');
      locks.release(young, new Error('done'));
      locks.release(old, new Error('done'));
    }
  });

  it('locks columns separately', async () => {
    const [old, young] = [owner(1), owner(2)];
    expect(locks.acquire(old, [request(true, pointRange('k'), columnMask([1]))])).toBeUndefined();
    expect(locks.acquire(young, [request(true, pointRange('k'), columnMask([2]))])).toBeUndefined();
    expect(await settled(locks.acquire(young, [request(false, pointRange('k'), columnMask([1]))]))).toBe('waiting');
  });

  it('takes locks only from idle owners for which others wait', async () => {
    const [idle, busy] = [owner(1, 5_000), owner(2)];
    expect(locks.acquire(idle, [request(true, pointRange('a'))])).toBeUndefined();
    expect(locks.acquire(busy, [request(true, pointRange('b'))])).toBeUndefined();
    const young = owner(3);
    const waiting = locks.acquire(young, [request(true, pointRange('a')), request(true, pointRange('b'))]);
    locks.expireIdle(5_999);
    expect(idle.wounded).toBe(false);
    locks.expireIdle(6_000);
    expect([idle.wounded, busy.wounded]).toEqual([true, false]);
    locks.release(busy, new Error('done'));
    expect(await settled(waiting)).toBe('granted');
  });

  it('never grants conflicting locks, and never leaves all owners waiting', async () => {
    const step = fc.record({
      who: fc.nat({ max: 4 }),
      key: fc.constantFrom('a', 'b', 'c', '*'),
      exclusive: fc.boolean(),
      release: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        locks = new LockTable(1_000);
        space = new LockSpace();
        const owners = [0, 1, 2, 3, 4].map((age) => owner(age));
        const waiting = new Set<number>();
        const granted: { who: number; key: string; exclusive: boolean }[] = [];
        const drop = (who: number) => {
          for (let i = granted.length - 1; i >= 0; i--) if (granted[i]!.who === who) granted.splice(i, 1);
        };
        for (const { who, key, exclusive, release } of steps) {
          if (release) {
            locks.release(owners[who]!, new Error('done'));
            drop(who);
          } else if (!waiting.has(who)) {
            waiting.add(who);
            const range = key === '*' ? FULL_RANGE : pointRange(key);
            const grant = () => granted.push({ who, key, exclusive });
            const outcome = locks.acquire(owners[who]!, [request(exclusive, range)]);
            const done = () => waiting.delete(who);
            if (outcome) void outcome.then(grant, () => drop(who)).finally(done);
            else {
              grant();
              done();
            }
          }
          await new Promise((resolve) => setImmediate(resolve));
          for (const one of owners.filter(({ wounded }) => wounded)) {
            one.wounded = false;
            drop(one.age);
          }
          for (const a of granted) {
            for (const b of granted) {
              const overlap = a.key === b.key || a.key === '*' || b.key === '*';
              expect(a.who !== b.who && overlap && (a.exclusive || b.exclusive)).toBe(false);
            }
          }
        }
        expect(waiting.size).toBeLessThan(owners.length);
        for (const one of owners) locks.release(one, new Error('done'));
        await new Promise((resolve) => setImmediate(resolve));
        expect(locks.contended).toBe(false);
      }),
      { numRuns: 50 },
    );
  });
});
