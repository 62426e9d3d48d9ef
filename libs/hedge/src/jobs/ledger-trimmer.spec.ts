import { describe, expect, it } from '@jest/globals';
import { HedgeError } from '../common/errors.js';
import type { LogTrim } from '../database/log-table.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import { LedgerTrimmer } from './ledger-trimmer.js';

const FENCE = { lease: 'l', token: 1n };

/** @param left the number of rows to delete, by key */
function setUp(left: Record<string, number> = {}) {
  const clock = new VirtualClock();
  const calls: string[] = [];
  const state = { fails: false, running: 0, mostRunning: 0 };
  const trim = async ({ key, keep, before, limit }: LogTrim): Promise<number> => {
    calls.push(`${key} ${keep}${before === undefined ? '' : ` before ${before}`}`);
    state.running += 1;
    state.mostRunning = Math.max(state.mostRunning, state.running);
    await Promise.resolve();
    state.running -= 1;
    if (state.fails) throw new HedgeError('BACKEND_UNAVAILABLE', 'down');
    const deleted = Math.min(limit, left[key] ?? 0);
    left[key] = (left[key] ?? 0) - deleted;
    return deleted;
  };
  const warnings: string[] = [];
  const logger = { warn: (message: string) => warnings.push(message) };
  return { clock, calls, state, left, warnings, logger, trimmer: new LedgerTrimmer({ trim }, clock, logger) };
}

describe('ledger trimmer', () => {
  it('trims a key after its first row, and then after each tenth of the rows that stay', async () => {
    const { clock, calls, trimmer } = setUp();
    for (let row = 0; row < 25; row += 1) {
      trimmer.written('a', 100, FENCE);
      await clock.advanceAsync(0);
    }
    expect(calls).toEqual(['a 100', 'a 100', 'a 100']);
  });

  it('keeps as many rows as the job has now', async () => {
    const { clock, calls, trimmer } = setUp();
    trimmer.written('a', 10, FENCE);
    await clock.advanceAsync(0);
    for (let row = 0; row < 10; row += 1) trimmer.written('a', 100, FENCE);
    await clock.advanceAsync(0);
    expect(calls).toEqual(['a 10', 'a 100']);
  });

  it('keeps rows of a time that the last row of the key moves', async () => {
    const { clock, calls, trimmer } = setUp({ a: 700 });
    trimmer.written('a', 100, FENCE, 5n);
    await clock.advanceAsync(0);
    trimmer.written('a', 100, FENCE, 8n);
    await clock.advanceAsync(1_000);
    expect(calls).toEqual(['a 100 before 5', 'a 100 before 8', 'a 100 before 8']);
  });

  it('deletes many rows in batches with pauses, one call at a time for all keys', async () => {
    const { clock, calls, state, left, trimmer } = setUp({ a: 1_200, b: 10 });
    trimmer.written('a', 100, FENCE);
    trimmer.written('b', 50, FENCE);
    await clock.advanceAsync(0);
    expect(calls).toEqual(['a 100']);
    await clock.advanceAsync(1_000);
    expect(calls).toEqual(['a 100', 'a 100', 'a 100', 'b 50']);
    expect([left, state.mostRunning]).toEqual([{ a: 0, b: 0 }, 1]);
  });

  it('tries again after the next row when a call fails, and logs that once', async () => {
    const { clock, calls, state, left, warnings, trimmer } = setUp({ a: 5 });
    state.fails = true;
    for (let row = 0; row < 2; row += 1) {
      trimmer.written('a', 100, FENCE);
      await clock.advanceAsync(0);
    }
    state.fails = false;
    trimmer.written('a', 100, FENCE);
    await clock.advanceAsync(0);
    expect([calls.length, left['a']]).toEqual([3, 0]);
    expect(warnings).toEqual([expect.stringContaining('until a next attempt: down')]);
  });

  it('keeps all rows without a limit, and with a driver that cannot delete', async () => {
    const { clock, calls, logger, trimmer } = setUp({ a: 5 });
    trimmer.written('a', Infinity, FENCE);
    new LedgerTrimmer({}, clock, logger).written('a', 1, FENCE);
    await clock.advanceAsync(0);
    expect(calls).toEqual([]);
  });
});
