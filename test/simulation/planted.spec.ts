import { beforeAll, describe, expect, it } from '@jest/globals';
import { PLANTED } from './planted.js';
import { seedThatFinds } from './search.js';
import { simulate } from './simulate.js';

/** Within this many seeds every planted bug shows; the rarest needs about ten. */
const SEEDS_TO_FIND = 300;

describe('the simulation of whole clusters', () => {
  beforeAll(() => {
    Error.stackTraceLimit = 3;
  });

  it.each(Object.entries(PLANTED))(
    'finds a planted bug: %s',
    async (_, bug) => {
      const { parts, conditions } = bug;
      const seed = await seedThatFinds(bug, SEEDS_TO_FIND, (one) => simulate(one, parts, undefined, conditions));
      expect(seed).toBeDefined();
    },
    30 * 60_000,
  );
});
