import { describe, expect, it } from '@jest/globals';
import { PLANTED_ROLLOUT } from './planted-rollout.js';
import { addCoverage, describeViolation } from './report.js';
import { simulateRollout } from './rollout.js';
import type { Coverage } from './world.js';

const SEEDS = 60;

describe('simulation of rolling updates', () => {
  it(`the leadership moves once, to a ready pod of the new version, in ${SEEDS} histories`, () => {
    const coverage: Coverage = new Map();
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const history = simulateRollout(seed);
      if (history.violation !== undefined)
        throw new Error(describeViolation(seed, history.violation, simulateRollout, '--rollout'));
      addCoverage(coverage, history.coverage);
    }
    const parts = ['two versions for long', 'complete', 'handed over while the leader ran', 'the new leader died'];
    for (const what of [...parts, 'moved 1 times', 'moved 0 times']) {
      expect([what, coverage.get(`rollout: ${what}`) ?? 0]).toEqual([what, expect.any(Number)]);
      expect(coverage.get(`rollout: ${what}`) ?? 0).toBeGreaterThan(0);
    }
  }, 120_000);

  it.each(Object.entries(PLANTED_ROLLOUT))('finds a planted bug: %s', (_, { parts, found }) => {
    let invariant: string | undefined;
    for (let seed = 1; seed <= SEEDS && invariant === undefined; seed += 1) {
      const message = simulateRollout(seed, parts).violation?.message ?? '';
      invariant = found.find((name) => message.startsWith(`${name}:`));
    }
    expect(invariant).toBeDefined();
  });
});
