import {
  clampTimestamp,
  comparePlaces,
  GREATEST_TIMESTAMP,
  isTombstone,
  isTrimmable,
  laterPlace,
  placeAt,
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
  type RefusedItem,
  type TransactionOutcome,
  type TrimmablePage,
  type TrimmableQuery,
} from '../log-table.js';
import { readHistory, readKeys } from '../history-pages.js';
import { assertTransactions, assertTrim, assertTrimmable, conflict, leaseLost } from '../checks.js';
import { assertText, assertTexts } from '../text.js';
import { HedgeError } from '../../common/errors.js';
import { SERIALIZATION_FAILURE } from './failures.js';
import type { Calls, Query } from './client/calls.js';
import type { Row } from './client/client.js';
import type { Tables } from './options.js';
import {
  appendIfSql,
  appendSql,
  changesSql,
  historySql,
  keysSql,
  lastTimestampSql,
  latestOfSql,
  latestSql,
  namesOf,
  overwriteSql,
  SEARCHED_ROWS,
  storedSql,
  tokenSql,
  trimmableSql,
  trimSql,
  type Names,
} from './sql.js';

/** A page of a long read is one call, and ends with the row that reaches one of these. */
const PAGE_ROWS = 5_000;
const PAGE_BYTES = 4 * 2 ** 20;

/** The same for a page of changes, of which each reader holds one. */
const CHANGES_BYTES = 2 ** 20;

/** Runs of a conditional append that other writes prevent, in about 150 ms. Meanwhile the leader sends no other append. */
const CONDITIONAL_ATTEMPTS = 6;

/** The log in PostgreSQL. */
export class PostgresLogTable implements LogTable {
  readonly #names: Names;

  constructor(
    private readonly calls: Calls,
    tables: Tables,
  ) {
    this.#names = namesOf(tables);
  }

  async append(rows: readonly LogAppend[], fence?: Fence): Promise<readonly AppendOutcome[]> {
    for (const { key, id, value, leader } of rows) assertTexts({ key, id, value, leader });
    if (rows.length === 0) return [];
    const work = async (query: Query): Promise<readonly AppendOutcome[]> => {
      const [result] = await query(appendSql(this.#names, rows, fence));
      if (result?.['added'] === String(rows.length)) {
        const timestamp = toBigInt(result['timestamp']);
        return rows.map(() => ({ timestamp }));
      }
      if (result?.['fenced'] !== '1') await this.#assertFence(query, fence);
      const stored = toOutcomes(rows, await query(storedSql(this.#names, rows)));
      return stored.map((outcome) => outcome ?? unwritten(this.calls.database));
    };
    // An open transaction of a job may hold the row for a whole lease. Until then, other jobs must be able to append.
    return this.calls.run('log.append', work, { repeatsWhenLocked: fence === undefined });
  }

  async appendIf(transactions: readonly LogTransaction[], fence?: Fence): Promise<readonly TransactionOutcome[]> {
    assertTransactions(transactions);
    if (transactions.length === 0) return [];
    const work = async (query: Query): Promise<readonly TransactionOutcome[]> => {
      const results = [...(await query(appendIfSql(this.#names, transactions, fence, PAGE_BYTES)))];
      if (results[0]?.['fenced'] !== '1') await this.#assertFence(query, fence);
      results.sort((a, b) => Number(a['place']) - Number(b['place']));
      const outcomes: TransactionOutcome[] = [];
      for (const items of transactions) {
        outcomes.push(await this.#outcomeOf(items, results.splice(0, items.length), query));
      }
      return outcomes;
    };
    return this.calls.run('log.appendIf', work, { mostAttempts: CONDITIONAL_ATTEMPTS });
  }

  /** @param results one for each item of the transaction */
  async #outcomeOf(items: LogTransaction, results: readonly Row[], query: Query): Promise<TransactionOutcome> {
    const differing = results.findIndex(({ same }) => same === 'false');
    const { key, append } = items[differing] ?? {};
    if (key !== undefined) return conflict({ key, id: append?.id ?? '' });
    const stored = results.find((result) => typeof result['stored'] === 'string');
    if (stored !== undefined) return { timestamp: toBigInt(stored['stored']) };
    const refused: RefusedItem[] = [];
    for (const [place, result] of results.entries()) {
      if (result['refused'] !== 'true') continue;
      const { key } = items[place]!;
      // One by one, so that no answer has many large values.
      const rows = result['later'] === 'true' ? await query(latestSql(this.#names, key)) : [result];
      refused.push({ place, newest: toEntries(key, rows)[0] });
    }
    if (refused.length > 0) return { refused };
    const last = results[0]?.['last'];
    return typeof last === 'string' ? { timestamp: toBigInt(last) } : anotherCameFirst();
  }

  async overwrite(
    { key, value, leader }: Omit<LogAppend, 'id'>,
    fence?: Fence,
  ): Promise<{ readonly timestamp: bigint }> {
    const row = { key, value, leader };
    assertTexts(row);
    return this.calls.run('log.overwrite', async (query) => {
      const [written] = await query(overwriteSql(this.#names, row, fence));
      if (written !== undefined) return { timestamp: toBigInt(written['timestamp']) };
      await this.#assertFence(query, fence);
      throw unwritten(this.calls.database);
    });
  }

  async latest(key: string): Promise<LogEntry | undefined> {
    assertText('key', key);
    const rows = await this.calls.query('log.latest', latestSql(this.#names, key));
    return toEntries(key, rows)[0];
  }

  async latestOf(keys: readonly string[]): Promise<ReadonlyMap<string, LogEntry | undefined>> {
    for (const key of keys) assertText('key', key);
    const rows = await this.calls.query('log.latest', latestOfSql(this.#names, keys, PAGE_BYTES));
    return new Map(
      rows.map((row) => {
        const key = keys[Number(row['place']) - 1] ?? '';
        return [key, toEntries(key, [row])[0]];
      }),
    );
  }

  async history(key: string, query: HistoryQuery): Promise<readonly LogEntry[]> {
    assertText('key', key);
    return readHistory(query, async ({ limit, order, before, after, from }) => {
      const statement = historySql(this.#names, key, {
        limit: Math.min(limit, PAGE_ROWS),
        newestFirst: order === 'newest-first',
        before: clampTimestamp(before ?? GREATEST_TIMESTAMP),
        after: clampTimestamp(after ?? -1n),
        from,
        bytes: PAGE_BYTES,
      });
      const entries = toEntries(key, await this.calls.query('log.history', statement));
      const bytes = entries.reduce((sum, { value }) => sum + Buffer.byteLength(value), 0);
      return { entries, more: entries.length === PAGE_ROWS || bytes >= PAGE_BYTES };
    });
  }

  async trim(trim: LogTrim, fence?: Fence): Promise<number> {
    assertTrim(trim);
    return this.calls.run('log.trim', async (query) => {
      const [result] = await query(trimSql(this.#names, trim, fence));
      if (result?.['fenced'] !== '1') await this.#assertFence(query, fence);
      return Number(result?.['deleted'] ?? 0);
    });
  }

  async trimmable(query: TrimmableQuery): Promise<TrimmablePage> {
    assertTrimmable(query);
    const rows = await this.calls.query('log.trimmable', trimmableSql(this.#names, query));
    const found = rows.filter(({ key }) => typeof key === 'string');
    const keys = found.flatMap(({ key, id, oldest, newest, more }) => {
      const version = { id: id ?? '', timestamp: toBigInt(newest) };
      const trimmable = isTrimmable({ oldest: toBigInt(oldest), newest: version, hasMore: more === 'true' }, query);
      return trimmable ? [key ?? ''] : [];
    });
    return { keys, next: found.length === query.limit ? (found.at(-1)?.['key'] ?? undefined) : undefined };
  }

  async keys(query: KeysQuery): Promise<readonly string[]> {
    const { prefix } = query;
    assertTexts({ prefix, after: query.after ?? '' });
    return readKeys(query, async (limit, after) => {
      const asked = Math.min(limit, PAGE_ROWS);
      const rows = await this.calls.query('log.keys', keysSql(this.#names, prefix, asked, after));
      const found = rows.flatMap(({ key, id }) =>
        typeof key === 'string' ? [{ key, deleted: isTombstone({ id: id ?? '' }) }] : [],
      );
      return { found, more: found.length === asked };
    });
  }

  async changes(query: ChangesQuery): Promise<ChangesPage> {
    assertTexts({ prefix: query.prefix, id: query.after.id, key: query.after.key });
    const rows = await this.calls.query('log.changes', changesSql(this.#names, query, CHANGES_BYTES));
    const of = (kind: string): LogEntry[] =>
      rows.filter((row) => row['kind'] === kind).flatMap((row) => toEntries(row['key'] ?? '', [row]));
    const entries = of('row').sort(comparePlaces);
    const bytes = entries.reduce((sum, { value }) => sum + Buffer.byteLength(value), 0);
    const last = entries.at(-1);
    const isFull = entries.length === query.limit || bytes >= CHANGES_BYTES;
    const compactedBefore = toBigInt(rows.find((row) => row['kind'] === 'compacted')?.['timestamp']);
    if (isFull && last !== undefined) return { entries, next: last, more: true, compactedBefore };
    const [end = query.after] = of('end');
    const more = rows.some((row) => row['searched'] === String(SEARCHED_ROWS));
    const clock = toBigInt(rows.find((row) => row['kind'] === 'clock')?.['timestamp']);
    const next = more ? end : laterPlace(placeAt(clock + 1n), end);
    return { entries, next, more, compactedBefore };
  }

  async lastTimestamp(): Promise<bigint> {
    const [row] = await this.calls.query('log.lastTimestamp', lastTimestampSql(this.#names));
    return toBigInt(row?.['last']);
  }

  /** @throws HedgeError LEASE_LOST */
  async #assertFence(query: Query, fence: Fence | undefined): Promise<void> {
    if (fence === undefined) return;
    const [row] = await query(tokenSql(this.#names, fence.lease));
    const token = toBigInt(row?.['token']);
    if (token !== fence.token) throw leaseLost(fence, token);
  }
}

/** In the order of the rows; undefined for those without a result. */
function toOutcomes(rows: readonly LogAppend[], results: readonly Row[]): (AppendOutcome | undefined)[] {
  const outcomes = rows.map((): AppendOutcome | undefined => undefined);
  for (const { place, same, timestamp } of results) {
    const index = Number(place) - 1;
    outcomes[index] = same === 'true' ? { timestamp: toBigInt(timestamp) } : conflict(rows[index]!);
  }
  return outcomes;
}

/** The code makes `Calls` repeat the operation. */
function anotherCameFirst(): never {
  throw Object.assign(new Error('other writes of the log came first'), { code: SERIALIZATION_FAILURE });
}

/** A read without a result has one row of nulls. */
function toEntries(key: string, rows: readonly Row[]): LogEntry[] {
  return rows.flatMap(({ id, value, leader, timestamp }) => {
    if (typeof id !== 'string') return [];
    return [{ key, id, value: value ?? '', leader: leader ?? '', timestamp: toBigInt(timestamp) }];
  });
}

function toBigInt(text: string | null | undefined): bigint {
  return BigInt(text ?? 0);
}

/** Only somebody else's DELETE leads here. */
function unwritten(database: string): HedgeError {
  return new HedgeError(
    'BACKEND_UNAVAILABLE',
    `${database} wrote nothing: the row of table hedge_clock, or of the log, was deleted meanwhile. Restart the pod: its start names the statement that mends this.`,
  );
}
