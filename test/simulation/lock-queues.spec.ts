import { beforeAll, describe, expect, it } from '@jest/globals';
import { simulateLockQueues } from './lock-queues.js';
import { PLANTED_LOCK_QUEUES } from './planted-lock-queues.js';
import { searchAll, seedThatFinds } from './search.js';

const SEEDS = 30;
/** Within this many seeds every planted bug shows. */
const SEEDS_TO_FIND = 40;

describe('simulation of one lock that all pods want', () => {
  beforeAll(() => {
    Error.stackTraceLimit = 3;
  });

  it(
    `the lock costs a few calls for each holder, and never stays free for long, in ${SEEDS} histories`,
    () => {
      const coverage = searchAll(SEEDS, simulateLockQueues, '--lock-queues --seed');
      const lost = [...coverage].filter(([what]) => what.startsWith('lost: '));
      expect(lost.map(([, count]) => count >= SEEDS / 10)).toEqual(Array(6).fill(true));
      expect(coverage.get('calm: alone')).toBeGreaterThan(SEEDS / 2);
      expect(coverage.get('locks: successor notified')).toBeGreaterThan(100 * SEEDS);
    },
    30 * 60_000,
  );

  it.each(Object.entries(PLANTED_LOCK_QUEUES))(
    'finds a planted bug: %s',
    async (_, bug) => {
      const seed = await seedThatFinds(bug, SEEDS_TO_FIND, (one) => simulateLockQueues(one, bug.parts));
      expect(seed).toBeDefined();
    },
    30 * 60_000,
  );
});
