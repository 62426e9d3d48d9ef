import type { HedgeError } from '../common/errors.js';
import { compareText } from './text.js';

/** One version of a key. */
export interface LogEntry {
  readonly key: string;
  /** Chosen by the writer; `-` for the single row of an overwritten key. */
  readonly id: string;
  readonly value: string;
  /** The address of the leader that wrote it. */
  readonly leader: string;
  /** Commit time in nanoseconds. Rises from commit to commit; equal within one commit. */
  readonly timestamp: bigint;
}

/** A row to append. */
export interface LogAppend {
  readonly key: string;
  readonly id: string;
  readonly value: string;
  readonly leader: string;
}

/** A condition of a write: the lease must still have this token. */
export interface Fence {
  /** Row name of the lease. */
  readonly lease: string;
  readonly token: bigint;
}

export type AppendOutcome = { readonly timestamp: bigint } | HedgeError;

/** One exact version of a key. The versions of one commit differ only in the id. */
export type LogPosition = Pick<LogEntry, 'timestamp' | 'id'>;

/** The newest row of a key must be `follows`; undefined for a key without rows. */
export interface LogCondition {
  readonly follows: LogPosition | undefined;
}

/** A row to append, a condition of its key, or both. */
export interface LogTransactionItem {
  readonly key: string;
  /** Absent when the key is only checked. */
  readonly append?: Omit<LogAppend, 'key'> | undefined;
  readonly condition?: LogCondition | undefined;
}

/** Rows that are appended together if all conditions hold, and none of them otherwise. At least one item has a row. */
export type LogTransaction = readonly LogTransactionItem[];

/** An item whose condition does not hold. */
export interface RefusedItem {
  /** Of the item in its transaction. */
  readonly place: number;
  /** The newest row of its key: it is not `follows`. */
  readonly newest: LogEntry | undefined;
}

/** `refused` has the items whose condition does not hold, so nothing was written. */
export type TransactionOutcome = AppendOutcome | { readonly refused: readonly RefusedItem[] };

export function isSamePosition(a: LogPosition | undefined, b: LogPosition | undefined): boolean {
  return a?.timestamp === b?.timestamp && a?.id === b?.id;
}

/** The most items of all transactions of one `appendIf`. A statement of Spanner has at most 200 unions. */
export const MOST_TRANSACTION_ITEMS = 64;

/** The id of the single row that `overwrite` keeps for a key. */
export const OVERWRITE_ID = '-';

/**
 * The end of the id of a tombstone: an appended row, with an empty value, that deletes its key. While it is the newest row,
 * the key has no value. A mark in the id needs no column: to a reader that does not know it, the value is empty.
 */
export const TOMBSTONE_SUFFIX = '-deleted';

export function isTombstone({ id }: { readonly id: string }): boolean {
  return id.endsWith(TOMBSTONE_SUFFIX);
}

/** The end of the id of a tombstone by which the leader has deleted a key that expired. */
export const EXPIRED_SUFFIX = `-expired${TOMBSTONE_SUFFIX}`;

export interface HistoryQuery {
  /** At most this many entries. */
  readonly limit: number;
  readonly order: 'newest-first' | 'oldest-first';
  /** Only entries with a timestamp in nanoseconds below this. */
  readonly before?: bigint;
  /** Only entries with a timestamp in nanoseconds above this. */
  readonly after?: bigint;
  /** When this aborts, a driver that reads in pages stops after the current page and throws CANCELLED. */
  readonly signal?: AbortSignal | undefined;
}

export interface KeysQuery {
  readonly prefix: string;
  readonly limit: number;
  /** Only keys that sort (by UTF-8 bytes) after this one, for paging. */
  readonly after?: string;
  /** As in `HistoryQuery`. */
  readonly signal?: AbortSignal | undefined;
}

/** A place in the order of commits, in which rows are ordered by timestamp, then id, then key. */
export type LogPlace = Pick<LogEntry, 'timestamp' | 'id' | 'key'>;

export function comparePlaces(a: LogPlace, b: LogPlace): number {
  if (a.timestamp !== b.timestamp) return a.timestamp < b.timestamp ? -1 : 1;
  return compareText(a.id, b.id) || compareText(a.key, b.key);
}

/** The place before all rows with this timestamp, and behind all earlier ones. */
export function placeAt(timestamp: bigint): LogPlace {
  return { timestamp, id: '', key: '' };
}

export function laterPlace(a: LogPlace, b: LogPlace): LogPlace {
  return comparePlaces(a, b) < 0 ? b : a;
}

/** Databases keep timestamps in 63 bits. */
export const GREATEST_TIMESTAMP = 2n ** 63n - 1n;

/** A timestamp that a database accepts, and that selects the same rows. A distant date has more nanoseconds than 63 bits. */
export function clampTimestamp(timestamp: bigint): bigint {
  return timestamp > GREATEST_TIMESTAMP ? GREATEST_TIMESTAMP : timestamp < -1n ? -1n : timestamp;
}

export interface ChangesQuery {
  readonly prefix: string;
  /** Only the key that equals the prefix. */
  readonly exact: boolean;
  /** Only rows after this place. */
  readonly after: LogPlace;
  /** At most this many rows. */
  readonly limit: number;
}

export interface ChangesPage {
  readonly entries: readonly LogEntry[];
  /** The place of the last entry, or a later one: the next page begins after it. */
  readonly next: LogPlace;
  /** There may be more rows after `next`. */
  readonly more: boolean;
  /** All rows with this timestamp or a later one are there: `trim` has recorded only the deletion of earlier rows. 0n for none. */
  readonly compactedBefore: bigint;
}

/** Which versions of a key `trim` deletes: those that meet all conditions. */
export interface LogTrim {
  readonly key: string;
  /** So many of the newest versions stay; 1 or more. */
  readonly keep: number;
  /** Only versions with a timestamp in nanoseconds below this. Default: of any age. */
  readonly before?: bigint;
  /** At most so many versions in this call, the oldest first; 1 or more. */
  readonly limit: number;
  /**
   * If the newest version is a tombstone with a timestamp below this, all versions are deleted, the tombstone as the last one,
   * whatever `keep` and `before` are. Default: never.
   */
  readonly tombstonesBefore?: bigint;
  /**
   * Records the deletion in the same transaction, in the row `compactedKey(prefix)`, so that readers of `changes` know of it.
   * Default: no record, for keys that nobody watches.
   */
  readonly record?: { readonly prefix: string; readonly leader: string };
}

/** The bounds of a trim for a statement, which needs a value for each. */
export function trimBounds({ before = GREATEST_TIMESTAMP, tombstonesBefore = -1n }: LogTrim) {
  return { before: clampTimestamp(before), tombstonesBefore: clampTimestamp(tombstonesBefore) };
}

/** Asks for keys that have versions which `trim` would delete. */
export interface TrimmableQuery extends Pick<LogTrim, 'keep' | 'before' | 'tombstonesBefore'> {
  readonly prefix: string;
  /** Only keys that sort (by UTF-8 bytes) after this one. */
  readonly after?: string;
  /** Looks at so many keys at most; 1 or more. */
  readonly limit: number;
}

export interface TrimmablePage {
  readonly keys: readonly string[];
  /** The last key that was looked at; undefined when there are no more. */
  readonly next: string | undefined;
}

/** The oldest and the newest version of a key, and whether it has more versions than a trim keeps. */
export interface TrimmableKey {
  readonly oldest: bigint;
  readonly newest: LogPosition;
  readonly hasMore: boolean;
}

export function isTrimmable(found: TrimmableKey, trim: Pick<LogTrim, 'before' | 'tombstonesBefore'>): boolean {
  return isBuried(found.newest, trim) || (found.hasMore && (trim.before === undefined || found.oldest < trim.before));
}

/** Whether `trim` deletes all versions of a key. */
export function isBuried(newest: LogPosition, { tombstonesBefore }: Pick<LogTrim, 'tombstonesBefore'>): boolean {
  return tombstonesBefore !== undefined && isTombstone(newest) && newest.timestamp < tombstonesBefore;
}

/** The versions of a key that meet the conditions of a trim. @param versions all of them, the oldest first */
export function oldVersions<Version extends LogPosition>(
  versions: readonly Version[],
  trim: Pick<LogTrim, 'keep' | 'before' | 'tombstonesBefore'>,
): readonly Version[] {
  const newest = versions.at(-1);
  if (newest !== undefined && isBuried(newest, trim)) return versions;
  const { keep, before } = trim;
  return versions.slice(0, -keep).filter(({ timestamp }) => before === undefined || timestamp < before);
}

/**
 * The append-only log table. Per key, versions are totally ordered by (timestamp, id), and every read sees all writes
 * that were acknowledged before it began (K2).
 */
export interface LogTable {
  /**
   * Appends all rows in one transaction, insert-only and idempotent by (key, id). A row that exists with the same value
   * yields its stored timestamp. A row that exists with another value yields a CONFLICT error as its outcome, which does
   * not affect the other rows. The caller must merge rows of one batch with the same (key, id). A repeated call after
   * BACKEND_UNAVAILABLE is safe (K1).
   * @returns one outcome per row, in order.
   * @throws HedgeError LEASE_LOST when the fence does not match (nothing was written).
   * @throws HedgeError INVALID_ARGUMENT when the database will never accept this batch (a row too large, a disk quota):
   *   nothing was written, and a smaller batch may succeed.
   */
  append(rows: readonly LogAppend[], fence?: Fence): Promise<readonly AppendOutcome[]>;

  /**
   * Appends the rows of each transaction whose conditions all hold, and no row of the others (K5). All in one transaction
   * of the database, in which the conditions are checked, so no write comes between the check and the append (K4). The keys
   * of all items are distinct, and there are at most `MOST_TRANSACTION_ITEMS`.
   *
   * A transaction of which a row exists already has the outcome of `append`, whatever the newest rows are now. So a repeated
   * call after BACKEND_UNAVAILABLE is safe. The outcome `refused` is final: an earlier attempt has not written a row, and no
   * late one ever will, because newer rows only come after `follows`. No answer of the database has many large values:
   * those of refused items are read a few at a time.
   * @returns one outcome per transaction, in order.
   * @throws HedgeError LEASE_LOST, INVALID_ARGUMENT as `append`.
   */
  appendIf(transactions: readonly LogTransaction[], fence?: Fence): Promise<readonly TransactionOutcome[]>;

  /**
   * Sets the single row (key, `-`) to the value, whatever its old value was. It is not idempotent, because each write has
   * another timestamp, so the driver never repeats a write that may have happened.
   * @throws HedgeError OUTCOME_UNKNOWN when the write may have happened; BACKEND_UNAVAILABLE only when it has not.
   * @throws HedgeError LEASE_LOST when the fence does not match (nothing was written).
   */
  overwrite(row: Omit<LogAppend, 'id'>, fence?: Fence): Promise<{ readonly timestamp: bigint }>;

  /** The version with the greatest (timestamp, id), or undefined. */
  latest(key: string): Promise<LogEntry | undefined>;

  /**
   * `latest` of several distinct keys in one call, for a database to which each call is a round trip. A driver that lacks
   * it is asked for each key by `latest`.
   *
   * The answer must bound its bytes, to about 4 MiB: it leaves keys out, and the caller asks for them again. It contains
   * at least one key; a call with one key answers it, whatever the size of its value.
   * @returns the newest version of each key that was read; undefined for a key without a version.
   */
  latestOf?(keys: readonly string[]): Promise<ReadonlyMap<string, LogEntry | undefined>>;

  /**
   * The versions of one key, ordered by (timestamp, id), as they were at one moment. Whatever their number, the read must
   * not delay leases and writes, and must not fail. So a long history is read in pages (`readHistory`), and only each
   * page has the deadline of one call.
   * @throws HedgeError OVERLOADED when too many reads run at once.
   */
  history(key: string, query: HistoryQuery): Promise<readonly LogEntry[]>;

  /**
   * Deletes old versions of one key in one transaction, the oldest first, and never the newest one (but see
   * `tombstonesBefore`). A repeated call is safe. A driver that lacks it cannot keep a key short, so the ledgers of jobs grow.
   *
   * A deleted row is no proof any more that it was appended: a late attempt of its append would write it again. So a caller
   * deletes only rows whose appends have certainly ended (K1).
   *
   * A caller deletes many versions in several calls with a small `limit` and pauses between them, so that none of them
   * delays leases and writes. A `history` that runs meanwhile may lack versions that were deleted during its pages.
   * @returns the number of deleted versions; below `limit` when no other version meets the conditions, or when the answer to
   *   an earlier attempt got lost.
   * @throws HedgeError LEASE_LOST when the fence does not match (nothing was deleted).
   * @throws HedgeError INVALID_ARGUMENT for a `keep` or `limit` below 1.
   */
  trim?(trim: LogTrim, fence?: Fence): Promise<number>;

  /**
   * Looks for keys that `trim` would change, in the order of their UTF-8 bytes. It takes no locks. A driver that lacks it, or
   * `trim`, has no retention.
   */
  trimmable?(query: TrimmableQuery): Promise<TrimmablePage>;

  /**
   * Distinct keys with the prefix, sorted by their UTF-8 bytes, without those whose newest row is a tombstone. Fewer than
   * `limit` only when there are no more. As `history`: in pages (`readKeys`).
   */
  keys(query: KeysQuery): Promise<readonly string[]>;

  /**
   * One page of the rows of all keys with a prefix, in the order of commits, tombstones included, as they were at one
   * moment. The driver bounds the bytes of a page, to a few MiB, or one row. After a failure the watch asks for fewer rows. A
   * row that becomes visible later has a greater timestamp than every row that was visible before, and the rows of one commit
   * become visible together. So a reader that goes on after each page misses no row (W1). A page may be empty although there
   * are more: the driver bounds the rows that it searches.
   *
   * Without more rows, `next` is not before any row of any key that was visible a second before the call. So a reader that
   * goes on stays behind `compactedBefore`, however seldom its keys are written.
   */
  changes(query: ChangesQuery): Promise<ChangesPage>;

  /**
   * A timestamp between the rows that are visible now and those that become visible later, for the keys with a prefix: the
   * former are not greater, the latter are.
   */
  lastTimestamp(prefix: string): Promise<bigint>;
}
