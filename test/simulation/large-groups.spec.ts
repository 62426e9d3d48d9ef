import { beforeAll, describe, expect, it } from '@jest/globals';
import { simulateLargeGroup } from './large-groups.js';
import { PLANTED_VIEWS } from './planted-views.js';
import { seedThatFinds } from './search.js';

const PODS = 300;
/** A history of 300 pods takes half a minute. */
const SEEDS = 1;
const SEEDS_TO_FIND = 30;

describe('simulation of large groups', () => {
  beforeAll(() => {
    Error.stackTraceLimit = 3;
  });

  it(`${PODS} members get the same whole view, after lost and reordered changes and a crash of the leader`, () => {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const { violation, sentWhileJoining } = simulateLargeGroup(seed, PODS);
      if (violation !== undefined) throw new Error(`seed ${seed}: ${violation.message}`);
      // Each member gets one view of at most all, and each later change once. Before views had changes, it was n^3.
      expect(sentWhileJoining).toBeLessThan(3 * PODS ** 2);
    }
  }, 1_800_000);

  it.each(Object.entries(PLANTED_VIEWS))(
    'finds a planted bug: %s',
    async (_, bug) => {
      const seed = await seedThatFinds(bug, SEEDS_TO_FIND, (one) => simulateLargeGroup(one, 30, bug.parts));
      expect(seed).toBeDefined();
    },
    1_800_000,
  );
});
