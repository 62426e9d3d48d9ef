import { describe, expect, it } from '@jest/globals';
import type { AppendOutcome, Fence, LogAppend } from '../database/log-table.js';
import { HedgeError } from '../common/errors.js';
import { BatchedLog } from './batched-log.js';

const row = (key: string): LogAppend => ({ key, id: 'id', value: 'value', leader: 'a:1' });
const TERM: Fence = { lease: 'l', token: 1n };

/** A log that answers when the test lets it. */
function logInHand() {
  const appends: {
    keys: string[];
    fence: Fence | undefined;
    answer: (outcomes?: readonly AppendOutcome[]) => void;
    fail: (error: Error) => void;
  }[] = [];
  const reads: { key: string; answer: () => void }[] = [];
  const log = new BatchedLog({
    append: (rows, fence) =>
      new Promise((resolve, fail) => {
        const keys = rows.map(({ key }) => key);
        const answer = (outcomes = keys.map(() => ({ timestamp: 7n })) as readonly AppendOutcome[]) =>
          resolve(outcomes);
        appends.push({ keys, fence, answer, fail });
      }),
    latest: (key) => new Promise((resolve) => reads.push({ key, answer: () => resolve(undefined) })),
  });
  return { log, appends, reads };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('the log for all jobs of a pod', () => {
  it('commits the rows of one turn together, and the rows that arrive during a commit together', async () => {
    const { log, appends } = logInHand();
    const first = ['a', 'b'].map((key) => log.append([row(key)], TERM));
    await turn();
    const later = ['c', 'd', 'e'].map((key) => log.append([row(key)], TERM));
    await turn();
    expect(appends.map(({ keys }) => keys)).toEqual([['a', 'b']]);
    appends[0]!.answer();
    expect(await Promise.all(first)).toEqual([[{ timestamp: 7n }], [{ timestamp: 7n }]]);
    await turn();
    expect(appends.map(({ keys }) => keys)).toEqual([
      ['a', 'b'],
      ['c', 'd', 'e'],
    ]);
    appends[1]!.answer();
    await Promise.all(later);
  });

  it('returns to each call its own outcome', async () => {
    const { log, appends } = logInHand();
    const calls = ['a', 'b'].map((key) => log.append([row(key)], TERM));
    await turn();
    const conflict = new HedgeError('CONFLICT', 'there');
    appends[0]!.answer([conflict, { timestamp: 8n }]);
    expect(await Promise.all(calls)).toEqual([[conflict], [{ timestamp: 8n }]]);
  });

  it('commits rows of different terms separately, in their order', async () => {
    const { log, appends } = logInHand();
    const next = { ...TERM, token: 2n };
    const calls = [log.append([row('a')], TERM), log.append([row('b')], next), log.append([row('c')], next)];
    for (let batch = 0; batch < 2; batch += 1) {
      await turn();
      appends[batch]!.answer();
    }
    await Promise.all(calls);
    expect(appends.map(({ keys, fence }) => [keys, fence?.token])).toEqual([
      [['a'], 1n],
      [['b', 'c'], 2n],
    ]);
  });

  it('rejects all calls of a failed commit, and continues with the next', async () => {
    const { log, appends } = logInHand();
    const failing = ['a', 'b'].map((key) => log.append([row(key)], TERM));
    await turn();
    appends[0]!.fail(new HedgeError('LEASE_LOST', 'lost'));
    const outcomes = await Promise.allSettled(failing);
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    const next = log.append([row('c')], TERM);
    await turn();
    appends[1]!.answer();
    expect(await next).toEqual([{ timestamp: 7n }]);
  });

  it('finds the one row that the database rejects, and writes the others', async () => {
    const kept: string[] = [];
    const log = new BatchedLog({
      append: async (rows) => {
        if (rows.some(({ key }) => key === 'bad')) throw new HedgeError('INVALID_ARGUMENT', 'too large');
        kept.push(...rows.map(({ key }) => key));
        return rows.map(() => ({ timestamp: 1n }));
      },
      latest: async () => undefined,
    });
    const outcomes = await Promise.allSettled(['a', 'b', 'bad', 'c', 'd'].map((key) => log.append([row(key)])));
    expect(outcomes.map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
      'fulfilled',
      'fulfilled',
    ]);
    expect(kept).toEqual(['a', 'b', 'c', 'd']);
  });

  it('bounds the rows of a commit, and the concurrent reads', async () => {
    const { log, appends, reads } = logInHand();
    for (let index = 0; index < 1_001; index += 1) void log.append([row(`${index}`)], TERM);
    for (let batch = 0; batch < 3; batch += 1) {
      await turn();
      appends[batch]!.answer();
    }
    expect(appends.map(({ keys }) => keys.length)).toEqual([500, 500, 1]);
    const all = Promise.all(Array.from({ length: 100 }, (_, index) => log.latest(`${index}`)));
    for (let answered = 0; answered < 100; answered += 1) {
      expect(reads.length - answered).toBeLessThanOrEqual(32);
      reads[answered]!.answer();
      await turn();
    }
    await all;
    expect(reads.map(({ key }) => Number(key))).toEqual(Array.from({ length: 100 }, (_, index) => index));
  });
});
