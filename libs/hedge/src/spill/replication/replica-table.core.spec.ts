import { beforeEach, describe, expect, it } from '@jest/globals';
import { VirtualClock } from '../../testing/virtual-clock.js';
import { ReplicaTable, type LiveStore, type Renewal } from './replica-table.core.js';

const EXPIRE_MS = 1_000;
const part = (epoch: number) => ({ owner: 'owner', epoch });

describe('ReplicaTable', () => {
  let holdings: ReplicaTable;
  let clock: VirtualClock;
  let number: number;

  const admit = (epoch: number, session: number): boolean => holdings.admit(part(epoch), session, clock.now());
  const renew = (issued: number, live: (number | LiveStore)[], sent: Partial<Renewal> = {}) => {
    number += 1;
    const stores = live.map((one) => (typeof one === 'number' ? { epoch: one, closedSession: 0, discarded: [] } : one));
    return holdings.renewed('owner', { number, issued, live: stores, ...sent }, clock.now());
  };

  beforeEach(() => {
    clock = new VirtualClock();
    holdings = new ReplicaTable(EXPIRE_MS);
    number = 0;
  });

  it('keeps the parts of stores that live, and frees those that were dropped', () => {
    expect(admit(1, 1) && admit(2, 1)).toBe(true);
    holdings.stored(part(1), 1, 0);
    expect(renew(2, [1])).toEqual([{ part: part(2) }]);
    expect(holdings.holds(part(1), 0)).toBe(true);
  });

  it('P2: no late frame revives a dropped store, by an open way or by a new one', () => {
    admit(1, 1);
    renew(1, []);
    expect(holdings.stored(part(1), 1, 0)).toBe(false);
    expect(admit(1, 2)).toBe(false);
    expect([...holdings.parts()]).toEqual([]);
  });

  it('takes a store that is newer than the last renewal', () => {
    renew(3, [3]);
    expect(admit(4, 1)).toBe(true);
    expect(renew(3, [3])).toEqual([]);
    expect(holdings.stored(part(4), 1, 0)).toBe(true);
  });

  it('does not believe a renewal that comes after a later one', () => {
    renew(2, [2]);
    expect(admit(2, 1)).toBe(true);
    expect(renew(2, [], { number: 1 })).toEqual([]);
    expect(holdings.stored(part(2), 1, 0)).toBe(true);
  });

  it('P1: frees frames that are not counted on, but not those that came again by a later way', () => {
    admit(1, 1);
    for (const sequence of [0, 1, 2]) holdings.stored(part(1), 1, sequence);
    admit(1, 2);
    holdings.stored(part(1), 2, 1);
    const freed = renew(1, [
      { epoch: 1, closedSession: 1, discarded: [1, 2, 3].map((sequence) => ({ sequence, session: 1 })) },
    ]);
    expect(freed).toEqual([{ part: part(1), sequences: [2] }]);
    expect([0, 1, 2].map((sequence) => holdings.holds(part(1), sequence))).toEqual([true, true, false]);
    expect(holdings.stored(part(1), 1, 3)).toBe(false);
    expect(admit(1, 1)).toBe(false);
    expect(holdings.stored(part(1), 2, 3)).toBe(true);
  });

  it('P1: keeps a frame that counts by a later session when it comes once more by an earlier one', () => {
    admit(1, 2);
    holdings.stored(part(1), 2, 0);
    admit(1, 1);
    holdings.stored(part(1), 1, 0);
    expect(renew(1, [{ epoch: 1, closedSession: 1, discarded: [{ sequence: 0, session: 1 }] }])).toEqual([]);
  });

  it('forgets an owner that has fallen silent, with all it had', () => {
    admit(1, 1);
    admit(2, 1);
    for (let passed = 0; passed < 900; passed += 300) {
      clock.advance(300);
      expect(holdings.tick(clock.now())).toEqual([]);
    }
    clock.advance(100);
    expect(holdings.tick(clock.now())).toEqual([{ part: part(1) }, { part: part(2) }]);
  });

  it('after standing still itself gives its owners time to be heard', () => {
    admit(1, 1);
    holdings.tick(clock.now());
    clock.advance(10 * EXPIRE_MS);
    expect(holdings.tick(clock.now())).toEqual([]);
    clock.advance(EXPIRE_MS / 2);
    expect(holdings.tick(clock.now())).toEqual([{ part: part(1) }]);
  });
});
