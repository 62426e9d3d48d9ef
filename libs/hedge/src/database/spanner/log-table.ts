import {
  comparePlaces,
  isBuried,
  isTrimmable,
  laterPlace,
  OVERWRITE_ID,
  placeAt,
  type AppendOutcome,
  type ChangesPage,
  type ChangesQuery,
  type Fence,
  type HistoryQuery,
  type KeysQuery,
  type LogAppend,
  type LogEntry,
  type LogPlace,
  type LogPosition,
  type LogTable,
  type LogTransaction,
  type LogTrim,
  type TransactionOutcome,
  type TrimmablePage,
  type TrimmableQuery,
} from '../log-table.js';
import { readHistory, readKeys } from '../history-pages.js';
import { compactedKey, isReservedKey } from '../row-names.js';
import { assertTransactions, assertTrim, assertTrimmable, conflict, leaseLost, outcomeOf } from '../checks.js';
import { assertText, assertTexts, compareText } from '../text.js';
import type { HedgeError } from '../../common/errors.js';
import type { OperationAttempt, Connection } from './client/connection.js';
import { isQueryRefused } from './client/failures.js';
import type { Tables } from './options.js';
import type { ReadBound, Write } from './client/protocol.js';
import {
  changesSql,
  COMPACTED_KIND,
  historySql,
  keysSql,
  lastTimestampSql,
  latestOfSql,
  NOW_KIND,
  oldestSql,
  placeSql,
  tokenSql,
  trimmableSql,
} from './sql.js';
import { COMMIT_TIMESTAMP, rowValues, type Transaction } from './client/transaction.js';
import { formatTimestamp, timestampOf, type Row } from './client/values.js';

/** The maximum of rows in one call, which has the deadline of one call. */
const PAGE_ROWS = 5_000;

/**
 * A longer value does not share an answer. So 64 values fit into the 10 MiB of one answer, also if each character has four
 * bytes.
 */
const SHARED_VALUE_CHARACTERS = 32 * 1_024;

/** Of all values in a page of changes, of which each reader holds one. A longer value has a page of its own. */
const CHANGES_CHARACTERS = 2 ** 20;

const STRONG: ReadBound = { strong: true };

/**
 * A strong read sees each row whose timestamp is this much before the time that the read itself reports, in nanoseconds. The
 * bound of Spanner's clocks is a few milliseconds.
 * @see https://cloud.google.com/spanner/docs/true-time-external-consistency
 */
const CLOCK_BOUND = 1_000_000_000n;

const COLUMNS = ['key', 'id', 'value', 'leader', 'timestamp'];

/** The log in Spanner. */
export class SpannerLogTable implements LogTable {
  /** The index for the newest versions of a key, if there is one. */
  #index: string | undefined;

  constructor(
    private readonly connection: Connection,
    private readonly tables: Tables,
    private readonly bound: ReadBound,
  ) {}

  useIndex(name: string | undefined): void {
    this.#index = name;
  }

  async append(rows: readonly LogAppend[], fence?: Fence): Promise<readonly AppendOutcome[]> {
    for (const row of rows) assertTexts(row);
    if (rows.length === 0) return [];
    return this.connection.run('log.append', async (attempt) => {
      const transaction = attempt.begin();
      const lost = fence && (await this.#lost(transaction, fence));
      if (lost !== undefined && !attempt.mayRepeat) throw lost;
      const keys = rows.map(({ key, id }) => [key, id]);
      const found = await transaction.read(this.tables.logTable, ['key', 'id', 'value', 'timestamp'], keys);
      const stored = new Map(found.map(([key, id, value, at]) => [rowName(key, id), { value, at }]));
      const fresh = rows.filter(({ key, id }) => !stored.has(rowName(key, id)));
      // An earlier attempt of this call wrote all rows or none. If one is missing, none was written or ever will be.
      if (lost !== undefined && fresh.length > 0) throw lost;
      const timestamp = fresh.length > 0 ? await transaction.commit([{ insert: this.#write(fresh) }]) : 0n;
      return rows.map((row) => {
        const there = stored.get(rowName(row.key, row.id));
        if (there === undefined) return { timestamp };
        return there.value === row.value ? { timestamp: timestampOf(there.at) } : conflict(row);
      });
    });
  }

  /**
   * Reads the newest rows before the own rows. So if a newest row is not the one that the condition names, no attempt can
   * write after that read, and the second read decides whether an earlier one has written.
   */
  async appendIf(transactions: readonly LogTransaction[], fence?: Fence): Promise<readonly TransactionOutcome[]> {
    assertTransactions(transactions);
    if (transactions.length === 0) return [];
    return this.connection.run('log.appendIf', async (attempt) => {
      const transaction = attempt.begin();
      const lost = fence && (await this.#lost(transaction, fence));
      if (lost !== undefined && !attempt.mayRepeat) throw lost;
      const { logTable } = this.tables;
      const checked = transactions.flat().flatMap(({ key, condition }) => (condition === undefined ? [] : [key]));
      // Without the values, which are read later, of the few keys whose condition does not hold.
      const positions =
        checked.length === 0
          ? []
          : await this.#byIndex((index) => transaction.query(latestOfSql(logTable, checked, -1, index)));
      const newest = new Map(
        positions.map(([place, , ...row]) => {
          const key = checked[Number(place)] ?? checked.at(-1) ?? '';
          return [key, toEntry(key, row)];
        }),
      );
      const own = await transaction.read(
        logTable,
        ['key', 'id', 'value', 'timestamp'],
        transactions.flat().flatMap(({ key, append }) => (append === undefined ? [] : [[key, append.id]])),
      );
      const stored = new Map(
        own.map(([key, id, value, at]) => [rowName(key, id), { value: value ?? '', timestamp: timestampOf(at) }]),
      );
      const outcomes = transactions.map((items) =>
        outcomeOf(
          items,
          (key, id) => stored.get(rowName(key, id)),
          (key) => newest.get(key),
        ),
      );
      const open = transactions.filter((_, i) => outcomes[i] === undefined);
      // As in `append`: an earlier attempt of this call wrote all rows whose conditions held, or none.
      if (lost !== undefined && (open.length > 0 || own.length === 0)) throw lost;
      const rows = open.flat().flatMap(({ key, append }) => (append === undefined ? [] : [{ key, ...append }]));
      const timestamp = rows.length > 0 ? await transaction.commit([{ insert: this.#write(rows) }]) : 0n;
      return this.#withValues(
        attempt,
        transactions,
        outcomes.map((outcome) => outcome ?? { timestamp }),
      );
    });
  }

  /** Reads the newest rows of the refused items, which were compared without their values. */
  async #withValues(
    attempt: OperationAttempt,
    transactions: readonly LogTransaction[],
    outcomes: readonly TransactionOutcome[],
  ): Promise<readonly TransactionOutcome[]> {
    const keyOf = (transaction: number, place: number): string => transactions[transaction]?.[place]?.key ?? '';
    const refused = outcomes.flatMap((outcome, i) =>
      'refused' in outcome ? outcome.refused.map(({ place }) => keyOf(i, place)) : [],
    );
    const newest = new Map<string, LogEntry | undefined>();
    for (let left = refused; left.length > 0; left = left.filter((key) => !newest.has(key))) {
      for (const [key, entry] of await this.#latestOf(attempt, left, STRONG)) newest.set(key, entry);
    }
    return outcomes.map((outcome, i) => {
      if (!('refused' in outcome)) return outcome;
      return { refused: outcome.refused.map(({ place }) => ({ place, newest: newest.get(keyOf(i, place)) })) };
    });
  }

  async overwrite(row: Omit<LogAppend, 'id'>, fence?: Fence): Promise<{ readonly timestamp: bigint }> {
    const { key, value, leader } = row;
    assertTexts({ key, value, leader });
    return this.connection.run('log.overwrite', async (attempt) => {
      const transaction = attempt.begin();
      const lost = fence && (await this.#lost(transaction, fence));
      if (lost !== undefined) throw lost;
      // This read begins the transaction, which can be committed once. A commit without a transaction could happen twice.
      if (fence === undefined) await transaction.read(this.tables.logTable, ['id'], [[key, OVERWRITE_ID]]);
      const timestamp = await transaction.commit([
        { insertOrUpdate: this.#write([{ key, id: OVERWRITE_ID, value, leader }]) },
      ]);
      return { timestamp };
    });
  }

  async latest(key: string): Promise<LogEntry | undefined> {
    assertText('key', key);
    return this.connection.run('log.latest', (attempt) => this.#newest(attempt, key));
  }

  /**
   * Leaves out values that are too large to share an answer. Reads one of them alone when the answer would be empty.
   */
  async latestOf(keys: readonly string[]): Promise<ReadonlyMap<string, LogEntry | undefined>> {
    for (const key of keys) assertText('key', key);
    return this.connection.run('log.latest', (attempt) => this.#latestOf(attempt, keys, this.#boundOf(keys)));
  }

  async #latestOf(
    attempt: OperationAttempt,
    keys: readonly string[],
    bound: ReadBound,
  ): Promise<ReadonlyMap<string, LogEntry | undefined>> {
    const rows = await this.#byIndex((index) =>
      attempt.query(latestOfSql(this.tables.logTable, keys, SHARED_VALUE_CHARACTERS, index), bound),
    );
    const found = new Map<string, LogEntry | undefined>(keys.map((key) => [key, undefined]));
    for (const [place, isLarge, ...row] of rows) {
      const key = keys[Number(place)] ?? keys.at(-1) ?? '';
      if (isLarge === '1') found.delete(key);
      else found.set(key, toEntry(key, row));
    }
    const [first = ''] = keys;
    if (found.size === 0) found.set(first, await this.#newest(attempt, first, bound));
    return found;
  }

  async history(key: string, query: HistoryQuery): Promise<readonly LogEntry[]> {
    assertText('key', key);
    return readHistory(query, async (page) => {
      const limit = Math.min(page.limit, PAGE_ROWS);
      const entries = await this.connection.run('log.history', async (attempt) => {
        const rows = await this.#byIndex((index) =>
          attempt.stream(historySql(this.tables.logTable, key, { ...page, limit }, index), this.#boundOf([key])),
        );
        return rows.map((row) => toEntry(key, row));
      });
      return { entries, more: entries.length === PAGE_ROWS };
    });
  }

  /**
   * Finds the versions outside of the transaction, so that no append of the key aborts it. The transaction reads only the rows
   * that it writes: an overwritten row may have become the newest one meanwhile.
   */
  async trim(trim: LogTrim, fence?: Fence): Promise<number> {
    assertTrim(trim);
    const { key } = trim;
    const { logTable } = this.tables;
    // The same for all attempts: the answer to a commit may get lost, and the next attempt must not delete further rows.
    let chosen: readonly Row[] | undefined;
    return this.connection.run('log.trim', async (attempt) => {
      const old = (chosen ??= await this.#oldRows(attempt, trim));
      const transaction = attempt.begin();
      const lost = fence && (await this.#lost(transaction, fence));
      if (lost !== undefined) throw lost;
      if (old.length === 0) return 0;
      const keys = old.map(([id]) => [key, id ?? '']);
      const found = await transaction.read(logTable, ['id', 'timestamp'], keys);
      const stored = new Map(found.map(([id, at]) => [id, at]));
      const same = old.filter(([id = '', at]) => stored.get(id) === at);
      if (same.length === 0) return attempt.mayRepeat ? old.length : 0;
      const deleted = { table: logTable, keySet: { keys: same.map(([id = '']) => rowValues(key, id)) } };
      const after = timestampOf(same.at(-1)?.[1]) + 1n;
      const record = trim.record && (await this.#recordOf(transaction, trim.record, after));
      await transaction.commit([{ delete: deleted }, ...(record ? [{ insertOrUpdate: record }] : [])]);
      return same.length;
    });
  }

  /** Id and timestamp of the versions that a trim deletes. */
  async #oldRows(attempt: OperationAttempt, trim: LogTrim): Promise<readonly Row[]> {
    const { key, keep, limit, tombstonesBefore } = trim;
    const newest = tombstonesBefore === undefined ? undefined : await this.#place(attempt, key, 1);
    const buried = newest !== undefined && isBuried(newest, trim);
    const last = buried ? newest : await this.#place(attempt, key, keep + 1);
    if (last === undefined) return [];
    const bound = buried ? tombstonesBefore : trim.before;
    const until = last.timestamp + 1n;
    const before = bound !== undefined && bound < until ? bound : until;
    const oldest = await attempt.query(oldestSql(this.tables.logTable, key, before, limit));
    return oldest.filter(([id, at]) => timestampOf(at) < last.timestamp || compareText(id ?? '', last.id) <= 0);
  }

  /** The `place`th newest version of a key. */
  async #place(attempt: OperationAttempt, key: string, place: number): Promise<LogPosition | undefined> {
    const [row] = await this.#byIndex((index) => attempt.query(placeSql(this.tables.logTable, key, place, index)));
    return row && { id: row[0] ?? '', timestamp: timestampOf(row[1]) };
  }

  /** Undefined when the present record is not older. */
  async #recordOf(
    transaction: Transaction,
    { prefix, leader }: NonNullable<LogTrim['record']>,
    timestamp: bigint,
  ): Promise<Write | undefined> {
    const { logTable } = this.tables;
    const key = compactedKey(prefix);
    const [known] = await transaction.read(logTable, ['timestamp'], [[key, OVERWRITE_ID]]);
    if (timestampOf(known?.[0]) >= timestamp) return undefined;
    const values = rowValues(key, OVERWRITE_ID, String(timestamp), leader, formatTimestamp(timestamp));
    return { table: logTable, columns: COLUMNS, values: [values] };
  }

  async trimmable(query: TrimmableQuery): Promise<TrimmablePage> {
    assertTrimmable(query);
    const rows = await this.connection.run('log.trimmable', (attempt) =>
      attempt.query(trimmableSql(this.tables.logTable, query)),
    );
    const keys = rows.flatMap(([key, oldest, newest, text, count]) => {
      const id = (text ?? '').slice((newest ?? '').length);
      const version = { id, timestamp: fromMicros(newest) };
      const hasMore = Number(count) > query.keep;
      return isTrimmable({ oldest: fromMicros(oldest), newest: version, hasMore }, query) ? [key ?? ''] : [];
    });
    return { keys, next: rows.length === query.limit ? (rows.at(-1)?.[0] ?? undefined) : undefined };
  }

  async keys(query: KeysQuery): Promise<readonly string[]> {
    const { prefix } = query;
    assertTexts({ prefix, after: query.after ?? '' });
    return readKeys(query, async (limit, after) => {
      const asked = Math.min(limit, PAGE_ROWS);
      const page: KeysQuery = { prefix, limit: asked, ...(after !== undefined && { after }) };
      const rows = await this.connection.run('log.keys', (attempt) =>
        attempt.stream(keysSql(this.tables.logTable, page), this.bound),
      );
      return {
        found: rows.map(([key, deleted]) => ({ key: key ?? '', deleted: deleted === '1' })),
        more: rows.length === asked,
      };
    });
  }

  /**
   * Strong, because a stale read could show a later row before an earlier one. Leaves out values that are too large to share
   * a page. If there are some, it reads a shorter page with all values. No row appears in it meanwhile, but an overwritten
   * one may be gone.
   */
  async changes(query: ChangesQuery): Promise<ChangesPage> {
    assertTexts({ prefix: query.prefix, id: query.after.id, key: query.after.key });
    const { logTable } = this.tables;
    const most = Math.floor(CHANGES_CHARACTERS / query.limit);
    return this.connection.run('log.changes', async (attempt) => {
      const found = await attempt.stream(changesSql(logTable, query, most));
      const { rows, compactedBefore, now } = toChanges(found);
      const entries = rows.map(toChange);
      const more = rows.length === query.limit;
      const sizes = rows.map(([characters]) => Number(characters ?? 0));
      const last = entries.at(-1) ?? query.after;
      if (sizes.every((size) => size <= most)) {
        const next = more ? last : laterPlace(placeAt(now - CLOCK_BOUND), last);
        return { entries, next, more, compactedBefore };
      }
      let characters = 0;
      let count = 0;
      do characters += sizes[count++]!;
      while (count < sizes.length && characters + sizes[count]! <= CHANGES_CHARACTERS);
      const next = entries[count - 1]!;
      // Rows that were deleted since the first read are missing, so its record counts no more.
      const page = toChanges(await attempt.stream(changesSql(logTable, query, Infinity, next)));
      const isMore = more || count < entries.length;
      return { entries: page.rows.map(toChange), next, more: isMore, compactedBefore: page.compactedBefore };
    });
  }

  async lastTimestamp(prefix: string): Promise<bigint> {
    assertText('prefix', prefix);
    const [row] = await this.connection.run('log.lastTimestamp', (attempt) =>
      attempt.query(lastTimestampSql(this.tables.logTable, prefix)),
    );
    const [last, visible] = [timestampOf(row?.[0]), timestampOf(row?.[1]) - CLOCK_BOUND];
    return visible > last ? visible : last;
  }

  async #newest(attempt: OperationAttempt, key: string, bound = this.#boundOf([key])): Promise<LogEntry | undefined> {
    const newest = { limit: 1, order: 'newest-first' } as const;
    const [row] = await this.#byIndex((index) =>
      attempt.query(historySql(this.tables.logTable, key, newest, index), bound),
    );
    return row && toEntry(key, row);
  }

  /** This library decides by its own rows, as by the ledger of a job, so reads of them are strong. */
  #boundOf(keys: readonly string[]): ReadBound {
    return keys.some(isReservedKey) ? STRONG : this.bound;
  }

  /** Reads by the index while it exists. It may be dropped at any time. */
  async #byIndex(read: (index: string | undefined) => Promise<Row[]>): Promise<Row[]> {
    const index = this.#index;
    try {
      return await read(index);
    } catch (error) {
      if (index === undefined || !isQueryRefused(error)) throw error;
      this.#index = undefined;
      return read(undefined);
    }
  }

  async #lost(transaction: Transaction, fence: Fence): Promise<HedgeError | undefined> {
    const [row] = await transaction.query(tokenSql(this.tables.lockTable, fence.lease));
    const found = timestampOf(row?.[0]);
    return found === fence.token ? undefined : leaseLost(fence, found);
  }

  #write(rows: readonly LogAppend[]): Write {
    const values = rows.map(({ key, id, value, leader }) => rowValues(key, id, value, leader, COMMIT_TIMESTAMP));
    return { table: this.tables.logTable, columns: COLUMNS, values };
  }
}

/** A row of `changesSql`. */
function toChange([, key, ...row]: Row): LogEntry {
  return toEntry(key ?? '', row);
}

function toPlace([, key, id, , , at]: Row): LogPlace {
  return { key: key ?? '', id: id ?? '', timestamp: timestampOf(at) };
}

/** The result of `changesSql`, with the rows in the order of commits. */
function toChanges(found: readonly Row[]) {
  const of = (kind: string): Row | undefined => found.find(([first]) => first === kind);
  const rows = found.filter(([first]) => first !== COMPACTED_KIND && first !== NOW_KIND);
  return {
    rows: rows.sort((a, b) => comparePlaces(toPlace(a), toPlace(b))),
    compactedBefore: timestampOf(of(COMPACTED_KIND)?.[5]),
    now: timestampOf(of(NOW_KIND)?.[5]),
  };
}

function fromMicros(column: string | null | undefined): bigint {
  return BigInt(column ?? 0) * 1_000n;
}

/** Neither key nor id contains a NUL. */
function rowName(key: string | null | undefined, id: string | null | undefined): string {
  return `${key ?? ''}\0${id ?? ''}`;
}

/** Go's rows may have NULL where ours have a text. */
function toEntry(key: string, [id, value, leader, at]: Row): LogEntry {
  return { key, id: id ?? OVERWRITE_ID, value: value ?? '', leader: leader ?? '', timestamp: timestampOf(at) };
}
