import { beforeAll, expect, it } from '@jest/globals';
import { type PlantedBug, seedThatFinds } from './search.js';
import { simulate } from './simulate.js';

/** Within this many seeds every planted bug shows; the rarest needs about ten. */
const SEEDS_TO_FIND = 300;

/** A test for each bug: histories of whole clusters find it. They are in two files, which run on two cores. */
export function itFindsEach(bugs: Readonly<Record<string, PlantedBug>>): void {
  beforeAll(() => {
    Error.stackTraceLimit = 3;
  });

  it.each(Object.entries(bugs))(
    'finds a planted bug: %s',
    async (_, bug) => {
      const { parts, conditions } = bug;
      const seed = await seedThatFinds(bug, SEEDS_TO_FIND, (one) => simulate(one, parts, undefined, conditions));
      expect(seed).toBeDefined();
    },
    30 * 60_000,
  );
}
