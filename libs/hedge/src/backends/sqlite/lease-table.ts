import type {
  AcquireResult,
  HeldLease,
  LeaseClaim,
  LeaseRecord,
  LeaseTable,
  Renewal,
  RenewResult,
} from '../../backend/lease.js';
import { FOREIGN_LEASE_MS, formatWriter, parseWriter } from '../../backend/names.js';
import { ObservedLeases } from '../../backend/observed-lease.js';
import { assertRenewals } from '../../backend/refusals.js';
import type { Clock } from '../../common/clock.js';
import type { StoredLease } from './protocol.js';
import type { SqliteThread } from './thread.js';

/** Leases in SQLite: decided in the worker's transaction, judged by what this process has observed. */
export class SqliteLeaseTable implements LeaseTable {
  readonly observes = true;
  readonly #observed = new ObservedLeases();

  constructor(
    private readonly thread: SqliteThread,
    private readonly clock: Clock,
  ) {}

  async read(name: string): Promise<LeaseRecord> {
    return this.#record(name, await this.thread.call('readLease', name));
  }

  async acquire({ name, holder, leaseMs }: LeaseClaim): Promise<AcquireResult> {
    const expired = this.#observed.expiredMarker(name, this.clock.now());
    const writer = formatWriter(holder, leaseMs);
    const { acquired, row } = await this.thread.call('acquire', name, writer, holder.incarnation, expired);
    if (!acquired) return { acquired, record: this.#record(name, row) };
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
    const renewals = leases.map(({ name, token, holder, leaseMs }) => {
      return { name, token, incarnation: holder.incarnation, writer: formatWriter(holder, leaseMs) };
    });
    const results = await this.thread.call('renew', renewals);
    return Array.from(results, ({ renewed, name, row }) =>
      renewed ? { renewed } : { renewed, record: this.#record(name, row) },
    );
  }

  release({ name, holder, token }: HeldLease): Promise<boolean> {
    this.#observed.forget(name);
    return this.thread.call('release', name, token, holder.incarnation);
  }

  /** Called when the reply is here, so now is not before the end of the read. */
  #record(name: string, { token, renewals, writer }: StoredLease): LeaseRecord {
    const claim = parseWriter(writer);
    const leaseMs = claim?.leaseMs ?? (writer === null ? undefined : FOREIGN_LEASE_MS);
    const expiresInMs = this.#observed.observe(name, { marker: { token, renewals }, leaseMs }, this.clock.now());
    return { token, expiresInMs, ...(claim && { holder: claim.holder }) };
  }
}
