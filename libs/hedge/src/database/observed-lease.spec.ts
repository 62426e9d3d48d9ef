import { describe, expect, it } from '@jest/globals';
import { VirtualClock } from '../testing/virtual-clock.js';
import { ObservedLease, ObservedLeases, type SeenLease } from './observed-lease.js';

const held = (token: bigint, renewals: bigint, leaseMs = 3_000): SeenLease => ({
  marker: { token, renewals },
  leaseMs,
});

/** The observation of a row with the marker (7, 3). */
const observeRow = () => {
  const clock = new VirtualClock();
  const observed = new ObservedLeases();
  observed.observe('a', held(7n, 3n), clock.now());
  const announce = (token: bigint, renewals: bigint): void =>
    observed.observeRenewal('a', { token, renewals }, clock.now());
  return { clock, observed, announce };
};

describe('ObservedLease', () => {
  it('L1: waits a whole lease after the first read, also when the row is old', () => {
    const clock = new VirtualClock();
    clock.advance(1_000_000);
    const observed = new ObservedLease();
    expect(observed.expiredMarker(clock.now())).toBeUndefined();
    expect(observed.observe(held(7n, 0n), clock.now())).toBe(3_000);
    clock.advance(2_999);
    expect(observed.observe(held(7n, 0n), clock.now())).toBe(1);
    expect(observed.expiredMarker(clock.now())).toBeUndefined();
    clock.advance(1);
    expect(observed.observe(held(7n, 0n), clock.now())).toBe(0);
    expect(observed.expiredMarker(clock.now())).toEqual({ token: 7n, renewals: 0n });
  });

  it('L1: counts the first row from its age, and no later one', () => {
    const clock = new VirtualClock();
    const observed = new ObservedLease();
    expect(observed.observe({ ...held(7n, 0n), ageMs: 1_000 }, clock.now())).toBe(2_000);
    clock.advance(500);
    expect(observed.observe({ ...held(7n, 0n), ageMs: 1_500 }, clock.now())).toBe(1_500);
    expect(observed.observe({ ...held(7n, 1n), ageMs: 400 }, clock.now())).toBe(3_000);
    expect(new ObservedLease().observe({ ...held(7n, 0n), ageMs: 9_000 }, clock.now())).toBe(0);
  });

  it('L1: counts no age beside an announced renewal that the row does not show', () => {
    const { clock, observed, announce } = observeRow();
    announce(7n, 4n);
    clock.advance(9_000);
    expect(observed.observe('a', { ...held(7n, 3n), ageMs: 9_000 }, clock.now())).toBe(3_000);
  });

  it.each([
    ['a renewal', held(7n, 1n)],
    ['an acquisition', held(8n, 0n)],
    ['another lease length', held(7n, 0n, 5_000)],
  ])('L1: waits a whole lease again after %s', (_what, next) => {
    const clock = new VirtualClock();
    const observed = new ObservedLease();
    observed.observe(held(7n, 0n), clock.now());
    clock.advance(2_999);
    expect(observed.observe(next, clock.now())).toBe(next.leaseMs);
    clock.advance(2_999);
    expect(observed.expiredMarker(clock.now())).toBeUndefined();
  });

  it('L1: ignores a wall clock that jumps ahead', () => {
    const clock = new VirtualClock();
    const observed = new ObservedLease();
    observed.observe(held(7n, 0n), clock.now());
    clock.jumpWall(86_400_000);
    expect(observed.observe(held(7n, 0n), clock.now())).toBe(3_000);
    expect(observed.expiredMarker(clock.now())).toBeUndefined();
  });

  it('L1: only extends the wait when an older read arrives late', () => {
    const clock = new VirtualClock();
    const observed = new ObservedLease();
    observed.observe(held(7n, 0n), clock.now());
    clock.advance(1_000);
    observed.observe(held(7n, 1n), clock.now());
    clock.advance(1_000);
    expect(observed.observe(held(7n, 0n), clock.now())).toBe(3_000);
    expect(observed.observe(held(7n, 1n), clock.now())).toBe(3_000);
  });

  it('reports a released row as free at once', () => {
    const clock = new VirtualClock();
    const observed = new ObservedLease();
    expect(observed.observe({ marker: { token: 7n, renewals: 3n } }, clock.now())).toBe(0);
    expect(observed.expiredMarker(clock.now())).toEqual({ token: 7n, renewals: 3n });
  });
});

describe('ObservedLeases', () => {
  it('L1: observes each row separately', () => {
    const clock = new VirtualClock();
    const observed = new ObservedLeases();
    expect(observed.observe('a', held(7n, 0n), clock.now())).toBe(3_000);
    clock.advance(1_000);
    expect(observed.observe('b', held(8n, 0n), clock.now())).toBe(3_000);
    clock.advance(2_000);
    expect(observed.observe('a', held(7n, 0n), clock.now())).toBe(0);
    expect(observed.expiredMarker('a', clock.now())).toEqual({ token: 7n, renewals: 0n });
    expect(observed.expiredMarker('b', clock.now())).toBeUndefined();
    expect(observed.expiredMarker('c', clock.now())).toBeUndefined();
  });

  it('keeps no rows without a holder, or that this process holds', () => {
    const clock = new VirtualClock();
    const observed = new ObservedLeases();
    for (let name = 0; name < 10_000; name += 1) {
      expect(observed.observe(`free ${name}`, { marker: { token: 7n, renewals: 0n } }, clock.now())).toBe(0);
      observed.observe(`taken ${name}`, held(7n, 0n), clock.now());
      observed.forget(`taken ${name}`);
      observed.observe(`released ${name}`, held(7n, 0n), clock.now());
      observed.observe(`released ${name}`, { marker: { token: 7n, renewals: 0n } }, clock.now());
    }
    expect(observed.size).toBe(0);
  });

  it('keeps the rows that were read lately, of many rows', () => {
    const clock = new VirtualClock();
    const observed = new ObservedLeases();
    for (let name = 0; name < 100_000; name += 1) {
      observed.observe(`${name}`, held(7n, 0n), clock.now());
      clock.advance(100);
    }
    expect(observed.size).toBe(1_000);
  });

  it('L1: keeps a row that a contender reads, whatever the number of other rows and the length of the lease', () => {
    const clock = new VirtualClock();
    const observed = new ObservedLeases();
    const long = held(7n, 0n, 600_000);
    observed.observe('wanted', long, clock.now());
    for (let name = 0; name < 100_000; name += 1) {
      observed.observe(`${name}`, held(7n, 0n), clock.now());
      clock.advance(6);
    }
    expect(observed.observe('wanted', long, clock.now())).toBe(0);
  });

  describe('an announced renewal', () => {
    it('L1: starts a whole lease when it is received, and needs no read', () => {
      const { clock, observed, announce } = observeRow();
      clock.advance(2_000);
      announce(7n, 4n);
      clock.advance(1_000);
      announce(7n, 4n);
      clock.advance(1_999);
      expect(observed.expiredMarker('a', clock.now())).toBeUndefined();
      clock.advance(1);
      expect(observed.expiredMarker('a', clock.now())).toEqual({ token: 7n, renewals: 4n });
      expect(observed.observe('a', held(7n, 4n), clock.now())).toBe(0);
    });

    it('L1: does not shorten the wait if the row does not have it: the row is observed for a whole lease', () => {
      const { clock, observed, announce } = observeRow();
      announce(7n, 900n);
      clock.advance(3_000);
      expect(observed.observe('a', held(7n, 3n), clock.now())).toBe(3_000);
    });

    it.each([
      ['an older one', 7n, 2n],
      ['one of an earlier term', 6n, 9n],
      ['one of a later term, which was not read yet', 8n, 0n],
    ])('changes nothing: %s', (_, token, renewals) => {
      const { clock, observed, announce } = observeRow();
      clock.advance(3_000);
      announce(token, renewals);
      expect(observed.expiredMarker('a', clock.now())).toEqual({ token: 7n, renewals: 3n });
    });

    it('changes nothing for a row that was not read, or has no holder', () => {
      const { clock, observed } = observeRow();
      observed.observeRenewal('b', { token: 7n, renewals: 3n }, clock.now());
      observed.observe('a', { marker: { token: 7n, renewals: 3n } }, clock.now());
      observed.observeRenewal('a', { token: 7n, renewals: 4n }, clock.now());
      expect(observed.size).toBe(0);
    });

    it('keeps the row among many other rows', () => {
      const { clock, observed, announce } = observeRow();
      for (let name = 1; name <= 5_000; name += 1) {
        observed.observe(`${name}`, held(7n, 0n), clock.now());
        if (name % 10 === 0) announce(7n, 3n + BigInt(name));
        clock.advance(100);
      }
      clock.advance(3_000);
      expect(observed.expiredMarker('a', clock.now())).toEqual({ token: 7n, renewals: 5_003n });
    });
  });

  it('keeps a few rows through an outage of the database', () => {
    const clock = new VirtualClock();
    const observed = new ObservedLeases();
    for (let name = 0; name < 1_000; name += 1) observed.observe(`${name}`, held(7n, 0n), clock.now());
    clock.advance(3_600_000);
    for (let name = 0; name < 1_000; name += 1) expect(observed.observe(`${name}`, held(7n, 0n), clock.now())).toBe(0);
  });
});
