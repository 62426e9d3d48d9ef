import { describe, expect, it } from '@jest/globals';
import { Admissions } from './admissions.js';

describe('Admissions', () => {
  it('admits only rising generations of each caller', () => {
    const admissions = new Admissions(1_000);
    expect(admissions.admit('a', 2, 0)).toBe(true);
    expect(admissions.admit('a', 2, 0)).toBe(false);
    expect(admissions.admit('a', 1, 0)).toBe(false);
    expect(admissions.admit('b', 1, 0)).toBe(true);
    expect(admissions.admit('a', 3, 0)).toBe(true);
  });

  it('rejects an older generation even after the newer link has closed', () => {
    const admissions = new Admissions(1_000);
    admissions.admit('a', 2, 0);
    admissions.closed('a', 2, 500);
    expect(admissions.admit('a', 1, 1_500)).toBe(false);
  });

  it('remembers a caller while its link is open, and forgets it some time after the close', () => {
    const admissions = new Admissions(1_000);
    admissions.admit('open', 2, 0);
    admissions.admit('gone', 2, 0);
    admissions.closed('gone', 2, 0);
    expect(admissions.admit('open', 1, 1_001)).toBe(false);
    expect(admissions.admit('gone', 1, 1_001)).toBe(true);
  });

  it('remembers the newer link when an older one ends', () => {
    const admissions = new Admissions(1_000);
    admissions.admit('a', 1, 0);
    admissions.admit('a', 2, 0);
    admissions.closed('a', 1, 0);
    expect(admissions.admit('a', 1, 5_000)).toBe(false);
  });
});
