import type { LeaseTable } from './lease-table.js';
import type { LogTable } from './log-table.js';
import type { PermitTable } from './permit-table.js';
import type { UserTransactions } from './user-transactions.js';

/**
 * The port to the database, implemented by a driver (sqlite, postgres, spanner, memory). The database alone decides for the group:
 * every promise of this library rests on the contracts in this folder, and `backendConformance` of
 * `nestjs-hedge/testing` checks them on any driver.
 *
 * Rules for every method of every part:
 * - It settles within `timeoutMs` of the driver's options, which must be less than the renew deadline.
 * - It throws only HedgeError. BACKEND_UNAVAILABLE means that the database did not answer, or rejected the call for now.
 *   Whether the call took effect is unknown unless the method says more.
 * - Any number of processes may call it concurrently.
 */
export interface Backend {
  /** For log lines and errors: `sqlite /data/hedge.db`. Never contains a credential. */
  readonly name: string;
  readonly lease: LeaseTable;
  readonly log: LogTable;
  readonly permits: PermitTable;
  /** Absent in a driver that cannot take part in a transaction of the user. Its errors include those of the user's library. */
  readonly transactions?: UserTransactions | undefined;
  /**
   * Connects and checks the tables. Idempotent.
   * @throws HedgeError INVALID_OPTIONS, a permanent error: a missing table or column (with the statement that creates
   *   it), wrong credentials, a file that is no database or cannot be written.
   * @throws HedgeError BACKEND_UNAVAILABLE, a temporary error: try again.
   */
  open(): Promise<void>;
  /**
   * Facts for people, which `doctor` of the command line shows. Absent in a driver that has none.
   * @throws HedgeError BACKEND_UNAVAILABLE
   */
  facts?(): Promise<DatabaseFacts>;
  /** Frees connections, threads and file handles. Idempotent, never throws; pending calls may fail. */
  close(): Promise<void>;
}

/** What a database says of itself. */
export interface DatabaseFacts {
  /** `PostgreSQL 18.1`. */
  readonly version: string;
  /** Its clock, in milliseconds since 1970. */
  readonly clockMs: number;
  /** It refuses writes: it is a standby, or its transactions are read-only by default. */
  readonly readOnly: boolean;
  /** A pooler between this process and the database gives each transaction another session. */
  readonly pooled: boolean;
}

/** The value of the option `backend`: `sqlite({ file })`. Each module instance creates its own backend. */
export interface BackendFactory {
  create(context: BackendContext): Backend;
  /**
   * How another thread makes a backend for the same database, for the option `renewal: 'worker'`. Absent in a driver that
   * offers none.
   * @throws HedgeError INVALID_OPTIONS when no other thread can use this database, with the reason and the fix.
   */
  forWorker?(): WorkerBackend;
}

/**
 * A call that makes a `BackendFactory`, in a form that can be posted to another thread, which has its own connections to the
 * database. Only `lease`, `open` and `close` of its backend are used.
 */
export interface WorkerBackend {
  /** The `file:` URL of a module without top-level await: `import.meta.url` of the module of the driver. */
  readonly module: string;
  /** The name of the exported function. */
  readonly make: string;
  /** Its argument: a value that `structuredClone` can copy. */
  readonly options: unknown;
}

export interface BackendContext {
  /** The deadline of one call to the database, in milliseconds. Below the renew deadline. */
  readonly timeoutMs: number;
}
