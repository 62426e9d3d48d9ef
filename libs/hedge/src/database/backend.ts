import type { LeaseTable } from './lease-table.js';
import type { LogTable } from './log-table.js';
import type { PermitTable } from './permit-table.js';

/**
 * The port to the database, implemented by a driver (sqlite, spanner, memory). The database is the only
 * arbiter of the group: every promise of this library rests on the contracts in this folder, and
 * `backendConformance` of `nestjs-hedge/testing` checks them on any driver.
 *
 * Rules for every method of every part:
 * - It settles within `timeoutMs` of the driver's options, which must be less than the renew deadline.
 * - It throws only HedgeError. BACKEND_UNAVAILABLE means that the database did not answer or refused for
 *   now, and that the effect, if any, is unknown unless the method says more.
 * - It may be called by any number of processes at once.
 */
export interface Backend {
  /** For log lines and errors: `sqlite /data/hedge.db`. Never holds a credential. */
  readonly name: string;
  readonly lease: LeaseTable;
  readonly log: LogTable;
  readonly permits: PermitTable;
  /**
   * Connects and checks the tables. Idempotent.
   * @throws HedgeError INVALID_OPTIONS for good: a missing table or column (with the statement that makes
   *   it), wrong credentials, a file that is no database or cannot be written.
   * @throws HedgeError BACKEND_UNAVAILABLE for now: may be tried again.
   */
  open(): Promise<void>;
  /** Frees connections, threads and file handles. Idempotent, never throws; pending calls may fail. */
  close(): Promise<void>;
}

/** What an application puts into its options: `sqlite({ file })`. Each module instance makes its own. */
export interface BackendFactory {
  create(context: BackendContext): Backend;
}

export interface BackendContext {
  /** One call to the database must end within this, in milliseconds. Below the renew deadline. */
  readonly timeoutMs: number;
}
