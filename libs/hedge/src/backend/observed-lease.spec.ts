import { describe, expect, it } from '@jest/globals';
import { VirtualClock } from '../testing/virtual-clock.js';
import { ObservedLease, type SeenLease } from './observed-lease.js';

const held = (token: bigint, renewals: bigint, leaseMs = 3_000): SeenLease => ({
  marker: { token, renewals },
  leaseMs,
});

describe('ObservedLease', () => {
  it('L1: waits a whole lease after the first sight, however long the row was there', () => {
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

  it.each([
    ['a renewal', held(7n, 1n)],
    ['an acquisition', held(8n, 0n)],
    ['another lease length', held(7n, 0n, 5_000)],
  ])('L1: starts to wait anew after %s', (_what, next) => {
    const clock = new VirtualClock();
    const observed = new ObservedLease();
    observed.observe(held(7n, 0n), clock.now());
    clock.advance(2_999);
    expect(observed.observe(next, clock.now())).toBe(next.leaseMs);
    clock.advance(2_999);
    expect(observed.expiredMarker(clock.now())).toBeUndefined();
  });

  it('L1: is not moved by a wall clock that jumps ahead', () => {
    const clock = new VirtualClock();
    const observed = new ObservedLease();
    observed.observe(held(7n, 0n), clock.now());
    clock.jumpWall(86_400_000);
    expect(observed.observe(held(7n, 0n), clock.now())).toBe(3_000);
    expect(observed.expiredMarker(clock.now())).toBeUndefined();
  });

  it('L1: only waits longer when an older read arrives late', () => {
    const clock = new VirtualClock();
    const observed = new ObservedLease();
    observed.observe(held(7n, 0n), clock.now());
    clock.advance(1_000);
    observed.observe(held(7n, 1n), clock.now());
    clock.advance(1_000);
    expect(observed.observe(held(7n, 0n), clock.now())).toBe(3_000);
    expect(observed.observe(held(7n, 1n), clock.now())).toBe(3_000);
  });

  it('finds a released row free at once', () => {
    const clock = new VirtualClock();
    const observed = new ObservedLease();
    expect(observed.observe({ marker: { token: 7n, renewals: 3n } }, clock.now())).toBe(0);
    expect(observed.expiredMarker(clock.now())).toEqual({ token: 7n, renewals: 3n });
  });
});
