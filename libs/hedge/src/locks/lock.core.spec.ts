import { beforeEach, describe, expect, it } from '@jest/globals';
import type { LeaseRecord } from '../database/lease-table.js';
import type { DatabaseCall } from '../lease/lease-contender.messages.js';
import { holdsLease } from '../lease/lease-contender.core.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import { LockStateMachine } from './lock.core.js';
import type { LockEffect, LockInput } from './lock.messages.js';

const timing = { leaseMs: 3_000, marginMs: 300, renewDeadlineMs: 2_000, retryMs: 100 };
const self = { address: 'a:1', incarnation: 'a' };
const HELD_BY_OTHER: LeaseRecord = { holder: { address: 'b:1', incarnation: 'b' }, token: 8n, expiresInMs: 3_000 };

describe('LockStateMachine', () => {
  let clock: VirtualClock;
  let machine: LockStateMachine;
  let last: readonly LockEffect[];
  let asked: { readonly round: number; readonly call: DatabaseCall }[];

  const step = (input: LockInput): readonly LockEffect[] => {
    last = machine.step(input, clock.now());
    for (const effect of last) if (effect.type === 'call') asked.push(effect);
    return last;
  };
  const wait = (waiter: number, once = false) => step({ type: 'wait', waiter, once });
  const otherEffects = (): LockEffect[] => last.filter(({ type }) => type !== 'call');
  /** The answer to the last call, which must be of that type. */
  const answer = (type: DatabaseCall['type'], result: object = {}) => {
    const { round, call } = asked.at(-1)!;
    expect(call.type).toBe(type);
    const names = { read: 'read', acquire: 'acquired', renew: 'renewed', release: 'released' } as const;
    return step({ type: 'answered', round, answer: { type: names[type], attempt: call.attempt, ...result } });
  };
  const taken = (token: bigint) => answer('acquire', { result: { acquired: true, token } });
  const refused = () => answer('acquire', { result: { acquired: false, record: HELD_BY_OTHER } });
  const given = () => answer('release', { released: true });
  const sleepUntilWake = () => {
    clock.advance(machine.wakeAt! - clock.now().mono);
    return step({ type: 'tick' });
  };

  beforeEach(() => {
    clock = new VirtualClock();
    asked = [];
    machine = new LockStateMachine({ self, timing, observes: true, random: () => 0.5 });
  });

  it('acquires the lock at once, grants it, releases it, and is then idle', () => {
    wait(1);
    expect(asked).toMatchObject([{ call: { type: 'acquire' } }]);
    taken(10n);
    expect(otherEffects()).toEqual([{ type: 'granted', waiter: 1, token: 10n }]);
    expect(machine.term?.token).toBe(10n);
    step({ type: 'release', token: 10n });
    expect(machine.term).toBeUndefined();
    given();
    expect(otherEffects()).toEqual([
      { type: 'announce-released', token: 10n },
      { type: 'released', token: 10n },
    ]);
    sleepUntilWake();
    expect(machine.isIdle(clock.now())).toBe(true);
  });

  it('does not refuse a caller that tries once when an earlier acquisition of this process took the lock', () => {
    wait(1, true);
    answer('acquire', { result: { acquired: false, record: { ...HELD_BY_OTHER, holder: self } } });
    expect(otherEffects()).toEqual([]);
    taken(10n);
    expect(otherEffects()).toEqual([{ type: 'granted', waiter: 1, token: 10n }]);
  });

  it('L1: grants in the order of the requests, one at a time, each with its own token', () => {
    for (const waiter of [1, 2, 3]) wait(waiter);
    const granted: LockEffect[] = [];
    for (const token of [10n, 11n, 12n]) {
      taken(token);
      granted.push(...otherEffects());
      step({ type: 'release', token });
      given();
    }
    expect(granted).toEqual([
      { type: 'granted', waiter: 1, token: 10n },
      { type: 'granted', waiter: 2, token: 11n },
      { type: 'granted', waiter: 3, token: 12n },
    ]);
  });

  it('many waiting callers cost the calls of one', () => {
    for (let waiter = 1; waiter <= 100; waiter += 1) wait(waiter);
    refused();
    expect(asked).toHaveLength(1);
    sleepUntilWake();
    expect(asked.map(({ call }) => call.type)).toEqual(['acquire', 'read']);
  });

  it('refuses a caller that does not wait: at once while another caller is first, else after the answer of the database', () => {
    wait(1, true);
    wait(2, true);
    expect(otherEffects()).toEqual([{ type: 'refused', waiter: 2, failed: false }]);
    refused();
    expect(otherEffects()).toEqual([{ type: 'refused', waiter: 1, failed: false }]);
    expect(machine.isIdle(clock.now())).toBe(true);
  });

  it('reports a failure when the database does not answer, and releases what it may have acquired', () => {
    wait(1, true);
    answer('acquire');
    expect(otherEffects()).toEqual([{ type: 'refused', waiter: 1, failed: true }]);
    answer('read', { record: { holder: self, token: 10n, expiresInMs: 3_000 } });
    expect(asked.at(-1)?.call).toMatchObject({ type: 'release', token: 10n });
  });

  it('continues for the next caller when the first cancels, and releases a lock that nobody wants', () => {
    wait(1);
    wait(2);
    step({ type: 'cancel-wait', waiter: 1 });
    taken(10n);
    expect(otherEffects()).toEqual([{ type: 'granted', waiter: 2, token: 10n }]);

    step({ type: 'release', token: 10n });
    given();
    wait(3);
    step({ type: 'cancel-wait', waiter: 3 });
    taken(11n);
    expect(otherEffects()).toEqual([]);
    expect(asked.at(-1)?.call).toMatchObject({ type: 'release', token: 11n });
  });

  it('L2: loses a lock that it cannot renew in time, and the next caller gets a later token', () => {
    wait(1);
    taken(10n);
    wait(2);
    sleepUntilWake();
    clock.advance(1_000);
    step({ type: 'tick' });
    expect(otherEffects()).toEqual([{ type: 'lost', token: 10n, reason: 'renew-deadline' }]);
    sleepUntilWake();
    answer('read', { record: { holder: self, token: 10n, expiresInMs: 900 } });
    taken(11n);
    expect(otherEffects()).toEqual([{ type: 'granted', waiter: 2, token: 11n }]);
  });

  it('L2: loses the lock after the process stalled, before any timer runs', () => {
    wait(1);
    taken(10n);
    clock.jumpWall(2_700);
    expect(holdsLease(machine.term!, timing, clock.now())).toBe(false);
    step({ type: 'tick' });
    expect(otherEffects()).toEqual([{ type: 'lost', token: 10n, reason: 'expired' }]);
  });

  it('L3: ignores the answer to a renewal of an earlier round', () => {
    wait(1);
    wait(2);
    taken(10n);
    sleepUntilWake();
    const stale = asked.at(-1)!;
    expect(stale.call.type).toBe('renew');
    step({ type: 'release', token: 10n });
    given();
    taken(11n);
    sleepUntilWake();
    expect(asked.at(-1)?.call).toMatchObject({ type: 'renew', attempt: stale.call.attempt });
    const since = machine.term?.validSince;
    clock.advance(100);
    const { attempt } = stale.call;
    step({ type: 'answered', round: stale.round, answer: { type: 'renewed', attempt, result: { renewed: true } } });
    expect(machine.term?.validSince).toEqual(since);
  });

  it('ignores a second release, and a release of a lock that is not held', () => {
    wait(1);
    taken(10n);
    step({ type: 'release', token: 9n });
    expect(machine.term?.token).toBe(10n);
    step({ type: 'release', token: 10n });
    const calls = asked.length;
    step({ type: 'release', token: 10n });
    expect(asked).toHaveLength(calls);
  });

  it('tries soon after another member has announced a release', () => {
    wait(1);
    refused();
    step({ type: 'released-elsewhere', token: 8n });
    expect(machine.wakeAt! - clock.now().mono).toBeLessThanOrEqual(25);
    sleepUntilWake();
    expect(asked.at(-1)?.call.type).toBe('acquire');
  });

  it('acquires at once when a release names it as the successor', () => {
    wait(1);
    refused();
    step({ type: 'released-elsewhere', token: 8n, successor: 'a' });
    expect(asked.at(-1)?.call.type).toBe('acquire');
  });

  it('waits for another holder from the first refusal until it acquires the lock', () => {
    wait(1);
    expect(machine.waitsSince).toBeUndefined();
    clock.advance(5);
    refused();
    const since = clock.now().mono;
    expect(machine.waitsSince).toBe(since);
    sleepUntilWake();
    answer('read', { record: HELD_BY_OTHER });
    expect(machine.waitsSince).toBe(since);
    step({ type: 'released-elsewhere', token: 8n, successor: 'a' });
    taken(10n);
    expect(machine.waitsSince).toBeUndefined();
  });

  it('does not wait for another holder when its callers have cancelled, or asked once', () => {
    wait(1);
    refused();
    step({ type: 'cancel-wait', waiter: 1 });
    expect(machine.waitsSince).toBeUndefined();
    wait(2, true);
    refused();
    expect(machine.waitsSince).toBeUndefined();
  });

  it('loses its place in the queue while the database does not answer', () => {
    wait(1);
    refused();
    sleepUntilWake();
    answer('read');
    expect(machine.waitsSince).toBeUndefined();
    sleepUntilWake();
    answer('read', { record: HELD_BY_OTHER });
    expect(machine.waitsSince).toBe(clock.now().mono);
  });

  it('does not read the lease while others of the queue read it', () => {
    wait(1);
    refused();
    const calls = asked.length;
    step({ type: 'queued', reads: false });
    expect(machine.wakeAt! - clock.now().mono).toBeGreaterThanOrEqual(2 * timing.leaseMs);
    step({ type: 'queued', reads: true });
    expect(asked.slice(calls)).toMatchObject([{ call: { type: 'read' } }]);
  });

  it('lets others go first after a whole lease, and then acquires again', () => {
    let pauses = 0;
    wait(0);
    for (let turn = 1; clock.now().mono < 10_000; turn += 1) {
      taken(BigInt(turn));
      clock.advance(400);
      wait(turn);
      step({ type: 'release', token: BigInt(turn) });
      given();
      if (asked.at(-1)?.call.type === 'acquire') continue;
      pauses += 1;
      expect(machine.wakeAt! - clock.now().mono).toBeGreaterThanOrEqual(25);
      sleepUntilWake();
    }
    expect(pauses).toBe(3);
  });
});
