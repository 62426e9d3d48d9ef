import {
  comparePlaces,
  laterPlace,
  oldVersions,
  placeAt,
  OVERWRITE_ID,
  type ChangesPage,
  type ChangesQuery,
  type LogAppend,
  type LogEntry,
  type LogPlace,
  type LogTrim,
  type TransactionOutcome,
  type TrimmablePage,
  type TrimmableQuery,
} from '../../libs/hedge/src/database/log-table.js';
import { outcomeOf } from '../../libs/hedge/src/database/checks.js';
import type { PutItem } from '../../libs/hedge/src/kv/group-commit.messages.js';
import type { WatchScope } from '../../libs/hedge/src/kv/watch/watch-notices.core.js';
import type { AcquireConditions } from '../../libs/hedge/src/database/lease-observer.js';
import type { LeaseMarker } from '../../libs/hedge/src/database/observed-lease.js';
import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import type { UnreachableReport } from '../../libs/hedge/src/membership/membership.core.js';
import type { HandOver } from '../../libs/hedge/src/membership/hand-overs.js';
import type { StampedReport } from '../../libs/hedge/src/membership/report-turns.js';
import { LockWait, type SimulatedTransaction } from './transactions.js';
import type { World } from './world.js';

/** The name of the lease of the election; other leases are locks. */
export const ELECTION = 'election';

/**
 * The kinds of databases:
 * - `shared-clock` detects expired leases by its own clock, as Spanner. It never goes back under its name.
 * - `file` leaves that to contenders, as SQLite. It can be replaced by an empty one, and its driver detects that.
 * - `server` leaves it to contenders, too, as PostgreSQL. It can lose its last commits.
 *
 * The clocks of the last two may go back.
 */
export type DatabaseKind = 'shared-clock' | 'file' | 'server';

export interface LeaseClaim {
  readonly holder: MemberId;
  readonly leaseMs: number;
  /** When the row was written, by the monotonic clock of the machine of its holder. */
  readonly writtenAt?: number;
}

export interface LeaseRow extends LeaseMarker {
  readonly claim?: LeaseClaim;
  /** When it was last acquired or renewed, by the database's clock. */
  readonly heartbeat: number;
}

/** As `lock_timeout` of the calls for leases in PostgreSQL. */
const LEASE_LOCK_MS = 100;

/** The commits that a database has lost. */
export interface LostCommits {
  /** Each lease row before the loss. */
  readonly leases: ReadonlyMap<string, LeaseRow>;
  /** Of the log, newest first. */
  readonly entries: readonly LogEntry[];
}

/** Receives the commits for the invariants. */
export interface DatabaseObserver {
  /** @param knew the highest marker of that lease that its process knew when it asked. */
  acquired(name: string, row: LeaseRow, knew: LeaseMarker): void;
  renewed(name: string, row: LeaseRow): void;
  written(entry: LogEntry): void;
  /** Versions of one key were deleted, the oldest first. */
  trimmed(entries: readonly LogEntry[]): void;
  /** The database has lost the commit that deleted these. */
  restored(entries: readonly LogEntry[]): void;
  replaced(): void;
  wentBack(lost: LostCommits): void;
}

const NO_ROW: LeaseRow = { token: 0n, renewals: 0n, heartbeat: 0 };

/** The tables, in which each call takes effect at one instant. */
export class SimulatedDatabase {
  readonly #leases = new Map<string, LeaseRow>();
  readonly #log = new Map<string, readonly LogEntry[]>();
  /** By prefix, as the rows of `compactedKey`. */
  readonly #compacted = new Map<string, bigint>();
  #lastTimestamp = 0n;
  #clockOffset = 0;
  #report: StampedReport | undefined;
  #handOver: HandOver | undefined;
  #replacedAt: number | undefined;
  #generation = 0;
  /** The leases whose token a transaction of a user keeps until it ends. */
  readonly #fences = new Map<SimulatedTransaction, string>();
  /** The rows that open transactions of users have added to the log. */
  readonly #added = new Map<SimulatedTransaction, LogAppend>();
  /** What undoes each commit, in the order of commits. */
  readonly #commits: { readonly at: number; readonly undo: () => void }[] = [];
  #acquiredAt: number[] = [];
  observer: DatabaseObserver | undefined;

  /** @param random for numbers that a database which lost its last commits does not give again. */
  constructor(
    protected readonly world: World,
    readonly kind: DatabaseKind,
    private readonly random: () => number,
  ) {}

  get observes(): boolean {
    return this.kind !== 'shared-clock';
  }

  /** The lease of the election. */
  get lease(): LeaseRow {
    return this.row(ELECTION);
  }

  row(name: string): LeaseRow {
    return this.#leases.get(name) ?? NO_ROW;
  }

  /** The identity of the file: processes with an earlier one detect that with their next call, which has no effect. */
  get generation(): number {
    return this.#generation;
  }

  /** Replaces all leases by none. The log stays, for its loss is a loss and not a fault to be found. */
  replace(): void {
    this.#abortFenced();
    this.#leases.clear();
    this.#generation += 1;
    this.#replacedAt = this.world.now;
    this.observer?.replaced();
  }

  /** Whether the lease of a holder in the replaced database may still be valid. */
  replacedWithin(leaseMs: number): boolean {
    return this.#replacedAt !== undefined && this.world.now - this.#replacedAt < leaseMs;
  }

  /** Loses all commits after that time, also the timestamps that they were given. */
  goBack(time: number): void {
    this.#abortFenced();
    const leases = new Map(this.#leases);
    const entries: LogEntry[] = [];
    this.#undone = entries;
    for (let last = this.#commits.at(-1); last !== undefined && last.at > time; last = this.#commits.at(-1)) {
      last.undo();
      this.#commits.pop();
    }
    this.#undone = undefined;
    this.#acquiredAt = this.#acquiredAt.filter((at) => at <= time);
    this.observer?.wentBack({ leases, entries });
  }

  /** Where `goBack` collects the entries of the log that are lost. */
  #undone: LogEntry[] | undefined;

  /** When the lease of the election was last acquired. */
  get acquiredAt(): number | undefined {
    return this.#acquiredAt.at(-1);
  }

  /** Records how to undo a commit of now. */
  commit(undo: () => void): void {
    this.#commits.push({ at: this.world.now, undo });
  }

  jumpClock(ms: number): void {
    this.#clockOffset += ms;
  }

  get clockHasJumped(): boolean {
    return this.#clockOffset !== 0;
  }

  /** By the database's clock, which counts only for the kind `shared-clock`. */
  expiresInMs(row: LeaseRow): number {
    if (row.claim === undefined) return 0;
    return Math.max(0, row.claim.leaseMs - (this.clock() - row.heartbeat));
  }

  /** @param knew see `DatabaseObserver.acquired`. */
  takeLease(name: string, claim: LeaseClaim, conditions: AcquireConditions, knew: LeaseMarker): boolean {
    // PostgreSQL locks the row before it decides.
    this.awaitFences(name);
    const row = this.row(name);
    if (!this.mayTake(row, claim.holder, conditions)) return false;
    const taken = { token: this.#token(row, conditions), renewals: 0n, claim, heartbeat: this.clock() };
    this.write(name, taken);
    if (name === ELECTION) this.#acquiredAt.push(this.world.now);
    this.observer?.acquired(name, taken, knew);
    return true;
  }

  /** @param renewals as `Renewal.renewals`. */
  renewLease(name: string, claim: LeaseClaim, token: bigint, renewals: bigint): boolean {
    const row = this.row(name);
    if (!isHeldBy(row, claim.holder, token) || row.renewals > renewals) return false;
    const renewed = { token, renewals, claim, heartbeat: this.clock() };
    this.write(name, renewed);
    this.observer?.renewed(name, renewed);
    return true;
  }

  releaseLease(name: string, holder: MemberId, token: bigint): boolean {
    const row = this.row(name);
    if (!isHeldBy(row, holder, token)) return false;
    this.write(name, { token, renewals: row.renewals, heartbeat: row.heartbeat });
    return true;
  }

  /** As `UserTransactions.fence`. */
  fence(name: string, transaction: SimulatedTransaction, token: bigint): boolean {
    if (this.row(name).token !== token) return false;
    this.#fences.set(transaction, name);
    transaction.onEnd(() => this.unfence(transaction));
    return true;
  }

  protected unfence(transaction: SimulatedTransaction): void {
    this.#fences.delete(transaction);
  }

  /** To call before a change of the token. Renewals and releases do not wait, because they leave it as it is. */
  protected awaitFences(name: string): void {
    for (const fenced of this.#fences.values()) if (fenced === name) throw new LockWait(LEASE_LOCK_MS);
  }

  /** Their connections end. */
  #abortFenced(): void {
    for (const transaction of this.#fences.keys()) transaction.abort();
  }

  /** As `UserTransactions.append`: false when the holder was replaced, or the row is there. */
  appendIn(transaction: SimulatedTransaction, row: LogAppend, token: bigint): boolean {
    this.awaitRow(row);
    const added = transaction.fence(() => this.fence(ELECTION, transaction, token) && !this.exists(row));
    if (!added) return false;
    this.#added.set(transaction, row);
    transaction.onEnd(() => this.#added.delete(transaction));
    const timestamp = this.commitTime();
    return transaction.write(() => this.record({ ...row, timestamp }));
  }

  protected exists({ key, id }: LogAppend): boolean {
    return this.versions(key).some((entry) => entry.id === id);
  }

  /** Called by the commit of the transaction. */
  protected record(entry: LogEntry): void {
    this.#write(entry, this.versions(entry.key));
  }

  /** A row waits for the end of an open transaction that has added one with the same key and id. */
  protected awaitRow({ key, id }: Pick<LogAppend, 'key' | 'id'>): void {
    for (const row of this.#added.values()) if (row.key === key && row.id === id) throw new LockWait();
  }

  append(rows: readonly { key: string; id: string; value: string }[], leader: string): (LogEntry | HedgeError)[] {
    for (const row of rows) this.awaitRow(row);
    let commit: bigint | undefined;
    return rows.map(({ key, id, value }) => {
      const versions = this.versions(key);
      const stored = versions.find((entry) => entry.id === id);
      if (stored !== undefined) return stored.value === value ? stored : new HedgeError('CONFLICT', 'another value');
      commit ??= this.commitTime();
      return this.#write({ key, id, value, leader, timestamp: commit }, versions);
    });
  }

  /** As `LogTable.appendIf`. */
  appendIf(transactions: readonly (readonly PutItem[])[], leader: string): TransactionOutcome[] {
    let commit: bigint | undefined;
    return transactions.map((items) => {
      const outcome = outcomeOf(
        items.map(({ append, ...item }) => ({ ...item, append: append && { ...append, leader } })),
        (key, id) => this.ownRow(this.versions(key), id),
        (key) => this.newestFor(items, key),
      );
      if (outcome !== undefined) return outcome;
      const timestamp = (commit ??= this.commitTime());
      for (const { key, append } of items) {
        if (append !== undefined) this.#write({ key, ...append, leader, timestamp }, this.versions(key));
      }
      return { timestamp };
    });
  }

  /** The row that a condition of these items is compared with. */
  protected newestFor(_items: readonly PutItem[], key: string): LogEntry | undefined {
    return this.versions(key).at(-1);
  }

  /** The row that an earlier attempt has appended. */
  protected ownRow(versions: readonly LogEntry[], id: string): LogEntry | undefined {
    return versions.find((entry) => entry.id === id);
  }

  overwrite({ key, value }: { key: string; value: string }, leader: string): LogEntry {
    const others = this.versions(key).filter(({ id }) => id !== OVERWRITE_ID);
    return this.#write({ key, id: OVERWRITE_ID, value, leader, timestamp: this.commitTime() }, others);
  }

  /** Oldest first. */
  versions(key: string): readonly LogEntry[] {
    return this.#log.get(key) ?? [];
  }

  /** The newest row of each key with a prefix, in the order of keys. */
  newestIn(prefix: string): LogEntry[] {
    const keys = [...this.#log.keys()].filter((key) => key.startsWith(prefix)).sort();
    return keys.flatMap((key) => this.versions(key).slice(-1));
  }

  /** As `LogTable.changes`. */
  changes({ after, limit, ...scope }: ChangesQuery): ChangesPage {
    const later = this.#rowsAfter(after, limit + 1, scope);
    const entries = later.slice(0, limit);
    const more = later.length > limit;
    const next = more ? (entries.at(-1) ?? after) : laterPlace(placeAt(this.#lastTimestamp + 1n), after);
    return { entries, next, more, compactedBefore: this.compactedBefore(scope) };
  }

  /** What `changes` says of deletions. */
  protected compactedBefore({ prefix, exact }: WatchScope): bigint {
    let last = 0n;
    for (const [compacted, before] of this.#compacted) {
      const concerns = prefix.startsWith(compacted) || (!exact && compacted.startsWith(prefix));
      if (concerns && before > last) last = before;
    }
    return last;
  }

  /** As `LogTable.trimmable`. */
  trimmable({ prefix, after = '', limit, ...trim }: TrimmableQuery): TrimmablePage {
    const found = [...this.#log.keys()].filter((key) => key.startsWith(prefix) && key > after).sort();
    const keys = found.slice(0, limit).filter((key) => oldVersions(this.versions(key), trim).length > 0);
    return { keys, next: found.length > limit ? found[limit - 1] : undefined };
  }

  /** As `LogTable.trim`. */
  trim(trim: LogTrim): number {
    const { key, limit, record } = trim;
    const versions = this.versions(key);
    const deleted = this.oldVersions(versions, trim).slice(0, limit);
    const last = deleted.at(-1);
    if (last === undefined) return 0;
    this.#log.set(
      key,
      versions.filter((version) => !deleted.includes(version)),
    );
    const known = record && (this.#compacted.get(record.prefix) ?? 0n);
    if (record !== undefined && last.timestamp >= (known ?? 0n))
      this.#compacted.set(record.prefix, last.timestamp + 1n);
    this.commit(() => {
      this.#log.set(key, versions);
      if (record !== undefined && known !== undefined) this.#compacted.set(record.prefix, known);
      this.observer?.restored(deleted);
    });
    this.observer?.trimmed(deleted);
    return deleted.length;
  }

  /** In the order in which `trim` deletes them. */
  protected oldVersions(versions: readonly LogEntry[], trim: LogTrim): readonly LogEntry[] {
    return oldVersions(versions, trim);
  }

  protected isAfter(row: LogEntry, place: LogPlace): boolean {
    return comparePlaces(row, place) > 0;
  }

  /** The first rows behind that place, in the order of commits. */
  #rowsAfter(place: LogPlace, most: number, { prefix, exact }: WatchScope): LogEntry[] {
    const rows: LogEntry[] = [];
    for (const [key, versions] of this.#log) {
      if (exact ? key !== prefix : !key.startsWith(prefix)) continue;
      const first = firstIndex(versions, (row) => this.isAfter(row, place));
      rows.push(...versions.slice(first, first + most));
    }
    return rows.sort(comparePlaces).slice(0, most);
  }

  /** Of the log. */
  rows(): LogEntry[] {
    return [...this.#log.values()].flat();
  }

  /** As `LogTable.lastTimestamp`. */
  get lastTimestamp(): bigint {
    return this.#lastTimestamp;
  }

  #write(entry: LogEntry, others: readonly LogEntry[]): LogEntry {
    const before = this.#log.get(entry.key) ?? [];
    const place = firstIndex(others, (other) => compareVersions(other, entry) > 0);
    this.#log.set(entry.key, [...others.slice(0, place), entry, ...others.slice(place)]);
    this.commit(() => {
      this.#log.set(entry.key, before);
      this.#undone?.push(entry);
    });
    this.observer?.written(entry);
    return entry;
  }

  /** Overwrites the row in which members report that they cannot reach the leader. */
  report(report: UnreachableReport): void {
    const before = this.#report;
    this.#report = { stamp: String(this.commitTime()), report };
    this.commit(() => (this.#report = before));
  }

  get lastReport(): StampedReport | undefined {
    return this.#report;
  }

  /** Overwrites the row of the last hand-over to a newer version, fenced by its term. False when the fence is lost. */
  handOver(handOver: HandOver): boolean {
    if (this.lease.token !== handOver.epoch) return false;
    const before = this.#handOver;
    this.#handOver = handOver;
    this.commit(() => (this.#handOver = before));
    return true;
  }

  get lastHandOver(): HandOver | undefined {
    return this.#handOver;
  }

  /** The time of a transaction that commits now. */
  commitTime(): bigint {
    const before = this.#lastTimestamp;
    this.#lastTimestamp = this.timestamp(before + 1n);
    this.commit(() => (this.#lastTimestamp = before));
    return this.#lastTimestamp;
  }

  #token({ token }: LeaseRow, { above }: AcquireConditions): bigint {
    if (this.kind === 'server') return this.timestamp((token > above ? token : above) + this.step());
    if (above > this.#lastTimestamp) this.#lastTimestamp = above;
    return this.commitTime();
  }

  /** The increment of a number. */
  protected step(): bigint {
    return this.kind === 'server' ? 1n + BigInt(Math.floor(this.random() * 1_000)) : 1n;
  }

  protected write(name: string, row: LeaseRow): void {
    const before = this.#leases.get(name);
    this.#leases.set(name, row);
    this.commit(() => {
      if (before === undefined) this.#leases.delete(name);
      else this.#leases.set(name, before);
    });
  }

  protected mayTake(row: LeaseRow, holder: MemberId, conditions: AcquireConditions): boolean {
    const { expired, mayInsert, known } = conditions;
    if (this.kind === 'server') {
      if (row.token === 0n) return mayInsert;
      if (row.token < known) return false;
    }
    if (row.claim === undefined) return true;
    // The other kinds order the calls of one process, or cancel those that it gave up.
    if (row.claim.holder.incarnation === holder.incarnation) return this.kind !== 'server' || row.token === known;
    if (this.kind === 'shared-clock') return this.expiresInMs(row) === 0;
    return expired?.token === row.token && expired.renewals === row.renewals;
  }

  protected clock(): number {
    return 1.7e12 + this.world.now + this.#clockOffset;
  }

  /** The time in nanoseconds, of which the clock knows the microseconds. @param least the result is not lower. */
  protected timestamp(least: bigint): bigint {
    const wall = BigInt(Math.floor(this.clock() * 1_000)) * 1_000n;
    return wall > least ? wall : least;
  }
}

function isHeldBy(row: LeaseRow, holder: MemberId, token: bigint): boolean {
  return row.token === token && row.claim?.holder.incarnation === holder.incarnation;
}

/** The index of the first row for which `isBehind` holds, as it does for all rows after it. */
export function firstIndex(rows: readonly LogEntry[], isBehind: (row: LogEntry) => boolean): number {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isBehind(rows[middle]!)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The order of versions: (timestamp, id). */
export function compareVersions(a: { timestamp: bigint; id: string }, b: { timestamp: bigint; id: string }): number {
  if (a.timestamp !== b.timestamp) return a.timestamp < b.timestamp ? -1 : 1;
  return a.id < b.id ? -1 : Number(a.id > b.id);
}

/** Whether the first marker is later than the second one. */
export function isLaterMarker(a: LeaseMarker, b: LeaseMarker): boolean {
  return a.token > b.token || (a.token === b.token && a.renewals > b.renewals);
}
