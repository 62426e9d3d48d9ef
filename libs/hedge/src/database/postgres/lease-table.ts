import type {
  AcquireResult,
  HeldLease,
  LeaseClaim,
  LeaseRecord,
  LeaseTable,
  Renewal,
  RenewResult,
} from '../lease-table.js';
import { FOREIGN_LEASE_MS, formatWriter, parseWriter } from '../row-names.js';
import { ObservedLeases } from '../observed-lease.js';
import { assertLeaseTexts, assertRenewals } from '../checks.js';
import { ReplacedDatabase } from '../replaced-database.js';
import type { Clock } from '../../common/clock.js';
import type { Calls, Query } from './client/calls.js';
import type { Row } from './client/client.js';
import { KnownTokens } from './known-tokens.js';
import type { Tables } from './options.js';
import { acquireSql, leaseSql, namesOf, releaseSql, renewSql, type Names } from './sql.js';

interface StoredLease {
  readonly token: bigint;
  readonly renewals: bigint;
  /** Null when nobody holds it; undefined when there is no row. */
  readonly writer: string | null | undefined;
}

const NO_ROW: StoredLease = { token: 0n, renewals: 0n, writer: undefined };

/**
 * Leases in PostgreSQL: decided by one statement, and judged by how long this process has seen a row unchanged, because
 * the clock of the database jumps when another server takes over.
 *
 * A server that takes over can lack the last rows. A row with a lower token than this process knows of shows it: then
 * this process takes nothing for a whole lease (`ReplacedDatabase`), and its next token exceeds all that it knows of.
 */
export class PostgresLeaseTable implements LeaseTable {
  readonly observes = true;
  #observed = new ObservedLeases();
  readonly #known = new KnownTokens();
  readonly #replaced = new ReplacedDatabase();
  readonly #names: Names;

  constructor(
    private readonly calls: Calls,
    tables: Tables,
    private readonly clock: Clock,
  ) {
    this.#names = namesOf(tables);
  }

  /** As `PermitTable.unseenForMs`. */
  permitsUnseenForMs(permitMs: number): number {
    return this.#replaced.permitsValidForMs(this.clock.now(), permitMs);
  }

  async read(name: string): Promise<LeaseRecord> {
    assertLeaseTexts(name);
    const known = this.#known.token(name);
    const row = await this.calls.run('lease.read', (query) => this.#read(query, name));
    return this.#record(name, row, known);
  }

  async acquire({ name, holder, leaseMs }: LeaseClaim): Promise<AcquireResult> {
    assertLeaseTexts(name, holder);
    const writer = formatWriter(holder, leaseMs);
    if (this.#replaced.quietForMs(this.clock.now(), leaseMs) > 0) {
      return { acquired: false, record: await this.read(name) };
    }
    const known = this.#known.token(name);
    const expired = this.#observed.expiredMarker(name, this.clock.now());
    const acquisition = {
      name,
      writer,
      incarnation: holder.incarnation,
      expired,
      mayInsert: !this.#known.isHeld(name) || expired !== undefined,
      known,
      above: this.#replaced.greatestToken,
    };
    const { acquired, row } = await this.calls.run('lease.acquire', async (query) => {
      const [first] = await query(acquireSql(this.#names, acquisition));
      if (first?.['done'] === 'true') return { acquired: true, row: toLease(first) };
      // Another transaction won, and this statement saw only what was there before.
      const stale = first === undefined || first['writer'] === null;
      return { acquired: false, row: stale ? await this.#read(query, name) : toLease(first) };
    });
    if (!acquired) return { acquired, record: this.#record(name, row, known) };
    this.#replaced.seen(row.token, leaseMs);
    this.#known.seen(name, row.token, leaseMs);
    this.#observed.forget(name);
    return { acquired, token: row.token };
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
    const renewals = leases.map(({ name, token, holder, leaseMs }) => {
      return { name, token, incarnation: holder.incarnation, writer: formatWriter(holder, leaseMs) };
    });
    const known = leases.map(({ name }) => this.#known.token(name));
    const rows = await this.calls.run(operation, async (query) => {
      const found = new Map((await query(renewSql(this.#names, renewals))).map((row) => [row['name'], row]));
      const answers = renewals.map(async (renewal) => {
        const row = found.get(renewal.name);
        const renewed = row?.['done'] === 'true';
        const stored = toLease(row);
        // Another transaction changed it, and this statement saw only what was there before.
        const stale = !renewed && isHeldBy(stored, renewal.token, renewal.incarnation);
        return { renewed, row: stale ? await this.#read(query, renewal.name) : stored };
      });
      return Promise.all(answers);
    });
    return leases.map(({ name, token }, index): RenewResult => {
      const { renewed, row } = rows[index]!;
      // A later acquisition is known of, which the database has lost.
      const superseded = known[index]! > token;
      const record = this.#record(name, row, known[index]!);
      return renewed && !superseded ? { renewed } : { renewed: false, record };
    });
  }

  async release({ name, holder, token }: HeldLease): Promise<boolean> {
    assertLeaseTexts(name, holder);
    this.#observed.forget(name);
    const rows = await this.calls.query('lease.release', releaseSql(this.#names, name, token, holder.incarnation));
    if (rows.length > 0) this.#known.seen(name, token, undefined);
    return rows.length > 0;
  }

  async #read(query: Query, name: string): Promise<StoredLease> {
    const [row] = await query(leaseSql(this.#names, name));
    return row?.['found'] === 'true' ? toLease(row) : NO_ROW;
  }

  /**
   * Called when the answer is here, so now is not before the end of the read.
   * @param known the highest token that this process knew of before it asked.
   */
  #record(name: string, row: StoredLease, known: bigint): LeaseRecord {
    const now = this.clock.now();
    const { token, renewals, writer } = row;
    const claim = parseWriter(writer);
    const missing = writer === undefined;
    // A lease that was held and has no row is judged as if it were held: a server that took over may lack it.
    const ofWriter = claim?.leaseMs ?? (writer === null ? undefined : FOREIGN_LEASE_MS);
    const leaseMs = missing ? this.#known.leaseMs(name) : ofWriter;
    if (!missing) {
      const wentBack = token < known;
      if (wentBack) {
        this.#replaced.replaced(now);
        this.#observed = new ObservedLeases();
      }
      this.#replaced.seen(token, leaseMs);
      this.#known.seen(name, token, leaseMs, wentBack);
    }
    const expiresInMs = this.#observed.observe(name, { marker: { token, renewals }, leaseMs }, now);
    return {
      token,
      expiresInMs: Math.max(expiresInMs, this.#replaced.quietForMs(now, 0)),
      ...(claim && { holder: claim.holder }),
    };
  }
}

function toLease(row: Row | undefined): StoredLease {
  if (row === undefined) return NO_ROW;
  return {
    token: BigInt(row['token'] ?? 0),
    renewals: BigInt(row['renewals'] ?? 0),
    writer: row['writer'] ?? null,
  };
}

function isHeldBy({ token, writer }: StoredLease, expected: bigint, incarnation: string): boolean {
  return token === expected && parseWriter(writer)?.holder.incarnation === incarnation;
}
