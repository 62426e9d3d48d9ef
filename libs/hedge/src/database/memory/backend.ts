import { checkKeys } from '../../common/validation/check-keys.js';
import type { Backend, BackendFactory } from '../backend.js';
import type {
  AcquireResult,
  HeldLease,
  LeaseQuery,
  ListedLease,
  LeaseClaim,
  LeaseRecord,
  LeaseTable,
  Renewal,
  RenewResult,
} from '../lease-table.js';
import type {
  AppendOutcome,
  ChangesPage,
  ChangesQuery,
  Fence,
  HistoryQuery,
  KeysQuery,
  LogAppend,
  LogEntry,
  LogTable,
  LogTransaction,
  LogTrim,
  TransactionOutcome,
  TrimmablePage,
  TrimmableQuery,
} from '../log-table.js';
import { LeaseObserver } from '../lease-observer.js';
import { transactionsOf } from '../sql-transactions/index.js';
import { workThenLast, type LastInTransaction } from '../sql-transactions/library.js';
import {
  alreadyCommitted,
  fenceLost,
  permitFreed,
  type PermitFence,
  type UserTransactions,
} from '../user-transactions.js';
import type { LeaseMarker } from '../observed-lease.js';
import type { PermitTable, SemaphoreRow, SemaphoreWrite, SemaphoreWriteResult } from '../permit-table.js';
import {
  assertLeaseTexts,
  assertRenewals,
  assertSemaphoreName,
  assertSemaphoreWrite,
  assertTransactions,
  assertTrim,
  assertTrimmable,
} from '../checks.js';
import { assertText, assertTexts } from '../text.js';
import { systemClock, type Clock } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import { MemoryDatabase, type LeaseRow } from './database.js';

export interface MemoryOptions {
  /** The tables. Give the same to all pods of a group. Default: new tables, for a group of one pod. */
  readonly database?: MemoryDatabase;
  /** The clock by which this pod detects expired leases. Default: the system clock. */
  readonly clock?: Clock;
}

/** Tables that pods of one process share: `memory({ database })`. Their content ends with the process. */
export function memoryDatabase(options: { readonly clock?: Clock } = {}): MemoryDatabase {
  checkKeys('The options of memoryDatabase', options, ['clock']);
  return new MemoryDatabase(options.clock);
}

/**
 * A backend in the memory of this process, for unit tests and experiments. It keeps the contract of the other drivers
 * (it passes `backendConformance`), but its data ends with the process and is invisible to other processes.
 *
 * @example
 * const database = memoryDatabase();
 * HedgeModule.forRoot({ backend: memory({ database }), … }); // in each of three apps: one group of three
 */
export function memory(options: MemoryOptions = {}): BackendFactory {
  checkKeys('The options of memory', options, ['database', 'clock']);
  const database = options.database ?? new MemoryDatabase(options.clock);
  return { create: () => new MemoryBackend(database, options.clock ?? systemClock) };
}

class MemoryBackend implements Backend {
  readonly name = 'memory';
  readonly lease: LeaseTable;
  readonly log: LogTable;
  readonly permits: PermitTable;
  readonly transactions: UserTransactions;
  #closed = false;

  constructor(database: MemoryDatabase, clock: Clock) {
    const openDatabase = () => {
      if (this.#closed)
        throw new HedgeError('BACKEND_UNAVAILABLE', 'The memory backend is closed.', { retryable: false });
      return database;
    };
    this.lease = new MemoryLeaseTable(openDatabase, clock);
    this.log = new MemoryLogTable(openDatabase);
    this.permits = new MemoryPermitTable(openDatabase);
    this.transactions = new MemoryUserTransactions(openDatabase);
  }

  async open(): Promise<void> {
    // The tables exist already.
  }

  async close(): Promise<void> {
    this.#closed = true;
  }
}

class MemoryLeaseTable implements LeaseTable {
  readonly observes = true;
  /** Of this backend; another backend on the same database has its own. */
  readonly #observer = new LeaseObserver();

  constructor(
    private readonly database: () => MemoryDatabase,
    private readonly clock: Clock,
  ) {}

  observeRenewal(name: string, marker: LeaseMarker): void {
    this.#observer.observeRenewal(name, marker, this.clock.now());
  }

  async read(name: string): Promise<LeaseRecord> {
    assertLeaseTexts(name);
    return this.#record(name, this.database().lease(name));
  }

  async acquire({ name, holder, leaseMs }: LeaseClaim): Promise<AcquireResult> {
    assertLeaseTexts(name, holder);
    const { taken, row } = this.database().takeLease(
      name,
      { holder, leaseMs },
      (row) => row.claim?.holder.incarnation === holder.incarnation || this.#record(name, row).expiresInMs === 0,
    );
    if (taken && this.#observer.acquired(name, row.token, leaseMs, this.clock.now())) {
      return { acquired: true, token: row.token };
    }
    return { acquired: false, record: this.#record(name, row) };
  }

  async list(query: LeaseQuery): Promise<readonly ListedLease[]> {
    const { prefix, after = '' } = query;
    assertTexts({ prefix, after });
    return this.database().listLeases(query);
  }

  async renew(lease: Renewal): Promise<RenewResult> {
    assertLeaseTexts(lease.name, lease.holder);
    return this.#renew(lease);
  }

  async renewAll(leases: readonly Renewal[]): Promise<readonly RenewResult[]> {
    assertRenewals(leases);
    for (const { name, holder } of leases) assertLeaseTexts(name, holder);
    // Synchronous, so it is one transaction.
    return leases.map((lease) => this.#renew(lease));
  }

  async release(lease: HeldLease): Promise<boolean> {
    const { name, holder, token } = lease;
    assertLeaseTexts(name, holder);
    this.#observer.releasing(name);
    const { changed } = this.database().changeLease(name, { token, holder }, ({ renewals }) => ({ renewals }));
    if (changed) this.#observer.released(lease);
    return changed;
  }

  #renew(lease: Renewal): RenewResult {
    const { name, holder, token, leaseMs, renewals } = lease;
    const { changed, row } = this.database().changeLease(name, { token, holder, renewals }, (row) => ({
      renewals: renewals ?? row.renewals + 1n,
      claim: { holder, leaseMs },
    }));
    const known = this.#observer.known(name);
    return this.#observer.renewed(lease, changed, { ...row, ...row.claim }, known, this.clock.now());
  }

  #record(name: string, row: LeaseRow): LeaseRecord {
    return this.#observer.record(name, { ...row, ...row.claim }, this.#observer.known(name), this.clock.now());
  }
}

class MemoryLogTable implements LogTable {
  constructor(private readonly database: () => MemoryDatabase) {}

  async append(rows: readonly LogAppend[], fence?: Fence): Promise<readonly AppendOutcome[]> {
    for (const row of rows) assertTexts(row);
    return this.database()
      .append(rows, fence)
      .map((entry) => (entry instanceof HedgeError ? entry : { timestamp: entry.timestamp }));
  }

  async appendIf(transactions: readonly LogTransaction[], fence?: Fence): Promise<readonly TransactionOutcome[]> {
    assertTransactions(transactions);
    return this.database().appendIf(transactions, fence);
  }

  async overwrite(row: Omit<LogAppend, 'id'>, fence?: Fence): Promise<{ readonly timestamp: bigint }> {
    assertTexts(row);
    const { timestamp } = this.database().overwrite(row, fence);
    return { timestamp };
  }

  async latest(key: string): Promise<LogEntry | undefined> {
    return (await this.history(key, { limit: 1, order: 'newest-first' }))[0];
  }

  async history(key: string, query: HistoryQuery): Promise<readonly LogEntry[]> {
    assertText('key', key);
    return this.database().history(key, query);
  }

  async trim(trim: LogTrim, fence?: Fence): Promise<number> {
    assertTrim(trim);
    return this.database().trim(trim, fence);
  }

  async trimmable(query: TrimmableQuery): Promise<TrimmablePage> {
    assertTrimmable(query);
    return this.database().trimmable(query);
  }

  async keys(query: KeysQuery): Promise<readonly string[]> {
    return this.database().keys(query);
  }

  async changes(query: ChangesQuery): Promise<ChangesPage> {
    assertTexts({ prefix: query.prefix });
    return this.database().changes(query);
  }

  async lastTimestamp(): Promise<bigint> {
    return this.database().lastTimestamp;
  }
}

class MemoryPermitTable implements PermitTable {
  constructor(private readonly database: () => MemoryDatabase) {}

  async read(name: string): Promise<SemaphoreRow | undefined> {
    assertSemaphoreName(name);
    return this.database().semaphore(name);
  }

  async write(write: SemaphoreWrite, fence: Fence): Promise<SemaphoreWriteResult> {
    assertSemaphoreWrite(write);
    return this.database().writeSemaphore(write, fence);
  }
}

/**
 * For unit tests: a transaction of the user has no part in this database. So a fence looks at the row once, when it is
 * called, and F1 does not hold. `tx` and `source` may be anything, as fakes.
 */
class MemoryUserTransactions implements UserTransactions {
  constructor(private readonly database: () => MemoryDatabase) {}

  async fence(_tx: unknown, fence: Fence): Promise<void> {
    if (this.database().lease(fence.lease).token !== fence.token) throw fenceLost(fence);
  }

  async fencePermit(_tx: unknown, permit: PermitFence): Promise<void> {
    if (!this.database().holdsPermit(permit)) throw permitFreed(permit);
  }

  async append(tx: unknown, row: LogAppend, fence: Fence): Promise<void> {
    assertTexts(row);
    await this.fence(tx, fence);
    if (this.database().find(row.key, row.id) !== undefined) throw alreadyCommitted(row);
    this.database().append([row], undefined);
  }

  /** In a transaction of a data source of a supported library; else with the source itself. */
  run<Result>(
    source: unknown,
    work: (tx: unknown) => Result | Promise<Result>,
    last?: LastInTransaction,
  ): Promise<Result> {
    const run = transactionsOf(source) ?? ((run) => run(source));
    return run(workThenLast(work, last));
  }
}
