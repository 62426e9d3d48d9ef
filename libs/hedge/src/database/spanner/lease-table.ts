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
import { FOREIGN_LEASE_MS, formatWriter, parseWriter, toListedLease } from '../row-names.js';
import { assertLeaseTexts, assertRenewals } from '../checks.js';
import type { Connection } from './client/connection.js';
import type { Tables } from './options.js';
import type { Mutation } from './client/protocol.js';
import { leaseSql, leasesSql, listedLeasesSql } from './sql.js';
import { assertTexts } from '../text.js';
import { COMMIT_TIMESTAMP, rowValues } from './client/transaction.js';
import { timestampOf, type Column, type Row } from './client/values.js';

/**
 * Leases in Spanner, by Spanner's clock: its commit times are the tokens and heartbeats. The statement that reads a lease
 * also returns the age of the last heartbeat.
 */
export class SpannerLeaseTable implements LeaseTable {
  readonly observes = false;

  constructor(
    private readonly connection: Connection,
    private readonly tables: Tables,
  ) {}

  async read(name: string): Promise<LeaseRecord> {
    assertLeaseTexts(name);
    return this.connection.run('lease.read', async (attempt) => toRecord(await attempt.query(this.#lease(name))));
  }

  async acquire({ name, holder, leaseMs }: LeaseClaim): Promise<AcquireResult> {
    assertLeaseTexts(name, holder);
    return this.connection.run('lease.acquire', async (attempt) => {
      const transaction = attempt.begin();
      const record = toRecord(await transaction.query(this.#lease(name)));
      if (record.expiresInMs > 0 && record.holder?.incarnation !== holder.incarnation) {
        return { acquired: false, record };
      }
      const token = await transaction.commit([
        this.#write('insertOrUpdate', {
          name,
          heartbeat: COMMIT_TIMESTAMP,
          token: COMMIT_TIMESTAMP,
          writer: formatWriter(holder, leaseMs),
        }),
      ]);
      return { acquired: true, token };
    });
  }

  async list(query: LeaseQuery): Promise<readonly ListedLease[]> {
    const { prefix, after = '' } = query;
    assertTexts({ prefix, after });
    const rows = await this.connection.run('lease.list', (attempt) =>
      attempt.stream(listedLeasesSql(this.tables.lockTable, query)),
    );
    return rows.flatMap(([name, token, writer, ageMicros]) =>
      toListedLease({ name: name ?? '', token: timestampOf(token), writer, ageMs: Number(ageMicros) / 1_000 }),
    );
  }

  async renew({ name, holder, token, leaseMs }: HeldLease & LeaseClaim): Promise<RenewResult> {
    assertLeaseTexts(name, holder);
    return this.connection.run('lease.renew', async (attempt) => {
      const transaction = attempt.begin();
      const record = toRecord(await transaction.query(this.#lease(name)));
      if (!isHeldBy(record, token, holder.incarnation)) return { renewed: false, record };
      await transaction.commit([this.#renewals([{ name, holder, leaseMs }])]);
      return { renewed: true };
    });
  }

  async renewAll(leases: readonly Renewal[]): Promise<readonly RenewResult[]> {
    assertRenewals(leases);
    for (const { name, holder } of leases) assertLeaseTexts(name, holder);
    if (leases.length === 0) return [];
    return this.connection.run('lease.renewAll', async (attempt) => {
      const transaction = attempt.begin();
      const names = leases.map(({ name }) => name);
      const found = await transaction.query(leasesSql(this.tables.lockTable, names));
      const records = new Map(found.map(([name, ...row]) => [name, toRecord([row])]));
      const results = leases.map(({ name, token, holder }): RenewResult => {
        const record = records.get(name) ?? toRecord([]);
        return isHeldBy(record, token, holder.incarnation) ? { renewed: true } : { renewed: false, record };
      });
      const held = leases.filter((_, i) => results[i]?.renewed);
      if (held.length > 0) await transaction.commit([this.#renewals(held)]);
      return results;
    });
  }

  async release({ name, holder, token }: HeldLease): Promise<boolean> {
    assertLeaseTexts(name, holder);
    return this.connection.run('lease.release', async (attempt) => {
      const transaction = attempt.begin();
      const rows = await transaction.query(this.#lease(name));
      const record = toRecord(rows);
      // An earlier commit of this call, whose answer was lost: no other call clears the writer under this token.
      if (attempt.mayRepeat && record.token === token && rows[0]?.[1] === null) return true;
      if (!isHeldBy(record, token, holder.incarnation)) return false;
      await transaction.commit([this.#write('update', { name, writer: null })]);
      return true;
    });
  }

  #lease(name: string) {
    return leaseSql(this.tables.lockTable, name);
  }

  #renewals(held: readonly LeaseClaim[]): Mutation {
    const values = held.map(({ name, holder, leaseMs }) => {
      return rowValues(name, COMMIT_TIMESTAMP, formatWriter(holder, leaseMs));
    });
    return { update: { table: this.tables.lockTable, columns: ['name', 'heartbeat', 'writer'], values } };
  }

  #write(kind: 'insertOrUpdate' | 'update', row: Readonly<Record<string, Column>>): Mutation {
    const write = {
      table: this.tables.lockTable,
      columns: Object.keys(row),
      values: [rowValues(...Object.values(row))],
    };
    return kind === 'update' ? { update: write } : { insertOrUpdate: write };
  }
}

/** From the row that `leaseSql` finds. */
function toRecord([row]: readonly Row[]): LeaseRecord {
  if (row === undefined) return { token: 0n, expiresInMs: 0 };
  const [token, writer = null, ageMicros] = row;
  const claim = parseWriter(writer);
  const leaseMs = claim?.leaseMs ?? (writer === null ? 0 : FOREIGN_LEASE_MS);
  const ageMs = ageMicros == null ? Infinity : Number(ageMicros) / 1_000;
  const expiresInMs = Math.min(leaseMs, Math.max(0, leaseMs - ageMs));
  return { token: timestampOf(token), expiresInMs, ...(claim && { holder: claim.holder }) };
}

function isHeldBy(record: LeaseRecord, token: bigint, incarnation: string): boolean {
  return record.token === token && record.holder?.incarnation === incarnation;
}
