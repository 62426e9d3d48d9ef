import { describe, expect, it } from '@jest/globals';
import { readHistory, type HistoryPageQuery } from './history-pages.js';
import { OVERWRITE_ID, type HistoryQuery, type LogEntry } from './log-table.js';

/** A table of one key that is read two rows at a time, and changes between two pages. */
class Table {
  readonly #changes: (() => void)[];
  rows: LogEntry[];

  constructor(rows: LogEntry[], changes: (() => void)[] = []) {
    this.rows = rows;
    this.#changes = changes;
  }

  read(query: HistoryQuery): Promise<readonly LogEntry[]> {
    return readHistory(query, async (page) => {
      const found = this.#page(page);
      this.#changes.shift()?.();
      return found;
    });
  }

  put(id: string, timestamp: bigint): void {
    this.rows = [...this.rows.filter((row) => id !== OVERWRITE_ID || row.id !== id), row(id, timestamp)];
  }

  #page({ limit, order, before = 1_000n, after = 0n, from }: HistoryPageQuery) {
    const sign = order === 'oldest-first' ? 1 : -1;
    const found = this.rows
      .filter(({ timestamp }) => timestamp < before && timestamp > after)
      .filter((one) => from === undefined || sign * compare(one, from) > 0)
      .slice()
      .sort((a, b) => sign * compare(a, b));
    const entries = found.slice(0, Math.min(limit, 2));
    return { entries, more: entries.length === 2 && entries.length < limit };
  }
}

const row = (id: string, timestamp: bigint): LogEntry => ({ key: 'k', id, value: id, leader: '', timestamp });
const compare = (a: LogEntry, b: LogEntry): number =>
  Number(a.timestamp - b.timestamp) || (a.id < b.id ? -1 : Number(a.id > b.id));
const names = (entries: readonly LogEntry[]): string[] => entries.map(({ id, timestamp }) => `${id}${timestamp}`);
const rows = () => [row('-', 1n), row('b', 2n), row('c', 3n), row('d', 3n), row('e', 5n)];

describe('a history that is read in pages', () => {
  it('has each version once, also where a commit spans two pages', async () => {
    const table = new Table(rows());
    const all = await table.read({ limit: Infinity, order: 'oldest-first' });
    expect(names(all)).toEqual(['-1', 'b2', 'c3', 'd3', 'e5']);
    expect(names(await table.read({ limit: Infinity, order: 'newest-first' }))).toEqual(names(all).slice().reverse());
    expect(names(await table.read({ limit: 3, order: 'newest-first' }))).toEqual(['e5', 'd3', 'c3']);
  });

  it('K2 newest first, contains the row of an overwritten key that moved meanwhile', async () => {
    const expected = ['-7', 'f6', 'e5', 'd3', 'c3', 'b2'];
    const table: Table = new Table(rows(), [() => (table.put('f', 6n), table.put('-', 7n))]);
    expect(names(await table.read({ limit: Infinity, order: 'newest-first' }))).toEqual(expected);
  });

  it('K2 newest first, reads again as long as that row moves', async () => {
    const later = (at: bigint) => () => {
      for (const id of ['x', 'y', 'z']) table.put(`${id}${at}-`, at);
      table.put('-', at + 1n);
    };
    // After pages 1 and 2: the second move is behind a page of what was read since.
    const table: Table = new Table(rows(), [later(10n), () => undefined, () => undefined, later(20n)]);
    const found = names(await table.read({ limit: Infinity, order: 'newest-first' }));
    expect(found.filter((name) => name.startsWith('-'))).toEqual(['-21']);
    expect(found).toEqual(names(table.rows.slice().sort((a, b) => compare(b, a))));
  });

  it('K2 oldest first, contains the row of an overwritten key once', async () => {
    const table: Table = new Table(rows(), [() => table.put('-', 6n)]);
    expect(names(await table.read({ limit: Infinity, order: 'oldest-first' }))).toEqual(['b2', 'c3', 'd3', 'e5', '-6']);
    const limited: Table = new Table(rows(), [() => limited.put('-', 4n)]);
    expect(names(await limited.read({ limit: 5, order: 'oldest-first' }))).toEqual(['b2', 'c3', 'd3', '-4', 'e5']);
  });

  it('stops reading after its signal has aborted', async () => {
    const controller = new AbortController();
    const table = new Table(rows(), [() => controller.abort()]);
    const read = table.read({ limit: Infinity, order: 'oldest-first', signal: controller.signal });
    await expect(read).rejects.toMatchObject({ code: 'CANCELLED' });
  });
});
