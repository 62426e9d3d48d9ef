import type { LeaseMarker } from '../observed-lease.js';
import type { Fence, LogAppend } from '../log-table.js';

/** What the worker thread is started with. */
export interface WorkerConfig {
  /** Absolute path. */
  readonly file: string;
  readonly lockTable: string;
  readonly logTable: string;
  /** A thread that never writes, except to make the tables. */
  readonly readsOnly?: boolean;
  /** What the threads of one backend know of the file, of `KnownFile` in `worker/`; all zero when nothing. */
  readonly knownFile?: SharedArrayBuffer;
}

/** A lease row as stored; `writer` is null when nobody holds it. */
export interface StoredLease extends LeaseMarker {
  readonly writer: string | null;
}

/** id, value, leader, timestamp: the key is known to the caller. */
export type StoredVersion = readonly [id: string, value: string, leader: string, timestamp: bigint];

export interface StoredHistoryQuery {
  readonly limit: number;
  readonly newestFirst: boolean;
  /** Exclusive, nanoseconds. */
  readonly before: bigint;
  /** Exclusive, nanoseconds. */
  readonly after: bigint;
  /** The last version of the page before: go on behind it. */
  readonly from?: readonly [timestamp: bigint, id: string] | undefined;
}

/** Versions of one key; a long read comes in many. */
export interface StoredPage {
  readonly versions: readonly StoredVersion[];
  /** It ended before the limit, because it was large enough. */
  readonly more: boolean;
}

export interface StoredRenewal {
  readonly name: string;
  readonly token: bigint;
  readonly incarnation: string;
  readonly writer: string;
}

/** Deleted when it has no value. */
export interface StoredMirror {
  readonly key: string;
  readonly value: string | undefined;
}

/** The lease has another token than the fence: nothing was written. */
export interface Fenced {
  readonly foundToken: bigint;
}

/** What the worker does on request; reads come first in this list. Each write is a transaction, or a part of one. */
export interface Operations {
  readLease(name: string): StoredLease;
  latest(key: string): StoredVersion | undefined;
  history(key: string, query: StoredHistoryQuery): StoredPage;
  keys(
    prefix: string,
    limit: number,
    after: string | undefined,
  ): { readonly keys: readonly string[]; readonly more: boolean };
  /** Opens the file, and makes the tables if they are not there. */
  connect(): void;
  acquire(
    name: string,
    writer: string,
    incarnation: string,
    expired: LeaseMarker | undefined,
    /** The new token is greater than this, whatever the file says. */
    above: bigint,
  ): { readonly acquired: boolean; readonly row: StoredLease };
  /** All in one transaction; one result each, in order. */
  renew(
    renewals: readonly StoredRenewal[],
  ): readonly { readonly renewed: boolean; readonly name: string; readonly row: StoredLease }[];
  release(name: string, token: bigint, incarnation: string): boolean;
  /** One timestamp per row; null where the row is already there with another value. */
  append(
    rows: readonly LogAppend[],
    fence: Fence | undefined,
  ): { readonly timestamps: readonly (bigint | null)[] } | Fenced;
  overwrite(row: Omit<LogAppend, 'id'>, fence: Fence | undefined): { readonly timestamp: bigint } | Fenced;
  /**
   * Makes the row the only one of its key, if the one there has the timestamp `follows` (0 for none), and with it
   * the mirrors, each the row of its own key under the row's key as id.
   */
  replace(
    row: LogAppend,
    follows: bigint,
    mirrors: readonly StoredMirror[],
    fence: Fence,
  ): { readonly timestamp: bigint } | { readonly found: StoredVersion | undefined } | Fenced;
}

export type OperationName = keyof Operations;

/** What changes rows. */
export type WriteName = 'acquire' | 'renew' | 'release' | 'append' | 'overwrite' | 'replace';

export interface Write {
  readonly operation: WriteName;
  readonly args: readonly unknown[];
}

export interface Request {
  readonly id: number;
  readonly operation: OperationName;
  readonly args: readonly unknown[];
  /** By the process's monotonic clock (`process.hrtime`), in milliseconds: no try begins after it. */
  readonly giveUpAt: number;
}

/** Instead of requests: close the file and end the thread, once what is being done is done. What waits is refused. */
export type End = 'end';

/** Why an operation failed, in a form that can be posted. */
export interface Failure {
  /** SQLite's name (`SQLITE_BUSY`), Node's (`MODULE_NOT_FOUND`), or one of `worker/database.js`. */
  readonly code: string;
  readonly message: string;
  /** True when nothing was written for sure. */
  readonly withoutEffect: boolean;
}

export type Reply =
  | { readonly id: number; readonly value: unknown; readonly failure?: undefined }
  | { readonly id: number; readonly failure: Failure };
