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
import type { StoredLease } from './protocol.js';
import type { SqliteCalls } from './threads.js';

/**
 * Leases in SQLite. The worker's transaction decides; expiry is detected by the observations of this process.
 *
 * When the file was replaced, holders of leases in the old file may be valid for a whole lease yet, and the new file does
 * not know them. So for that time nothing is acquired, and held leases are lost (`ReplacedDatabase`).
 */
export class SqliteLeaseTable implements LeaseTable {
  readonly observes = true;
  #observed = new ObservedLeases();
  readonly #replaced = new ReplacedDatabase();

  constructor(
    private readonly thread: SqliteCalls,
    private readonly clock: Clock,
  ) {}

  /** The file was replaced by another one. */
  replaced(): void {
    this.#replaced.replaced(this.clock.now());
    this.#observed = new ObservedLeases();
  }

  /** As `PermitTable.unseenForMs`. */
  permitsUnseenForMs(permitMs: number): number {
    return this.#replaced.permitsValidForMs(this.clock.now(), permitMs);
  }

  async read(name: string): Promise<LeaseRecord> {
    assertLeaseTexts(name);
    return this.#record(name, await this.thread.call('readLease', name));
  }

  async acquire({ name, holder, leaseMs }: LeaseClaim): Promise<AcquireResult> {
    assertLeaseTexts(name, holder);
    if (this.#replaced.quietForMs(this.clock.now(), leaseMs) > 0) {
      return { acquired: false, record: await this.read(name) };
    }
    const expired = this.#observed.expiredMarker(name, this.clock.now());
    const writer = formatWriter(holder, leaseMs);
    const above = this.#replaced.greatestToken;
    const { acquired, row } = await this.thread.call('acquire', name, writer, holder.incarnation, expired, above);
    if (!acquired) return { acquired, record: this.#record(name, row) };
    this.#replaced.seen(row.token, leaseMs);
    // The file was replaced during the call. The row in the new file keeps this holder, which acquires it again later.
    if (this.#replaced.quietForMs(this.clock.now(), leaseMs) > 0) {
      return { acquired: false, record: this.#record(name, row) };
    }
    this.#observed.forget(name);
    return { acquired, token: row.token };
  }

  async renew(lease: Renewal): Promise<RenewResult> {
    const [result] = await this.#renew([lease]);
    return result as RenewResult;
  }

  async renewAll(leases: readonly Renewal[]): Promise<readonly RenewResult[]> {
    assertRenewals(leases);
    return leases.length === 0 ? [] : this.#renew(leases);
  }

  async #renew(leases: readonly Renewal[]): Promise<readonly RenewResult[]> {
    for (const { name, holder } of leases) assertLeaseTexts(name, holder);
    const renewals = leases.map(({ name, token, holder, leaseMs }) => {
      return { name, token, incarnation: holder.incarnation, writer: formatWriter(holder, leaseMs) };
    });
    const results = await this.thread.call('renew', renewals);
    return Array.from(results, ({ renewed, name, row }, index) => {
      const record = this.#record(name, row);
      // A lease that is renewed in this time was acquired before the file was replaced.
      const lost = this.#replaced.quietForMs(this.clock.now(), leases[index]?.leaseMs ?? 0) > 0;
      return renewed && !lost ? { renewed } : { renewed: false, record };
    });
  }

  async release({ name, holder, token }: HeldLease): Promise<boolean> {
    assertLeaseTexts(name, holder);
    this.#observed.forget(name);
    return this.thread.call('release', name, token, holder.incarnation);
  }

  /** Called after the reply, so the current time is not before the end of the read. */
  #record(name: string, { token, renewals, writer }: StoredLease): LeaseRecord {
    const claim = parseWriter(writer);
    const leaseMs = claim?.leaseMs ?? (writer === null ? undefined : FOREIGN_LEASE_MS);
    const now = this.clock.now();
    this.#replaced.seen(token, leaseMs);
    const expiresInMs = this.#observed.observe(name, { marker: { token, renewals }, leaseMs }, now);
    return {
      token,
      expiresInMs: Math.max(expiresInMs, this.#replaced.quietForMs(now, 0)),
      ...(claim && { holder: claim.holder }),
    };
  }
}
