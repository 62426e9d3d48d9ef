import { beforeAll, describe, expect, it } from '@jest/globals';
import { PLANTED } from './planted.js';
import { simulate } from './simulate.js';

/** Within this many seeds every planted bug shows; the rarest needs about a hundred. */
const SEEDS_TO_FIND = 1_000;

describe('the simulation of whole clusters', () => {
  beforeAll(() => {
    Error.stackTraceLimit = 3;
  });

  it.each(Object.entries(PLANTED))(
    'finds a planted bug: %s',
    (_, { parts, found }) => {
      let invariant: string | undefined;
      for (let seed = 1; seed <= SEEDS_TO_FIND && invariant === undefined; seed += 1) {
        const message = simulate(seed, parts).violation?.message ?? '';
        invariant = found.find((name) => message.startsWith(`${name}:`));
      }
      expect(invariant).toBeDefined();
    },
    5 * 60_000,
  );
});
