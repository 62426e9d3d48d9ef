import { beforeAll, describe, expect, it } from '@jest/globals';
import { simulateFences } from './fences.js';
import { PLANTED_FENCES } from './planted-fences.js';
import { searchAll, seedThatFinds } from './search.js';

/** A short part of the search; `npm run sim -- --fences --seeds N` runs more. */
const SEEDS = 100;

/** The events that a set of histories must contain, at least once per ten seeds. */
const EXERCISED = [
  'database: waits for a lock',
  'database: lock timeout',
  'election: won',
  'fault: database replaced',
  'locks: granted',
  'transactions: commit, not-done',
  'transactions: commit, unknown',
  'transactions: commit, failed',
  'transactions: committed, leadership',
  'transactions: committed, lock',
  'transactions: committed, permit',
  'transactions: committed, semaphore',
  'transactions: ended when idle',
  'transactions: fence, failed',
  'transactions: fence, unknown',
  'transactions: hangs',
  'transactions: not held',
];

describe('the simulation of fenced transactions', () => {
  beforeAll(() => {
    Error.stackTraceLimit = 3;
  });

  it(`commits them in the order of tokens (F1), in ${SEEDS} histories`, () => {
    const coverage = searchAll(SEEDS, simulateFences, '--fences --seed');
    expect(EXERCISED.filter((what) => (coverage.get(what) ?? 0) < SEEDS / 10)).toEqual([]);
  }, 1_800_000);

  it.each(Object.entries(PLANTED_FENCES))('finds a planted bug: %s', async (_, bug) => {
    const seed = await seedThatFinds(bug, SEEDS, (one) => simulateFences(one, bug.parts));
    expect(seed).toBeDefined();
  });
});
