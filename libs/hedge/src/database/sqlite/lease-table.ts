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
import type { StoredLease } from './protocol.js';
import type { SqliteCalls } from './threads.js';

/** Leases in SQLite. The worker's transaction decides, under the conditions of a `LeaseObserver`. */
export class SqliteLeaseTable implements LeaseTable {
  readonly observes = true;
  readonly #observer = new LeaseObserver();

  constructor(
    private readonly thread: SqliteCalls,
    private readonly clock: Clock,
  ) {}

  /** The file was replaced by another one. */
  replaced(): void {
    this.#observer.replaced(this.clock.now());
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
    return this.#record(name, await this.thread.call('readLease', name), known);
  }

  async acquire({ name, holder, leaseMs }: LeaseClaim): Promise<AcquireResult> {
    assertLeaseTexts(name, holder);
    const conditions = this.#observer.mayAcquire(name, leaseMs, this.clock.now());
    if (conditions === undefined) return { acquired: false, record: await this.read(name) };
    const { expired, above, known } = conditions;
    const writer = formatWriter(holder, leaseMs);
    const { acquired, row } = await this.thread.call('acquire', name, writer, holder.incarnation, expired, above);
    if (acquired && this.#observer.acquired(name, row.token, leaseMs, this.clock.now())) {
      return { acquired, token: row.token };
    }
    return { acquired: false, record: this.#record(name, row, known) };
  }

  async list({ prefix, limit, after }: LeaseQuery): Promise<readonly ListedLease[]> {
    assertTexts({ prefix, after: after ?? '' });
    const rows = await this.thread.call('listLeases', prefix, limit, after);
    // The pods and this process have the clock of one machine.
    const now = this.clock.now().wall;
    return [...rows].flatMap(([name, token, writer, heartbeat]) =>
      toListedLease({ name, token, writer, ageMs: now - Number(heartbeat / 1_000_000n) }),
    );
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
    const renewals = leases.map(({ name, token, holder, leaseMs, renewals }) => {
      return { name, token, incarnation: holder.incarnation, writer: formatWriter(holder, leaseMs), renewals };
    });
    const known = leases.map(({ name }) => this.#observer.known(name));
    const results = await this.thread.call('renew', renewals);
    const now = this.clock.now();
    return leases.map((lease, index) => {
      const { renewed, row } = results[index]!;
      return this.#observer.renewed(lease, renewed, toLeaseRow(row), known[index]!, now);
    });
  }

  async release(lease: HeldLease): Promise<boolean> {
    const { name, holder, token } = lease;
    assertLeaseTexts(name, holder);
    this.#observer.releasing(name);
    const released = await this.thread.call('release', name, token, holder.incarnation);
    if (released) this.#observer.released(lease);
    return released;
  }

  /** Called after the reply, so the current time is not before the end of the read. */
  #record(name: string, row: StoredLease, known: bigint): LeaseRecord {
    return this.#observer.record(name, toLeaseRow(row), known, this.clock.now());
  }
}

function toLeaseRow({ token, renewals, writer, ageMs }: StoredLease): LeaseRow {
  return { ...leaseRow(token, renewals, writer), ageMs };
}
