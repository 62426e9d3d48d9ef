import { beforeAll, describe, expect, it } from '@jest/globals';
import { PLANTED_STALLS } from './planted-stalls.js';
import { searchAll, seedThatFinds } from './search.js';
import { simulateStalls } from './stalls.js';

const SEEDS = 60;
/** Within this many seeds every planted bug shows. */
const SEEDS_TO_FIND = 100;

describe('simulation of leases that another thread renews', () => {
  beforeAll(() => {
    Error.stackTraceLimit = 3;
  });

  it(
    `a blocked main thread loses nothing for maxStallMs, and never relies on a lost lease, in ${SEEDS} histories`,
    () => {
      const coverage = searchAll(SEEDS, simulateStalls, '--stalls --seed');
      const exercised = [
        'renewals: acknowledged while blocked',
        'renewals: superseded',
        'renewals: thread died',
        'election: lost, expired',
        'locks: lost, expired',
        'fault: database went back',
        'fault: leader pauses',
      ];
      expect(exercised.filter((what) => (coverage.get(what) ?? 0) < SEEDS / 10)).toEqual([]);
    },
    30 * 60_000,
  );

  it.each(Object.entries(PLANTED_STALLS))(
    'finds a planted bug: %s',
    async (_, bug) => {
      const seed = await seedThatFinds(bug, SEEDS_TO_FIND, (one) => simulateStalls(one, bug.parts));
      expect(seed).toBeDefined();
    },
    30 * 60_000,
  );
});
