import { describe, expect, it } from '@jest/globals';
import { VirtualClock } from '../testing/virtual-clock.js';
import { LeaseObserver, leaseRow, type LeaseRow } from './lease-observer.js';
import { FOREIGN_LEASE_MS, formatWriter } from './row-names.js';

const NAME = 'hedge/lease/orders';
const LEASE_MS = 3_000;
const holder = { address: 'a:1', incarnation: 'a' };
const self = { address: 'b:1', incarnation: 'b' };

const held = (token: bigint, renewals = 0n): LeaseRow => ({ token, renewals, holder, leaseMs: LEASE_MS });
const free = (token: bigint): LeaseRow => ({ token, renewals: 0n });
const NO_ROW = free(0n);

function observed(...rows: readonly LeaseRow[]) {
  const clock = new VirtualClock();
  const observer = new LeaseObserver();
  const read = (row: LeaseRow, name = NAME) => observer.record(name, row, observer.known(name), clock.now());
  for (const row of rows) read(row);
  const mayAcquire = (name = NAME) => observer.mayAcquire(name, LEASE_MS, clock.now());
  return { clock, observer, read, mayAcquire };
}

describe('LeaseObserver', () => {
  it('L1 lets a process take a lease over once it has seen the row unchanged for its whole length', () => {
    const { clock, read, mayAcquire } = observed(held(7n, 4n));
    clock.advance(LEASE_MS - 1);
    expect(read(held(7n, 4n)).expiresInMs).toBe(1);
    expect(mayAcquire()).toMatchObject({ expired: undefined, known: 7n });
    clock.advance(1);
    expect(read(held(7n, 4n)).expiresInMs).toBe(0);
    expect(mayAcquire()).toMatchObject({ expired: { token: 7n, renewals: 4n }, known: 7n });
  });

  it('L1 counts a row that it sees for the first time from its age, but not after it has found a loss', () => {
    const old = { ...held(7n), ageMs: LEASE_MS };
    expect(observed().read(old).expiresInMs).toBe(0);
    const { clock, read, mayAcquire } = observed(held(9n), held(8n));
    clock.advance(LEASE_MS);
    expect(read(old, 'hedge/lock/orders/other').expiresInMs).toBe(LEASE_MS);
    expect(mayAcquire('hedge/lock/orders/other')).toMatchObject({ expired: undefined });
  });

  describe('after a row with a lower token than it knows', () => {
    it('L1 acquires nothing for a whole lease, and then with a token above the lost one', () => {
      const { clock, read, mayAcquire } = observed(held(9n));
      expect(read(free(7n)).expiresInMs).toBe(LEASE_MS);
      expect(mayAcquire()).toBeUndefined();
      expect(mayAcquire('hedge/lock/orders/other')).toBeUndefined();
      clock.advance(LEASE_MS - 1);
      expect(read(free(7n)).expiresInMs).toBe(1);
      expect(mayAcquire()).toBeUndefined();
      clock.advance(1);
      expect(read(free(7n)).expiresInMs).toBe(0);
      expect(mayAcquire()).toMatchObject({ known: 7n, above: 9n });
    });

    it('L1 counts the time of a holder in that row from then on', () => {
      const { clock, read, mayAcquire } = observed(held(7n));
      clock.advance(LEASE_MS);
      read(held(9n));
      read(held(7n));
      clock.advance(LEASE_MS - 1);
      expect(read(held(7n)).expiresInMs).toBe(1);
      clock.advance(1);
      expect(mayAcquire()).toMatchObject({ expired: { token: 7n, renewals: 0n } });
    });

    it('S1 grants no permits before those of the lost leader have expired', () => {
      const { clock, observer, read } = observed(held(9n));
      expect(observer.permitsUnseenForMs(2 * LEASE_MS, clock.now())).toBe(0);
      read(free(7n));
      expect(observer.permitsUnseenForMs(2 * LEASE_MS, clock.now())).toBe(3 * LEASE_MS);
    });

    it('does not count an acquisition that was answered after it', () => {
      const { clock, observer, read } = observed(held(9n));
      expect(observer.mayAcquire('hedge/lock/orders/other', LEASE_MS, clock.now())).toBeDefined();
      read(free(7n));
      expect(observer.acquired('hedge/lock/orders/other', 8n, LEASE_MS, clock.now())).toBe(false);
    });

    it('L1 waits a whole lease again for another lowered row that it knew before, and not for the others', () => {
      const { clock, read, mayAcquire } = observed(held(9n));
      const [known, third] = ['hedge/lock/orders/known', 'hedge/lock/orders/third'];
      read(held(9n), known);
      read(free(7n));
      clock.advance(LEASE_MS);
      expect(read(free(6n), known).expiresInMs).toBe(LEASE_MS);
      expect(mayAcquire(known)).toBeUndefined();
      expect(mayAcquire()).toMatchObject({ known: 7n, above: 9n });
      expect(mayAcquire(third)).toBeDefined();
      clock.advance(LEASE_MS);
      expect(read(free(6n), known).expiresInMs).toBe(0);
      expect(mayAcquire(known)).toMatchObject({ known: 6n, above: 9n });
    });

    it('L1 waits for all again when a row that it has read since then is lower', () => {
      const { clock, read, mayAcquire } = observed(held(9n));
      read(free(7n));
      clock.advance(LEASE_MS);
      expect(mayAcquire('hedge/lock/orders/other')).toBeDefined();
      read(free(6n));
      expect(mayAcquire('hedge/lock/orders/other')).toBeUndefined();
    });

    it('keeps a lease whose row is intact', () => {
      const { clock, observer, read } = observed();
      const lock = { name: 'hedge/lock/orders/own', holder: self, token: 8n };
      observer.acquired(lock.name, lock.token, LEASE_MS, clock.now());
      read(held(9n));
      read(free(7n));
      const row = { token: 8n, renewals: 1n, holder: self, leaseMs: LEASE_MS };
      expect(observer.renewed(lock, true, row, observer.known(lock.name), clock.now())).toEqual({ renewed: true });
    });
  });

  it('L1 refuses a renewal when it knows of a later acquisition, which the database has lost', () => {
    const { clock, observer } = observed(held(9n));
    const lease = { name: NAME, holder: self, token: 7n };
    const row = { token: 7n, renewals: 5n, holder: self, leaseMs: LEASE_MS };
    expect(observer.renewed(lease, true, row, observer.known(NAME), clock.now())).toMatchObject({ renewed: false });
  });

  describe('that heard a token from a peer', () => {
    it('L1 acquires nothing for a whole lease after it read a row with a lower token', () => {
      const { clock, observer, read, mayAcquire } = observed(free(7n));
      observer.heard(NAME, 9n, LEASE_MS);
      expect(mayAcquire()).toMatchObject({ known: 9n, above: 9n });
      expect(read(free(7n)).expiresInMs).toBe(LEASE_MS);
      expect(mayAcquire()).toBeUndefined();
      clock.advance(LEASE_MS);
      expect(mayAcquire()).toMatchObject({ known: 7n, above: 9n });
    });

    it('L1 waits a whole lease when it finds no row', () => {
      const { clock, observer, read, mayAcquire } = observed();
      observer.heard(NAME, 9n, LEASE_MS);
      expect(read(NO_ROW).expiresInMs).toBe(LEASE_MS);
      expect(mayAcquire()).toMatchObject({ mayInsert: false });
      clock.advance(LEASE_MS);
      expect(mayAcquire()).toMatchObject({ mayInsert: true, above: 9n });
    });

    it('L1 waits a whole lease again when the row was missing before, too', () => {
      const { clock, observer, read, mayAcquire } = observed(held(7n), NO_ROW);
      clock.advance(LEASE_MS);
      expect(mayAcquire()).toMatchObject({ mayInsert: true });
      observer.heard(NAME, 9n, LEASE_MS);
      expect(mayAcquire()).toMatchObject({ mayInsert: false });
      expect(read(NO_ROW).expiresInMs).toBe(LEASE_MS);
    });

    it('L1 refuses the renewal of an earlier term, also after another read found the loss', () => {
      const { clock, observer, read } = observed();
      const lease = { name: NAME, holder: self, token: 8n };
      const row = { token: 8n, renewals: 0n, holder: self, leaseMs: LEASE_MS };
      observer.acquired(NAME, 8n, LEASE_MS, clock.now());
      observer.heard(NAME, 9n, LEASE_MS);
      read(row);
      expect(observer.renewed(lease, true, row, observer.known(NAME), clock.now())).toMatchObject({ renewed: false });
    });

    it('L1 does not count an acquisition with a lower token that was answered after it', () => {
      const { clock, observer, mayAcquire } = observed(free(7n));
      expect(mayAcquire()).toBeDefined();
      observer.heard(NAME, 9n, LEASE_MS);
      expect(observer.acquired(NAME, 8n, LEASE_MS, clock.now())).toBe(false);
    });

    it('waits once for each token, because peers repeat the lost ones', () => {
      const { clock, observer, read, mayAcquire } = observed(free(7n));
      observer.heard(NAME, 9n, LEASE_MS);
      read(free(7n));
      clock.advance(LEASE_MS);
      observer.heard(NAME, 9n, LEASE_MS);
      observer.heard(NAME, 8n, LEASE_MS);
      expect(read(free(7n)).expiresInMs).toBe(0);
      expect(mayAcquire()).toMatchObject({ known: 7n, above: 9n });
    });

    it('ignores one that no clock gives, because the database could not count on from it', () => {
      const { observer, mayAcquire } = observed(free(7n));
      observer.heard(NAME, 2n ** 62n + 1n, LEASE_MS);
      expect(mayAcquire()).toMatchObject({ known: 7n, above: 7n });
    });

    it('ignores one of a database that was replaced since then', () => {
      const { clock, observer, mayAcquire } = observed(free(9n));
      observer.replaced(clock.now());
      clock.advance(LEASE_MS);
      observer.heard(NAME, 9n, LEASE_MS);
      expect(mayAcquire()).toMatchObject({ mayInsert: true, known: 0n });
    });
  });

  it('learns nothing from an answer that another one has overtaken', () => {
    const { clock, observer, read, mayAcquire } = observed(free(7n));
    const known = observer.known(NAME);
    read(free(9n));
    observer.record(NAME, free(7n), known, clock.now());
    expect(mayAcquire()).toMatchObject({ known: 9n });
  });

  it('L1 treats a row that was held and is missing now like a lease that was just renewed', () => {
    const { clock, read, mayAcquire } = observed(held(9n));
    clock.advance(LEASE_MS);
    expect(read(NO_ROW)).toEqual({ token: 0n, expiresInMs: LEASE_MS });
    expect(mayAcquire()).toMatchObject({ mayInsert: false });
    clock.advance(LEASE_MS);
    expect(read(NO_ROW).expiresInMs).toBe(0);
    expect(mayAcquire()).toMatchObject({ mayInsert: true, above: 9n });
  });

  it('acquires a row at once that was free and is missing now, because rows of free locks may be deleted', () => {
    const { read, mayAcquire } = observed(free(9n));
    expect(read(NO_ROW).expiresInMs).toBe(0);
    expect(mayAcquire()).toMatchObject({ mayInsert: true, above: 9n });
  });

  it('acquires a row at once that this process released and that is missing now', () => {
    const { clock, observer, read, mayAcquire } = observed();
    observer.acquired(NAME, 9n, LEASE_MS, clock.now());
    observer.releasing(NAME);
    observer.released({ name: NAME, holder: self, token: 9n });
    expect(read(NO_ROW).expiresInMs).toBe(0);
    expect(mayAcquire()).toMatchObject({ mayInsert: true });
  });

  describe('after the whole database was replaced', () => {
    it('L1 L2 acquires nothing for a whole lease, and then with a token above all that it knew', () => {
      const { clock, observer, read, mayAcquire } = observed(held(9n));
      observer.replaced(clock.now());
      expect(read(NO_ROW)).toEqual({ token: 0n, expiresInMs: LEASE_MS });
      expect(mayAcquire()).toBeUndefined();
      clock.advance(LEASE_MS);
      expect(mayAcquire()).toMatchObject({ mayInsert: true, known: 0n, above: 9n });
    });

    it('L2 refuses the renewal of every lease from before, also of one that an earlier copy contains', () => {
      const { clock, observer } = observed();
      const lease = { name: NAME, holder: self, token: 9n };
      observer.acquired(NAME, lease.token, LEASE_MS, clock.now());
      observer.replaced(clock.now());
      const row = { token: 9n, renewals: 1n, holder: self, leaseMs: LEASE_MS };
      expect(observer.renewed(lease, true, row, observer.known(NAME), clock.now())).toMatchObject({ renewed: false });
      clock.advance(LEASE_MS);
      observer.acquired(NAME, 10n, LEASE_MS, clock.now());
      const renewal = { ...lease, token: 10n };
      expect(observer.renewed(renewal, true, { ...row, token: 10n }, observer.known(NAME), clock.now())).toEqual({
        renewed: true,
      });
    });
  });

  it('reads the holder and the length of a lease from the writer column', () => {
    expect(leaseRow(7n, 1n, null)).toEqual({ token: 7n, renewals: 1n });
    expect(leaseRow(7n, 1n, formatWriter(holder, LEASE_MS))).toEqual(held(7n, 1n));
    expect(leaseRow(7n, 1n, 'of a later version')).toEqual({ token: 7n, renewals: 1n, leaseMs: FOREIGN_LEASE_MS });
  });
});
