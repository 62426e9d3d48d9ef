import { beforeEach, describe, expect, it } from '@jest/globals';
import { VirtualClock } from '../../testing/virtual-clock.js';
import { ReplicaTable, type LiveStore, type StoreRenewal } from './replica-table.core.js';

const EXPIRE_MS = 1_000;
const replica = (epoch: number) => ({ owner: 'owner', epoch });

describe('ReplicaTable', () => {
  let table: ReplicaTable;
  let clock: VirtualClock;
  let number: number;

  const admit = (epoch: number, session: number): boolean => table.admit(replica(epoch), session, clock.now());
  const renew = (issued: number, live: (number | LiveStore)[], sent: Partial<StoreRenewal> = {}) => {
    number += 1;
    const stores = live.map((one) => (typeof one === 'number' ? { epoch: one, closedSession: 0, discarded: [] } : one));
    return table.renewed('owner', { number, issued, live: stores, ...sent }, clock.now());
  };

  beforeEach(() => {
    clock = new VirtualClock();
    table = new ReplicaTable(EXPIRE_MS);
    number = 0;
  });

  it('keeps the replicas of live stores, and frees those of dropped stores', () => {
    expect(admit(1, 1) && admit(2, 1)).toBe(true);
    table.stored(replica(1), 1, 0);
    expect(renew(2, [1])).toEqual([{ replica: replica(2) }]);
    expect(table.holds(replica(1), 0)).toBe(true);
  });

  it('P2: refuses late frames of a dropped store, by an open session and by a new one', () => {
    admit(1, 1);
    renew(1, []);
    expect(table.stored(replica(1), 1, 0)).toBe(false);
    expect(admit(1, 2)).toBe(false);
    expect([...table.replicas()]).toEqual([]);
  });

  it('keeps a store that is newer than the last renewal', () => {
    renew(3, [3]);
    expect(admit(4, 1)).toBe(true);
    expect(renew(3, [3])).toEqual([]);
    expect(table.stored(replica(4), 1, 0)).toBe(true);
  });

  it('ignores a renewal that arrives after a later one', () => {
    renew(2, [2]);
    expect(admit(2, 1)).toBe(true);
    expect(renew(2, [], { number: 1 })).toEqual([]);
    expect(table.stored(replica(2), 1, 0)).toBe(true);
  });

  it('P1: frees discarded frames, but keeps those that arrived again by a later session', () => {
    admit(1, 1);
    for (const sequence of [0, 1, 2]) table.stored(replica(1), 1, sequence);
    admit(1, 2);
    table.stored(replica(1), 2, 1);
    const freed = renew(1, [
      { epoch: 1, closedSession: 1, discarded: [1, 2, 3].map((sequence) => ({ sequence, session: 1 })) },
    ]);
    expect(freed).toEqual([{ replica: replica(1), sequences: [2] }]);
    expect([0, 1, 2].map((sequence) => table.holds(replica(1), sequence))).toEqual([true, true, false]);
    expect(table.stored(replica(1), 1, 3)).toBe(false);
    expect(admit(1, 1)).toBe(false);
    expect(table.stored(replica(1), 2, 3)).toBe(true);
  });

  it('P1: keeps a frame of a later session when it arrives once more by an earlier one', () => {
    admit(1, 2);
    table.stored(replica(1), 2, 0);
    admit(1, 1);
    table.stored(replica(1), 1, 0);
    expect(renew(1, [{ epoch: 1, closedSession: 1, discarded: [{ sequence: 0, session: 1 }] }])).toEqual([]);
  });

  it('frees all replicas of an owner that sends no renewals', () => {
    admit(1, 1);
    admit(2, 1);
    for (let passed = 0; passed < 900; passed += 300) {
      clock.advance(300);
      expect(table.tick(clock.now())).toEqual([]);
    }
    clock.advance(100);
    expect(table.tick(clock.now())).toEqual([{ replica: replica(1) }, { replica: replica(2) }]);
  });

  it('after a pause of its own process, gives each owner time for a renewal', () => {
    admit(1, 1);
    table.tick(clock.now());
    clock.advance(10 * EXPIRE_MS);
    expect(table.tick(clock.now())).toEqual([]);
    clock.advance(EXPIRE_MS / 2);
    expect(table.tick(clock.now())).toEqual([{ replica: replica(1) }]);
  });
});
