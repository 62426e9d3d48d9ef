import type { Backend, BackendFactory } from '../backend.js';
import type { LeaseTable } from '../lease-table.js';
import type { LogTable } from '../log-table.js';
import type { PermitTable } from '../permit-table.js';
import type { UserTransactions } from '../user-transactions.js';
import { systemClock } from '../../common/clock.js';
import { SqliteLeaseTable } from './lease-table.js';
import { SqliteLogTable } from './log-table.js';
import { workerConfig, type SqliteOptions } from './options.js';
import { SqlitePermitTable } from './permit-table.js';
import type { WorkerConfig } from './protocol.js';
import { SqliteThreads } from './threads.js';
import { SqliteUserTransactions } from './user-transactions.js';

/**
 * A backend in one SQLite file, for pods that are processes of one machine: development, tests, a server with several
 * workers. Needs the package `libsql`. Acknowledged writes survive a power failure (`synchronous=FULL`).
 *
 * @throws HedgeError INVALID_OPTIONS for an invalid path or table name.
 * @example
 * HedgeModule.forRoot({ group: 'orders', backend: sqlite({ file: '/data/hedge.db' }) });
 */
export function sqlite(options: SqliteOptions): BackendFactory {
  const config = workerConfig(options);
  return { create: creator(config), forWorker: () => ({ module: import.meta.url, make: 'sqlite', options: config }) };
}

/** As `sqlite`, for a client: the file must have the tables already, so that a wrong path changes no other database. */
export function existingSqlite(options: SqliteOptions): BackendFactory {
  return { create: creator({ ...workerConfig(options), existing: true }) };
}

function creator(config: WorkerConfig): BackendFactory['create'] {
  return ({ timeoutMs }) => new SqliteBackend(`sqlite ${config.file}`, new SqliteThreads(config, timeoutMs), config);
}

class SqliteBackend implements Backend {
  readonly lease: LeaseTable;
  readonly log: LogTable;
  readonly permits: PermitTable;
  readonly transactions: UserTransactions;

  constructor(
    readonly name: string,
    private readonly threads: SqliteThreads,
    config: WorkerConfig,
  ) {
    const lease = new SqliteLeaseTable(threads, systemClock);
    this.lease = lease;
    this.log = new SqliteLogTable(threads);
    this.permits = new SqlitePermitTable(threads, lease);
    this.transactions = new SqliteUserTransactions(config);
    threads.onReplaced(() => lease.replaced());
  }

  open(): Promise<void> {
    return this.threads.call('connect');
  }

  close(): Promise<void> {
    return this.threads.close();
  }
}
