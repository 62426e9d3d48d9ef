import { describe, expect, it } from '@jest/globals';
import type { OperationAttempt, Connection } from './client/connection.js';
import { SpannerLogTable } from './log-table.js';
import { formatTimestamp, type Row } from './client/values.js';

const tables = { lockTable: 'locktable', logTable: 'logtable' };
const row = (id: string) => ({ key: 'k', id, value: 'v', leader: 'a:1' });
const stored = (id: string): Row => ['k', id, 'v', formatTimestamp(7n)];

/** A table whose next attempt finds the lease with token 9, and the given rows. */
function tableThatFinds(found: readonly Row[], mayRepeat: boolean): SpannerLogTable {
  const transaction = {
    query: async () => [[formatTimestamp(9n)]],
    read: async () => found,
    commit: () => Promise.reject(new Error('nothing is to be committed')),
  };
  const attempt = { mayRepeat, begin: () => transaction } as unknown as OperationAttempt;
  const connection = { run: (_name: string, work: (attempt: OperationAttempt) => unknown) => work(attempt) };
  return new SpannerLogTable(connection as unknown as Connection, tables, { strong: true });
}

describe('a fenced append that finds another token', () => {
  const lost = expect.objectContaining({ code: 'LEASE_LOST' });
  const fence = { lease: 'l', token: 5n };

  it('L3: is rejected', async () => {
    await expect(tableThatFinds([], false).append([row('1')], fence)).rejects.toEqual(lost);
    await expect(tableThatFinds([stored('1')], false).append([row('1')], fence)).rejects.toEqual(lost);
  });

  it('K1: does not report that nothing was written when an earlier attempt of the call has written it', async () => {
    const table = tableThatFinds([stored('1'), stored('2')], true);
    const outcomes = await table.append([row('1'), row('2')], fence);
    expect(outcomes).toEqual([{ timestamp: 7n }, { timestamp: 7n }]);
  });

  it('K1: is rejected when no earlier attempt of the call has written it', async () => {
    await expect(tableThatFinds([stored('1')], true).append([row('1'), row('2')], fence)).rejects.toEqual(lost);
  });
});
