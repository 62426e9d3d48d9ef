import { beforeAll, describe, expect, it } from '@jest/globals';
import { simulateAnnouncements } from './announcements.js';
import { PLANTED_ANNOUNCEMENTS } from './planted-announcements.js';
import { addCoverage, describeViolation } from './report.js';
import type { Coverage } from './world.js';

const SEEDS = 300;
/** Within this many seeds every planted bug shows. */
const SEEDS_TO_FIND = 300;

describe('simulation of announced renewals', () => {
  beforeAll(() => {
    Error.stackTraceLimit = 3;
  });

  it(
    `idle followers do not read the lease, and take over in time, in ${SEEDS} histories`,
    () => {
      const coverage: Coverage = new Map();
      for (let seed = 1; seed <= SEEDS; seed += 1) {
        const history = simulateAnnouncements(seed);
        if (history.violation !== undefined)
          throw new Error(describeViolation(seed, history.violation, simulateAnnouncements, '--announcements --seed'));
        addCoverage(coverage, history.coverage);
      }
      const exercised = ['crash', 'pause', 'cut off'].map((kind) => `failover: ${kind}`);
      expect(exercised.filter((what) => (coverage.get(what) ?? 0) < SEEDS / 10)).toEqual([]);
      expect(coverage.get('election: renewal announced')).toBeGreaterThan(SEEDS);
    },
    5 * 60_000,
  );

  it.each(Object.entries(PLANTED_ANNOUNCEMENTS))(
    'finds a planted bug: %s',
    (_, { parts, found }) => {
      let invariant: string | undefined;
      for (let seed = 1; seed <= SEEDS_TO_FIND && invariant === undefined; seed += 1) {
        const message = simulateAnnouncements(seed, parts).violation?.message ?? '';
        invariant = found.find((name) => message.startsWith(`${name}:`));
      }
      expect(invariant).toBeDefined();
    },
    5 * 60_000,
  );
});
