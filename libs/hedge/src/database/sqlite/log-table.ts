import {
  clampTimestamp,
  GREATEST_TIMESTAMP,
  isTombstone,
  isTrimmable,
  trimBounds,
  type AppendOutcome,
  type ChangesPage,
  type ChangesQuery,
  type Fence,
  type HistoryQuery,
  type KeysQuery,
  type LogAppend,
  type LogEntry,
  type LogTable,
  type LogTransaction,
  type LogTrim,
  type TransactionOutcome,
  type TrimmablePage,
  type TrimmableQuery,
} from '../log-table.js';
import { readHistory, readKeys } from '../history-pages.js';
import { assertTransactions, assertTrim, assertTrimmable, conflict, leaseLost } from '../checks.js';
import { compactedKey } from '../row-names.js';
import { assertText, assertTexts } from '../text.js';
import type { StoredVersion } from './protocol.js';
import type { SqliteCalls } from './threads.js';

/** The log in SQLite. */
export class SqliteLogTable implements LogTable {
  constructor(private readonly thread: SqliteCalls) {}

  async append(rows: readonly LogAppend[], fence?: Fence): Promise<readonly AppendOutcome[]> {
    const stored = rows.map(({ key, id, value, leader }) => ({ key, id, value, leader }));
    for (const row of stored) assertTexts(row);
    const result = await this.thread.call('append', stored, fence);
    if ('foundToken' in result) throw leaseLost(fence as Fence, result.foundToken);
    return rows.map((row, i) => {
      const timestamp = result.timestamps[i];
      return typeof timestamp === 'bigint' ? { timestamp } : conflict(row);
    });
  }

  async appendIf(transactions: readonly LogTransaction[], fence?: Fence): Promise<readonly TransactionOutcome[]> {
    assertTransactions(transactions);
    const result = await this.thread.call('appendIf', transactions.map(storedTransaction), fence);
    if ('foundToken' in result) throw leaseLost(fence as Fence, result.foundToken);
    return transactions.map((items, i) => {
      const outcome = result.outcomes[i];
      if (typeof outcome === 'bigint') return { timestamp: outcome };
      if (outcome === undefined || 'differs' in outcome) {
        const { key, append } = items[outcome?.differs ?? 0]!;
        return conflict({ key, id: append?.id ?? '' });
      }
      const refused = Array.from(outcome.refused, ({ place, newest }) => {
        return { place, newest: newest && toEntry(items[place]!.key, newest) };
      });
      return { refused };
    });
  }

  async overwrite(
    { key, value, leader }: Omit<LogAppend, 'id'>,
    fence?: Fence,
  ): Promise<{ readonly timestamp: bigint }> {
    const row = { key, value, leader };
    assertTexts(row);
    const result = await this.thread.call('overwrite', row, fence);
    if ('foundToken' in result) throw leaseLost(fence as Fence, result.foundToken);
    return { timestamp: result.timestamp };
  }

  async latest(key: string): Promise<LogEntry | undefined> {
    assertText('key', key);
    const version = await this.thread.call('latest', key);
    return version && toEntry(key, version);
  }

  async history(key: string, query: HistoryQuery): Promise<readonly LogEntry[]> {
    assertText('key', key);
    return readHistory(query, async ({ limit, order, before, after, from }) => {
      const { versions, more } = await this.thread.call('history', key, {
        limit,
        newestFirst: order === 'newest-first',
        before: clampTimestamp(before ?? GREATEST_TIMESTAMP),
        after: clampTimestamp(after ?? -1n),
        from: from && [from.timestamp, from.id],
      });
      return { entries: Array.from(versions, (version) => toEntry(key, version)), more };
    });
  }

  async trim(trim: LogTrim, fence?: Fence): Promise<number> {
    assertTrim(trim);
    const { key, keep, limit, record } = trim;
    const stored = {
      key,
      keep,
      ...trimBounds(trim),
      limit,
      record: record && { key: compactedKey(record.prefix), leader: record.leader },
    };
    const result = await this.thread.call('trim', stored, fence);
    if ('foundToken' in result) throw leaseLost(fence as Fence, result.foundToken);
    return result.trimmed;
  }

  async trimmable(query: TrimmableQuery): Promise<TrimmablePage> {
    assertTrimmable(query);
    const { prefix, keep, limit, after } = query;
    const found = await this.thread.call('trimmable', prefix, keep, limit, after);
    const keys = found.flatMap(([key, oldest, id, timestamp, beyond]) =>
      isTrimmable({ oldest, newest: { id, timestamp }, hasMore: beyond !== null }, query) ? [key] : [],
    );
    return { keys, next: found.length === limit ? found.at(-1)?.[0] : undefined };
  }

  async keys(query: KeysQuery): Promise<readonly string[]> {
    const { prefix } = query;
    assertTexts({ prefix, after: query.after ?? '' });
    return readKeys(query, async (limit, after) => {
      const { keys, more } = await this.thread.call('keys', prefix, limit, after);
      return { found: keys.map(([key, id]) => ({ key, deleted: isTombstone({ id }) })), more };
    });
  }

  async changes(query: ChangesQuery): Promise<ChangesPage> {
    const { prefix, exact, limit, after } = query;
    assertTexts({ prefix, id: after.id, key: after.key });
    const place = { timestamp: clampTimestamp(after.timestamp), id: after.id, key: after.key };
    const page = await this.thread.call('changes', { prefix, exact, limit, after: place });
    const entries = Array.from(page.changes, ([key, ...version]) => toEntry(key, version));
    const { more, compactedBefore } = page;
    return { entries, next: { ...page.next }, more, compactedBefore };
  }

  lastTimestamp(): Promise<bigint> {
    return this.thread.call('lastTimestamp');
  }
}

/** A copy without anything that could not be posted to the thread. */
function storedTransaction(items: LogTransaction): LogTransaction {
  return items.map(({ key, append, condition }) => {
    const follows = condition?.follows && { timestamp: condition.follows.timestamp, id: condition.follows.id };
    return {
      key,
      ...(append && { append: { id: append.id, value: append.value, leader: append.leader } }),
      ...(condition && { condition: { follows } }),
    };
  });
}

function toEntry(key: string, [id, value, leader, timestamp]: StoredVersion): LogEntry {
  return { key, id, value, leader, timestamp };
}
