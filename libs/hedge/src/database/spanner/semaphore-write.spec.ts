import { describe, expect, it } from '@jest/globals';
import type { SemaphoreWrite } from '../permit-table.js';
import { decideWrite, toFound, type StoredSemaphore } from './semaphore-write.js';
import { formatTimestamp } from './client/values.js';

const write: SemaphoreWrite = { name: 's', follows: 5n, limit: 3, value: 'mine', holders: [], leader: 'a:1' };
const fence = { lease: 'l', token: 2n };
const before: StoredSemaphore = { id: 'limit=2', limit: 2, value: 'before', leader: 'b:1', timestamp: 5n };
const mine: StoredSemaphore = { id: 'limit=3', limit: 3, value: 'mine', leader: 'a:1', timestamp: 8n };

const decide = (row: StoredSemaphore | undefined, mayRepeat: boolean, token = 2n, follows = 5n) =>
  decideWrite({ ...write, follows }, fence, { token, row, ids: [] }, mayRepeat);

describe('decideWrite', () => {
  it.each([false, true])('S1: writes while the version and the token are the same (may repeat: %s)', (mayRepeat) => {
    expect(decide(before, mayRepeat)).toBe('commit');
    expect(decide(undefined, mayRepeat, 2n, 0n)).toBe('commit');
  });

  it.each([false, true])('S1: refuses under another token (may repeat: %s)', (mayRepeat) => {
    expect(() => decide(before, mayRepeat, 3n)).toThrow(expect.objectContaining({ code: 'LEASE_LOST' }));
  });

  it('S1: rejects a write after another one, whatever its value', () => {
    for (const row of [mine, { ...before, timestamp: 8n }]) {
      const { limit, value, timestamp } = row;
      expect(decide(row, false)).toEqual({ written: false, row: { limit, value, timestamp } });
    }
    expect(decide(undefined, false)).toEqual({ written: false, row: undefined });
  });

  it('recognises the effect of an earlier attempt of this call', () => {
    expect(decide(mine, true)).toEqual({ written: true, timestamp: 8n });
  });

  it.each([
    ['another value', { ...mine, value: 'other' }, 2n],
    ['another limit', { ...mine, id: 'limit=4', limit: 4 }, 2n],
    ['another leader', { ...mine, leader: 'b:1' }, 2n],
    ['no row any more', undefined, 2n],
    ['its own value, under a lease taken since', mine, 3n],
  ])('reports no certain failure when an earlier attempt may have happened, and finds %s', (_what, row, token) => {
    expect(() => decide(row, true, token)).toThrow(expect.objectContaining({ code: 'BACKEND_UNAVAILABLE' }));
  });
});

const rowOf = (id: string, at: bigint) => ['row', id, 'v', 'a:1', formatTimestamp(at)];

describe('toFound', () => {
  it('uses the newest of several rows, and 0 for a lease that was never acquired', () => {
    const rows = [rowOf('limit=1', 4n), rowOf('limit=2', 9n), rowOf('foreign', 7n)];
    const ids = ['limit=1', 'limit=2', 'foreign'];
    const newest = { id: 'limit=2', limit: 2, value: 'v', leader: 'a:1', timestamp: 9n };
    expect(toFound(rows)).toEqual({ token: 0n, row: newest, ids });
    expect(toFound([['token', '', '', '', formatTimestamp(3n)]])).toEqual({ token: 3n, row: undefined, ids: [] });
  });
});
