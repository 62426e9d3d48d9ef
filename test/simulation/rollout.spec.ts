import { describe, expect, it } from '@jest/globals';
import { PLANTED_ROLLOUT } from './planted-rollout.js';
import { simulateRollout } from './rollout.js';
import { searchAll, seedThatFinds } from './search.js';

const SEEDS = 60;

const EXERCISED = [
  'two versions for long',
  'complete',
  'handed over while the leader ran',
  'the new leader died',
  'moved 1 times',
  'moved 0 times',
];

describe('simulation of rolling updates', () => {
  it(`the leadership moves once, to a ready pod of the new version, in ${SEEDS} histories`, () => {
    const coverage = searchAll(SEEDS, simulateRollout, '--rollout --seed');
    expect(EXERCISED.filter((what) => !coverage.has(`rollout: ${what}`))).toEqual([]);
  }, 1_800_000);

  it.each(Object.entries(PLANTED_ROLLOUT))('finds a planted bug: %s', async (_, bug) => {
    const seed = await seedThatFinds(bug, SEEDS, (one) => simulateRollout(one, bug.parts));
    expect(seed).toBeDefined();
  });
});
