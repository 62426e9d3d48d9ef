import { beforeAll, describe, expect, it } from '@jest/globals';
import { simulateAnnouncements } from './announcements.js';
import { PLANTED_ANNOUNCEMENTS } from './planted-announcements.js';
import { searchAll, seedThatFinds } from './search.js';

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
      const coverage = searchAll(SEEDS, simulateAnnouncements, '--announcements --seed');
      const exercised = ['crash', 'pause', 'cut off'].map((kind) => `failover: ${kind}`);
      expect(exercised.filter((what) => (coverage.get(what) ?? 0) < SEEDS / 10)).toEqual([]);
      expect(coverage.get('election: renewal announced')).toBeGreaterThan(SEEDS);
    },
    30 * 60_000,
  );

  it.each(Object.entries(PLANTED_ANNOUNCEMENTS))(
    'finds a planted bug: %s',
    async (_, bug) => {
      const seed = await seedThatFinds(bug, SEEDS_TO_FIND, (one) => simulateAnnouncements(one, bug.parts));
      expect(seed).toBeDefined();
    },
    30 * 60_000,
  );
});
