import type { HedgeError } from '../common/errors.js';

/** One version of a key. */
export interface LogEntry {
  readonly key: string;
  /** Chosen by the writer; `-` for the one row of a key that is overwritten. */
  readonly id: string;
  readonly value: string;
  /** Address of the leader that wrote it. */
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

/** Makes a write conditional on the last acquisition of a lease: only its token is compared. */
export interface Fence {
  /** Row name of the lease. */
  readonly lease: string;
  readonly token: bigint;
}

export type AppendOutcome = { readonly timestamp: bigint } | HedgeError;

/** The id of the single row that `overwrite` keeps for a key. */
export const OVERWRITE_ID = '-';

export interface HistoryQuery {
  /** At most this many entries. */
  readonly limit: number;
  readonly order: 'newest-first' | 'oldest-first';
  /** Only entries with a timestamp in nanoseconds below this. */
  readonly before?: bigint;
  /** Only entries with a timestamp in nanoseconds above this. */
  readonly after?: bigint;
  /** A driver that reads in pages reads no more of them once this aborts, and throws CANCELLED. */
  readonly signal?: AbortSignal | undefined;
}

export interface KeysQuery {
  readonly prefix: string;
  readonly limit: number;
  /** Only keys that sort (by UTF-8 bytes) after this one: for paging. */
  readonly after?: string;
  /** As in `HistoryQuery`. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * The append-only log table. Per key, versions are totally ordered by (timestamp, id), and every read sees
 * all that was acknowledged before it began (K2).
 */
export interface LogTable {
  /**
   * Appends all rows in one transaction, insert-only and idempotent by (key, id): a row that is already
   * there with the same value yields its stored timestamp, with another value a CONFLICT error in its
   * place, which does not stop the others. Same (key, id) twice in one batch: the caller must merge them.
   * Repeating the call after BACKEND_UNAVAILABLE is safe (K1).
   * @returns one outcome per row, in order.
   * @throws HedgeError LEASE_LOST when the fence does not match (nothing was written).
   * @throws HedgeError INVALID_ARGUMENT when the database will never take this batch (a row too large, a
   *   disk quota): nothing was written, and a smaller batch may do.
   */
  append(rows: readonly LogAppend[], fence?: Fence): Promise<readonly AppendOutcome[]>;

  /**
   * Sets the single row (key, `-`) to the value, whatever was there. Not idempotent in time, so never
   * repeated by the driver once it may have happened.
   * @throws HedgeError OUTCOME_UNKNOWN when it may or may not have happened;
   *   BACKEND_UNAVAILABLE only when it surely has not.
   * @throws HedgeError LEASE_LOST when the fence does not match (nothing was written).
   */
  overwrite(row: Omit<LogAppend, 'id'>, fence?: Fence): Promise<{ readonly timestamp: bigint }>;

  /** The version with the greatest (timestamp, id), or undefined. */
  latest(key: string): Promise<LogEntry | undefined>;

  /**
   * Versions of one key, ordered by (timestamp, id), as they were at one moment. However many there are, this must
   * neither delay leases and writes nor fail for their number: a long one is read in pages (`readHistory`), and only
   * each page has to end within the time of one call.
   * @throws HedgeError OVERLOADED when too many read at once.
   */
  history(key: string, query: HistoryQuery): Promise<readonly LogEntry[]>;

  /** Distinct keys with the prefix, sorted by their UTF-8 bytes. As `history`: in pages. */
  keys(query: KeysQuery): Promise<readonly string[]>;
}
