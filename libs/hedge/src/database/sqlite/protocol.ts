import type { LeaseMarker } from '../observed-lease.js';
import type { ChangesQuery, Fence, LogAppend, LogPlace, LogTransaction, LogTrim } from '../log-table.js';

/** The configuration of a worker thread. */
export interface WorkerConfig {
  /** Absolute path. */
  readonly file: string;
  readonly lockTable: string;
  readonly logTable: string;
  /** A thread that never writes, except to make the tables. */
  readonly readsOnly?: boolean;
  /** The file must exist and have the tables. Otherwise `connect` fails, and changes nothing. */
  readonly existing?: boolean;
  /** The memory of `KnownFile` in `worker/`, which the threads of one backend share; all zero while no file is known. */
  readonly knownFile?: SharedArrayBuffer;
}

/** A lease row as stored; `writer` is null when it has no holder. */
export interface StoredLease extends LeaseMarker {
  readonly writer: string | null;
  /** As `LeaseRow.ageMs`. */
  readonly ageMs?: number | undefined;
}

/** A lease row with a writer; `heartbeat` in nanoseconds since 1970. */
export type ListedRow = readonly [name: string, token: bigint, writer: string, heartbeat: bigint];

/** A version without its key, which the caller knows. */
export type StoredVersion = readonly [id: string, value: string, leader: string, timestamp: bigint];

export interface StoredHistoryQuery {
  readonly limit: number;
  readonly newestFirst: boolean;
  /** Exclusive, nanoseconds. */
  readonly before: bigint;
  /** Exclusive, nanoseconds. */
  readonly after: bigint;
  /** The last version of the page before: continue after it. */
  readonly from?: readonly [timestamp: bigint, id: string] | undefined;
}

/** One page of the versions of a key. */
export interface StoredPage {
  readonly versions: readonly StoredVersion[];
  /** The page ended before the limit, because it was large enough. */
  readonly more: boolean;
}

export interface StoredRenewal {
  readonly name: string;
  readonly token: bigint;
  readonly incarnation: string;
  readonly writer: string;
  /** As `Renewal.renewals`. */
  readonly renewals?: bigint | undefined;
}

/** A mirror row; it is deleted when it has no value. */
export interface StoredMirror {
  readonly key: string;
  readonly value: string | undefined;
}

/** The result of a write whose lease has another token than its fence: nothing was written. */
export interface Fenced {
  readonly foundToken: bigint;
}

/** A version with its key. */
export type StoredChange = readonly [key: string, ...version: StoredVersion];

/** Of a transaction: its timestamp; the place of a row that exists with another value; or the items that are refused. */
export type StoredOutcome =
  | bigint
  | { readonly differs: number }
  | { readonly refused: readonly { readonly place: number; readonly newest: StoredVersion | undefined }[] };

/** A key with the ages of its versions; `beyond` is null when it has no more versions than a trim keeps. */
export type StoredAges = readonly [key: string, oldest: bigint, id: string, newest: bigint, beyond: bigint | null];

/** Bounds that nothing meets stand for absent ones. */
export interface StoredTrim extends Pick<LogTrim, 'key' | 'keep' | 'limit'> {
  readonly before: bigint;
  readonly tombstonesBefore: bigint;
  readonly record: { readonly key: string; readonly leader: string } | undefined;
}

/** The operations of the worker; reads are listed first. Each write is a transaction, or a part of one. */
export interface Operations {
  readLease(name: string): StoredLease;
  /** Leases with a writer. */
  listLeases(prefix: string, limit: number, after: string | undefined): readonly ListedRow[];
  latest(key: string): StoredVersion | undefined;
  history(key: string, query: StoredHistoryQuery): StoredPage;
  /** Keys, each with the id of its newest row. */
  keys(
    prefix: string,
    limit: number,
    after: string | undefined,
  ): { readonly keys: readonly (readonly [key: string, id: string])[]; readonly more: boolean };
  changes(query: ChangesQuery): {
    readonly changes: readonly StoredChange[];
    readonly next: LogPlace;
    readonly more: boolean;
    readonly compactedBefore: bigint;
  };
  /** At most `limit` keys. */
  trimmable(prefix: string, keep: number, limit: number, after: string | undefined): readonly StoredAges[];
  lastTimestamp(): bigint;
  /** Opens the file, and creates missing tables. */
  connect(): void;
  acquire(
    name: string,
    writer: string,
    incarnation: string,
    expired: LeaseMarker | undefined,
    /** The new token is greater than this, also if the clock of the file is behind. */
    above: bigint,
  ): { readonly acquired: boolean; readonly row: StoredLease };
  /** All in one transaction; one result each, in order. */
  renew(
    renewals: readonly StoredRenewal[],
  ): readonly { readonly renewed: boolean; readonly name: string; readonly row: StoredLease }[];
  release(name: string, token: bigint, incarnation: string): boolean;
  /** One timestamp per row; null for a row that exists with another value. */
  append(
    rows: readonly LogAppend[],
    fence: Fence | undefined,
  ): { readonly timestamps: readonly (bigint | null)[] } | Fenced;
  /** One outcome per transaction. */
  appendIf(
    transactions: readonly LogTransaction[],
    fence: Fence | undefined,
  ): { readonly outcomes: readonly StoredOutcome[] } | Fenced;
  overwrite(row: Omit<LogAppend, 'id'>, fence: Fence | undefined): { readonly timestamp: bigint } | Fenced;
  /** As `LogTable.trim`. @returns the number of deleted versions */
  trim(trim: StoredTrim, fence: Fence | undefined): { readonly trimmed: number } | Fenced;
  /**
   * Replaces all rows of a key by this row, if the present row has the timestamp `follows` (0 for none). Writes the
   * mirrors with it: each under its own key, with the key of the row as id.
   */
  replace(
    row: LogAppend,
    follows: bigint,
    mirrors: readonly StoredMirror[],
    fence: Fence,
  ): { readonly timestamp: bigint } | { readonly found: StoredVersion | undefined } | Fenced;
}

export type OperationName = keyof Operations;

/** The operations that change rows. */
export type WriteName = 'acquire' | 'renew' | 'release' | 'append' | 'appendIf' | 'overwrite' | 'trim' | 'replace';

export interface Write {
  readonly operation: WriteName;
  readonly args: readonly unknown[];
}

export interface Request {
  readonly id: number;
  readonly operation: OperationName;
  readonly args: readonly unknown[];
  /** A time of the monotonic clock (`process.hrtime`), in milliseconds: no attempt begins after it. */
  readonly giveUpAt: number;
}

/** Sent instead of requests: close the file and end the thread after the running operation. Waiting requests fail. */
export type End = 'end';

/** Why an operation failed, in a form that can be posted. */
export interface Failure {
  /** SQLite's name (`SQLITE_BUSY`), Node's (`MODULE_NOT_FOUND`), or one of `worker/database.js`. */
  readonly code: string;
  readonly message: string;
  /** True when it is certain that nothing was written. */
  readonly withoutEffect: boolean;
}

/** Sent by a thread without requests: the file was replaced. */
export interface FileReplaced {
  readonly replaced: Failure;
}

export type Reply =
  | { readonly id: number; readonly value: unknown; readonly failure?: undefined }
  | { readonly id: number; readonly failure: Failure };
