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
import { formatWriter, toListedLease } from '../row-names.js';
import { assertTexts } from '../text.js';
import { LeaseObserver, leaseRow, type LeaseRow } from '../lease-observer.js';
import { assertLeaseTexts, assertRenewals } from '../checks.js';
import type { LeaseMarker } from '../observed-lease.js';
import type { Clock } from '../../common/clock.js';
import type { Calls, Query } from './client/calls.js';
import type { Row } from './client/client.js';
import type { Tables } from './options.js';
import { acquireSql, leaseSql, leasesSql, namesOf, releaseSql, renewSql, takeSql, type Names } from './sql.js';

const NO_ROW: LeaseRow = { token: 0n, renewals: 0n };

/** After this time, a contender tries again to acquire a lease that an open fenced transaction keeps from being acquired. */
const LOCKED_MS = 200;

/**
 * Leases in PostgreSQL. One statement decides, under the conditions of a `LeaseObserver`: the clock of the database jumps
 * when another server takes over, so it does not count.
 */
export class PostgresLeaseTable implements LeaseTable {
  readonly observes = true;
  readonly #observer = new LeaseObserver();
  readonly #names: Names;

  constructor(
    private readonly calls: Calls,
    tables: Tables,
    private readonly clock: Clock,
    /** Connections for lists, which may take long. */
    private readonly lists: Calls,
  ) {
    this.#names = namesOf(tables);
  }

  heard(name: string, token: bigint, leaseMs: number): void {
    this.#observer.heard(name, token, leaseMs);
  }

  /** As `PermitTable.unseenForMs`. */
  permitsUnseenForMs(permitMs: number): number {
    return this.#observer.permitsUnseenForMs(permitMs, this.clock.now());
  }

  observeRenewal(name: string, marker: LeaseMarker): void {
    this.#observer.observeRenewal(name, marker, this.clock.now());
  }

  async read(name: string): Promise<LeaseRecord> {
    assertLeaseTexts(name);
    const known = this.#observer.known(name);
    const row = await this.calls.run('lease.read', (query) => this.#read(query, name));
    return this.#record(name, row, known);
  }

  async acquire({ name, holder, leaseMs }: LeaseClaim): Promise<AcquireResult> {
    assertLeaseTexts(name, holder);
    const conditions = this.#observer.mayAcquire(name, leaseMs, this.clock.now());
    if (conditions === undefined) return { acquired: false, record: await this.read(name) };
    const writer = formatWriter(holder, leaseMs);
    const acquisition = { name, writer, incarnation: holder.incarnation, ...conditions };
    const { acquired, row, locked } = await this.calls.run('lease.acquire', async (query) => {
      // A process that knows a token of this lease expects its row, so the cheaper statement goes first.
      const expectsRow = conditions.known > 0n && conditions.mayInsert;
      const [taken] = expectsRow ? await query(takeSql(this.#names, acquisition)) : [];
      if (taken !== undefined) return { acquired: true, row: toLease(taken), locked: false };
      const [first] = await query(acquireSql(this.#names, acquisition));
      if (first?.['done'] === 'true') return { acquired: true, row: toLease(first), locked: false };
      // Another transaction locks the row, or won, and this statement saw only what was there before.
      const stale = first === undefined || first['takeable'] === 'true';
      if (!stale) return { acquired: false, row: toLease(first), locked: false };
      const present = await this.#read(query, name);
      return { acquired: false, row: present, locked: first !== undefined && isSame(present, toLease(first)) };
    });
    if (acquired && this.#observer.acquired(name, row.token, leaseMs, this.clock.now())) {
      return { acquired, token: row.token };
    }
    const record = this.#record(name, row, conditions.known);
    // It can be acquired, but not now: a contender would try again at once, or after an eighth of the lease. The holder of
    // an expired lease holds it no more, and would appear again with each attempt.
    if (locked && record.expiresInMs < LOCKED_MS) {
      return { acquired: false, record: { token: record.token, expiresInMs: LOCKED_MS } };
    }
    return { acquired: false, record };
  }

  async list({ prefix, limit, after }: LeaseQuery): Promise<readonly ListedLease[]> {
    assertTexts({ prefix, after: after ?? '' });
    const rows = await this.lists.query('lease.list', leasesSql(this.#names, prefix, limit, after));
    return rows.flatMap(({ name, token, writer, age }) =>
      name == null ? [] : toListedLease({ name, token: BigInt(token ?? 0), writer, ageMs: Number(age) }),
    );
  }

  async renew(lease: Renewal): Promise<RenewResult> {
    const [result] = await this.#renew('lease.renew', [lease]);
    return result as RenewResult;
  }

  async renewAll(leases: readonly Renewal[]): Promise<readonly RenewResult[]> {
    assertRenewals(leases);
    return leases.length === 0 ? [] : this.#renew('lease.renewAll', leases);
  }

  async #renew(operation: 'lease.renew' | 'lease.renewAll', leases: readonly Renewal[]): Promise<RenewResult[]> {
    for (const { name, holder } of leases) assertLeaseTexts(name, holder);
    const renewals = leases.map(({ name, token, holder, leaseMs, renewals }) => {
      return { name, token, incarnation: holder.incarnation, writer: formatWriter(holder, leaseMs), renewals };
    });
    const known = leases.map(({ name }) => this.#observer.known(name));
    const renew = async (query: Query) => {
      const found = new Map((await query(renewSql(this.#names, renewals))).map((row) => [row['name'], row]));
      const answers = renewals.map(async (renewal) => {
        const row = found.get(renewal.name);
        const renewed = row?.['done'] === 'true';
        const stored = toLease(row);
        // Another transaction changed it, and this statement saw only what was there before.
        const isOwn = stored.token === renewal.token && stored.holder?.incarnation === renewal.incarnation;
        const stale = !renewed && isOwn;
        return { renewed, row: stale ? await this.#read(query, renewal.name) : stored };
      });
      return Promise.all(answers);
    };
    // Many acquisitions may wait for the connection of the leases.
    const rows = await this.calls.run(operation, renew, { urgent: true });
    const now = this.clock.now();
    return leases.map((lease, index) => {
      const { renewed, row } = rows[index]!;
      return this.#observer.renewed(lease, renewed, row, known[index]!, now);
    });
  }

  async release(lease: HeldLease): Promise<boolean> {
    const { name, holder, token } = lease;
    assertLeaseTexts(name, holder);
    this.#observer.releasing(name);
    const rows = await this.calls.query('lease.release', releaseSql(this.#names, name, token, holder.incarnation));
    if (rows.length > 0) this.#observer.released(lease);
    return rows.length > 0;
  }

  async #read(query: Query, name: string): Promise<LeaseRow> {
    const [row] = await query(leaseSql(this.#names, name));
    return row?.['found'] === 'true' ? toLease(row) : NO_ROW;
  }

  /** Called after the answer, so the current time is not before the end of the read. */
  #record(name: string, row: LeaseRow, known: bigint): LeaseRecord {
    return this.#observer.record(name, row, known, this.clock.now());
  }
}

function isSame(one: LeaseRow, other: LeaseRow): boolean {
  return (
    one.token === other.token &&
    one.renewals === other.renewals &&
    one.holder?.incarnation === other.holder?.incarnation
  );
}

function toLease(row: Row | undefined): LeaseRow {
  if (row === undefined) return NO_ROW;
  return leaseRow(BigInt(row['token'] ?? 0), BigInt(row['renewals'] ?? 0), row['writer'] ?? null);
}
