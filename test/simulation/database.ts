import { OVERWRITE_ID, type LogEntry } from '../../libs/hedge/src/database/log-table.js';
import type { AcquireResult, LeaseRecord, RenewResult } from '../../libs/hedge/src/database/lease-table.js';
import { ObservedLeases, type LeaseMarker } from '../../libs/hedge/src/database/observed-lease.js';
import { ReplacedDatabase } from '../../libs/hedge/src/database/replaced-database.js';
import type { Instant } from '../../libs/hedge/src/common/clock.js';
import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import type { UnreachableReport } from '../../libs/hedge/src/membership/membership.core.js';
import type { StampedReport } from '../../libs/hedge/src/membership/report-turns.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { LockWait, type SimulatedTransaction } from './transactions.js';
import type { World } from './world.js';

export interface LeaseRow extends LeaseMarker {
  readonly claim?: { readonly holder: MemberId; readonly leaseMs: number };
  /** When it was last acquired or renewed, by the database's clock. */
  readonly heartbeat: number;
}

/** As `lock_timeout` of the calls for leases in PostgreSQL. */
const LEASE_LOCK_MS = 100;

/** Receives the commits for the invariants. */
export interface DatabaseObserver {
  acquired(row: LeaseRow): void;
  written(entry: LogEntry): void;
  leaseLost(): void;
}

/**
 * The tables, in which each call takes effect at one instant. Two kinds: `shared-clock` detects expired leases
 * by its own clock, as Spanner does; `observing` leaves that to contenders, as SQLite does, and its clock
 * may go back.
 */
export class SimulatedDatabase {
  protected row: LeaseRow = { token: 0n, renewals: 0n, heartbeat: 0 };
  readonly #log = new Map<string, LogEntry[]>();
  #lastTimestamp = 0n;
  #clockOffset = 0;
  #report: StampedReport | undefined;
  #replacedAt: number | undefined;
  #generation = 0;
  /** Transactions of users that keep the token until they end. */
  readonly #fences = new Set<SimulatedTransaction>();
  observer: DatabaseObserver | undefined;
  /** A process that detects a replaced database acquires nothing for a lease. */
  protected readonly waitsAfterReplacement: boolean = true;

  constructor(
    protected readonly world: World,
    readonly kind: 'shared-clock' | 'observing',
  ) {}

  get lease(): LeaseRow {
    return this.row;
  }

  /** The identity of the file: processes with an earlier one detect that with their next call, which has no effect. */
  get generation(): number {
    return this.#generation;
  }

  /**
   * Replaces the lease row by one that was never held. The log stays, for its
   * loss is a loss and not a fault to be found.
   */
  loseLease(): void {
    for (const transaction of this.#fences) transaction.abort();
    this.row = { token: 0n, renewals: 0n, heartbeat: 0 };
    this.#generation += 1;
    this.#replacedAt = this.world.now;
    this.observer?.leaseLost();
  }

  /** Whether the lease of a holder in the replaced database may still be valid. */
  replacedWithin(leaseMs: number): boolean {
    return this.#replacedAt !== undefined && this.world.now - this.#replacedAt < leaseMs;
  }

  /** The time of `ReplacedDatabase`, unless the planted driver ignores it. */
  quietForMs(replaced: ReplacedDatabase, now: Instant, leaseMs: number): number {
    return this.waitsAfterReplacement ? replaced.quietForMs(now, leaseMs) : 0;
  }

  jumpClock(ms: number): void {
    this.#clockOffset += ms;
  }

  /** By the database's clock, which counts only for the kind `shared-clock`. */
  expiresInMs(row: LeaseRow): number {
    if (row.claim === undefined) return 0;
    return Math.max(0, row.claim.leaseMs - (this.clock() - row.heartbeat));
  }

  takeLease(claim: { holder: MemberId; leaseMs: number }, expired: LeaseMarker | undefined): boolean {
    // PostgreSQL locks the row before it decides.
    this.awaitFences();
    if (!this.mayTake(claim.holder, expired)) return false;
    this.row = { token: this.timestamp(), renewals: 0n, claim, heartbeat: this.clock() };
    this.observer?.acquired(this.row);
    return true;
  }

  /** @param renewals as `Renewal.renewals`. */
  renewLease(claim: { holder: MemberId; leaseMs: number }, token: bigint, renewals: bigint): boolean {
    if (!this.isHeldBy(claim.holder, token) || this.row.renewals > renewals) return false;
    this.row = { token, renewals, claim, heartbeat: this.clock() };
    return true;
  }

  releaseLease(holder: MemberId, token: bigint): boolean {
    if (!this.isHeldBy(holder, token)) return false;
    this.row = { token, renewals: this.row.renewals, heartbeat: this.row.heartbeat };
    return true;
  }

  /** As `UserTransactions.fence`. */
  fence(transaction: SimulatedTransaction, token: bigint): boolean {
    if (this.row.token !== token) return false;
    this.#fences.add(transaction);
    transaction.onEnd(() => this.unfence(transaction));
    return true;
  }

  protected unfence(transaction: SimulatedTransaction): void {
    this.#fences.delete(transaction);
  }

  /** To call before a change of the token. Renewals and releases do not wait, because they leave it as it is. */
  protected awaitFences(): void {
    if (this.#fences.size > 0) throw new LockWait(LEASE_LOCK_MS);
  }

  append(rows: readonly { key: string; id: string; value: string }[], leader: string): (LogEntry | HedgeError)[] {
    let commit: bigint | undefined;
    return rows.map(({ key, id, value }) => {
      const versions = this.versions(key);
      const stored = versions.find((entry) => entry.id === id);
      if (stored !== undefined) return stored.value === value ? stored : new HedgeError('CONFLICT', 'another value');
      commit ??= this.timestamp();
      return this.#write({ key, id, value, leader, timestamp: commit }, versions);
    });
  }

  overwrite({ key, value }: { key: string; value: string }, leader: string): LogEntry {
    const others = this.versions(key).filter(({ id }) => id !== OVERWRITE_ID);
    return this.#write({ key, id: OVERWRITE_ID, value, leader, timestamp: this.timestamp() }, others);
  }

  /** Oldest first. */
  versions(key: string): readonly LogEntry[] {
    return this.#log.get(key) ?? [];
  }

  #write(entry: LogEntry, others: readonly LogEntry[]): LogEntry {
    this.#log.set(entry.key, [...others, entry].sort(compareVersions));
    this.observer?.written(entry);
    return entry;
  }

  /** Overwrites the row in which members report that they cannot reach the leader. */
  report(report: UnreachableReport): void {
    this.#report = { stamp: String(this.timestamp()), report };
  }

  get lastReport(): StampedReport | undefined {
    return this.#report;
  }

  /** The time of a transaction that commits now. */
  commitTime(): bigint {
    return this.timestamp();
  }

  protected mayTake(holder: MemberId, expired: LeaseMarker | undefined): boolean {
    const { row } = this;
    if (row.claim === undefined || row.claim.holder.incarnation === holder.incarnation) return true;
    if (this.kind === 'shared-clock') return this.expiresInMs(row) === 0;
    return expired?.token === row.token && expired.renewals === row.renewals;
  }

  protected isHeldBy(holder: MemberId, token: bigint): boolean {
    return this.row.token === token && this.row.claim?.holder.incarnation === holder.incarnation;
  }

  protected clock(): number {
    return 1.7e12 + this.world.now + this.#clockOffset;
  }

  protected timestamp(): bigint {
    const wall = BigInt(Math.floor(this.clock())) * 1_000_000n;
    this.#lastTimestamp = wall > this.#lastTimestamp ? wall : this.#lastTimestamp + 1n;
    return this.#lastTimestamp;
  }
}

/** The driver of one process for the lease row. */
export class SimulatedLeaseTable {
  readonly #observed = new ObservedLeases();
  readonly #replaced = new ReplacedDatabase();
  #generation: number;

  /**
   * @param permitMs of the group's semaphores. A process that starts while a lease or permits of the database before may be valid knows nothing of
   *   that. It could lead beside the old leader, or grant too much, which is beyond what is promised: here it waits as
   *   those do that knew it.
   */
  constructor(
    private readonly database: SimulatedDatabase,
    protected readonly now: () => Instant,
    private readonly leaseMs: number,
    private readonly permitMs = 0,
  ) {
    this.#generation = database.generation;
    this.#replaced.seen(0n, leaseMs);
    if (database.replacedWithin(leaseMs + Math.max(permitMs, 2 * leaseMs))) this.#replaced.replaced(now());
  }

  /** The effect of a call that starts now: none if the database is replaced before it takes effect. */
  call<Result>(effect: () => Result): () => Result | 'replaced' {
    const generation = this.#generation;
    return () => (generation === this.database.generation ? effect() : 'replaced');
  }

  /** A call was answered with that row. */
  replaced(): void {
    this.#generation = this.database.generation;
    this.#replaced.replaced(this.now());
  }

  /** As `PermitTable.unseenForMs`. */
  get permitsUnseenForMs(): number {
    return this.#replaced.permitsValidForMs(this.now(), this.permitMs);
  }

  /** Nothing is acquired or renewed now. */
  get quiet(): boolean {
    return this.database.quietForMs(this.#replaced, this.now(), this.leaseMs) > 0;
  }

  get observes(): boolean {
    return this.database.kind === 'observing';
  }

  /**
   * As `LeaseTable.observeRenewal`.
   * @param _sentAt by the clocks of the holder, which nobody may compare with its own.
   */
  observeRenewal(marker: LeaseMarker, _sentAt: Instant, receivedAt = this.now()): void {
    if (this.observes) this.#observed.observeRenewal('', marker, receivedAt);
  }

  /** The marker of an expired row at the start of a call, to be compared in its transaction. */
  expiredMarker(): LeaseMarker | undefined {
    return this.#observed.expiredMarker('', this.now());
  }

  /** The record of a transaction, after its reply. */
  record(row: LeaseRow, expiresInMs: number): LeaseRecord {
    const seen = { marker: row, leaseMs: row.claim?.leaseMs };
    const left = this.observes ? this.#observed.observe('', seen, this.now()) : expiresInMs;
    const quiet = this.database.quietForMs(this.#replaced, this.now(), this.leaseMs);
    return { token: row.token, expiresInMs: Math.max(left, quiet), ...(row.claim && { holder: row.claim.holder }) };
  }

  acquireResult(taken: boolean, row: LeaseRow, expiresInMs: number): AcquireResult {
    const record = this.record(row, expiresInMs);
    return taken ? { acquired: true, token: row.token } : { acquired: false, record };
  }

  renewResult(renewed: boolean, row: LeaseRow, expiresInMs: number): RenewResult {
    const record = this.record(row, expiresInMs);
    return renewed && !this.quiet ? { renewed: true } : { renewed: false, record };
  }
}

/** The order of versions: (timestamp, id). */
export function compareVersions(a: { timestamp: bigint; id: string }, b: { timestamp: bigint; id: string }): number {
  if (a.timestamp !== b.timestamp) return a.timestamp < b.timestamp ? -1 : 1;
  return a.id < b.id ? -1 : Number(a.id > b.id);
}
