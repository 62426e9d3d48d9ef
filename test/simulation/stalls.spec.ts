import { beforeAll, describe, expect, it } from '@jest/globals';
import { PLANTED_STALLS } from './planted-stalls.js';
import { addCoverage, describeViolation } from './report.js';
import { simulateStalls } from './stalls.js';
import type { Coverage } from './world.js';

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
      const coverage: Coverage = new Map();
      for (let seed = 1; seed <= SEEDS; seed += 1) {
        const history = simulateStalls(seed);
        if (history.violation !== undefined)
          throw new Error(describeViolation(seed, history.violation, simulateStalls, '--stalls --seed'));
        addCoverage(coverage, history.coverage);
      }
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
    5 * 60_000,
  );

  it.each(Object.entries(PLANTED_STALLS))(
    'finds a planted bug: %s',
    (_, { parts, found }) => {
      let invariant: string | undefined;
      for (let seed = 1; seed <= SEEDS_TO_FIND && invariant === undefined; seed += 1) {
        const message = simulateStalls(seed, parts).violation?.message ?? '';
        invariant = found.find((name) => message.startsWith(`${name}:`));
      }
      expect(invariant).toBeDefined();
    },
    5 * 60_000,
  );
});
