import { describe, expect, it } from '@jest/globals';
import { firstWith, type Hold, mostAtOnce } from './holds.js';

const hold = (from: number, to: number): Hold => ({ pod: 'pod-1', token: 1n, from, to, end: 'released' });

describe('the holds of a tour', () => {
  it('overlap when one begins before another ends', () => {
    expect(mostAtOnce([hold(0, 10), hold(5, 8), hold(9, 20)])).toBe(2);
    expect(mostAtOnce([hold(0, 10), hold(5, 8), hold(7, 20)])).toBe(3);
  });

  it('do not overlap when one begins as another ends', () => {
    expect(mostAtOnce([hold(0, 10), hold(10, 20), hold(20, 30)])).toBe(1);
  });

  it('reach a number at the beginning of the last necessary hold', () => {
    const holds = [hold(0, 10), hold(4, 6), hold(8, 12), hold(9, 11)];
    expect(firstWith(2, holds)).toBe(4);
    expect(firstWith(3, holds)).toBe(9);
    expect(firstWith(4, holds)).toBeUndefined();
  });
});
