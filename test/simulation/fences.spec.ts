import { beforeAll, describe, expect, it } from '@jest/globals';
import { simulateFences } from './fences.js';
import { PLANTED_FENCES } from './planted-fences.js';
import { addCoverage, describeViolation } from './report.js';
import type { Coverage } from './world.js';

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
    const coverage: Coverage = new Map();
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const { violation, coverage: found } = simulateFences(seed);
      if (violation !== undefined)
        throw new Error(describeViolation(seed, violation, simulateFences, '--fences --seed'));
      addCoverage(coverage, found);
    }
    expect(EXERCISED.filter((what) => (coverage.get(what) ?? 0) < SEEDS / 10)).toEqual([]);
  }, 300_000);

  it.each(Object.entries(PLANTED_FENCES))('finds a planted bug: %s', (_, { parts, found }) => {
    let invariant: string | undefined;
    for (let seed = 1; seed <= SEEDS && invariant === undefined; seed += 1) {
      const message = simulateFences(seed, parts).violation?.message ?? '';
      invariant = found.find((name) => message.startsWith(`${name}:`));
    }
    expect(invariant).toBeDefined();
  });
});
