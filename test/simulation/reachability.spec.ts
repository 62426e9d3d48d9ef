import { describe, expect, it } from '@jest/globals';
import { PLANTED_EARLY_REPORT, PLANTED_REACHABILITY } from './planted-reachability.js';
import { simulateLeaderEnd, simulateOneWay, simulateReachability } from './reachability.js';
import { addCoverage } from './report.js';
import { searchAll, seedThatFinds } from './search.js';
import type { Coverage } from './world.js';

const SEEDS = 300;

describe('simulation of partitions between pods that all reach the database', () => {
  it(
    `a leader that most members cannot reach gives way once, in ${SEEDS} histories`,
    () => {
      const coverage = searchAll(SEEDS, simulateReachability, '--reachability --seed');
      for (const what of ['gave way', 'members ended', '2 sides', '3 sides', '4 sides', '5 sides']) {
        expect(coverage.get(`reachability: ${what}`) ?? 0).toBeGreaterThan(SEEDS / 50);
      }
    },
    30 * 60_000,
  );

  it(`a leader resigns also when it can dial only one of the reporters, in ${SEEDS} histories`, () => {
    const coverage: Coverage = new Map();
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const history = simulateOneWay(seed);
      if (history.violation !== undefined) throw new Error(`seed ${seed}: ${history.violation.message}`);
      addCoverage(coverage, history.coverage);
    }
    expect(coverage.get('reachability: one way')).toBeGreaterThan(SEEDS / 5);
  }, 1_800_000);

  it(`no member reports a leader that has ended, in ${SEEDS} histories`, async () => {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const history = simulateLeaderEnd(seed);
      if (history.violation !== undefined) throw new Error(`seed ${seed}: ${history.violation.message}`);
    }
    const bug = PLANTED_EARLY_REPORT;
    expect(await seedThatFinds(bug, SEEDS, (seed) => simulateLeaderEnd(seed, bug.parts))).toBeDefined();
  }, 1_800_000);

  it.each(Object.entries(PLANTED_REACHABILITY))('finds a planted bug: %s', async (_, bug) => {
    const seed = await seedThatFinds(bug, SEEDS, (one) => simulateReachability(one, bug.parts));
    expect(seed).toBeDefined();
  });
});
