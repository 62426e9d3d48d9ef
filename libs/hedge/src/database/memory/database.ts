import type { LeaseQuery, ListedLease } from '../lease-table.js';
import type { LeaseMarker } from '../observed-lease.js';
import {
  comparePlaces,
  isTombstone,
  laterPlace,
  oldVersions,
  OVERWRITE_ID,
  placeAt,
  type ChangesPage,
  type ChangesQuery,
  type Fence,
  type HistoryQuery,
  type KeysQuery,
  type LogAppend,
  type LogEntry,
  type LogTransaction,
  type LogTrim,
  type TransactionOutcome,
  type TrimmablePage,
  type TrimmableQuery,
} from '../log-table.js';
import { COMPACTED, compactedKey, limitOfRowId, permitKey, semaphoreKey, semaphoreRows } from '../row-names.js';
import type { SemaphoreRow, SemaphoreWrite, SemaphoreWriteResult } from '../permit-table.js';
import type { PermitFence } from '../user-transactions.js';
import { conflict, leaseLost, outcomeOf } from '../checks.js';
import { compareText } from '../text.js';
import { systemClock, type Clock } from '../../common/clock.js';
import type { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';

/** A page of changes ends with the value that reaches this, as in the other drivers. */
const CHANGES_CHARACTERS = 2 ** 20;

/** A lease row; `claim` is absent when it has no holder. */
export interface LeaseRow extends LeaseMarker {
  readonly claim?: { readonly holder: MemberId; readonly leaseMs: number };
}

/**
 * The tables of the memory driver. Every method is one transaction, because it is synchronous. The pods of a group share
 * one instance.
 */
export class MemoryDatabase {
  readonly #clock: Clock;
  readonly #leases = new Map<string, LeaseRow>();
  /** When each lease was last acquired or renewed, by the wall clock. */
  readonly #renewedAt = new Map<string, number>();
  /** Versions of each key, sorted by (timestamp, id). */
  readonly #log = new Map<string, LogEntry[]>();
  #lastTimestamp = 0n;

  /** @param clock gives the commit timestamps; tests use a virtual one. */
  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  lease(name: string): LeaseRow {
    return this.#leases.get(name) ?? { token: 0n, renewals: 0n };
  }

  /** Writes the lease row with a new token if `mayTake` accepts the current row. */
  takeLease(
    name: string,
    claim: { holder: MemberId; leaseMs: number },
    mayTake: (row: LeaseRow) => boolean,
  ): { taken: boolean; row: LeaseRow } {
    const row = this.lease(name);
    if (!mayTake(row)) return { taken: false, row };
    const next: LeaseRow = { token: this.#nextTimestamp(), renewals: 0n, claim };
    this.#leases.set(name, next);
    this.#renewedAt.set(name, this.#clock.now().wall);
    return { taken: true, row: next };
  }

  /** Changes the lease row if that token and incarnation hold it, and no later renewal has. The token stays. */
  changeLease(
    name: string,
    own: { token: bigint; holder: MemberId; renewals?: bigint | undefined },
    change: (row: LeaseRow) => Omit<LeaseRow, 'token'>,
  ): { changed: boolean; row: LeaseRow } {
    const row = this.lease(name);
    const held = row.token === own.token && row.claim?.holder.incarnation === own.holder.incarnation;
    if (!held || row.renewals > (own.renewals ?? row.renewals)) return { changed: false, row };
    const next = { ...change(row), token: row.token };
    this.#leases.set(name, next);
    this.#renewedAt.set(name, this.#clock.now().wall);
    return { changed: true, row: next };
  }

  listLeases({ prefix, limit, after }: LeaseQuery): ListedLease[] {
    const now = this.#clock.now().wall;
    return [...this.#leases]
      .flatMap(([name, { token, claim }]) =>
        claim === undefined ? [] : [{ name, token, ...claim, ageMs: now - (this.#renewedAt.get(name) ?? now) }],
      )
      .filter(({ name }) => name.startsWith(prefix) && (after === undefined || compareText(name, after) > 0))
      .sort((a, b) => compareText(a.name, b.name))
      .slice(0, limit);
  }

  find(key: string, id: string): LogEntry | undefined {
    return this.#log.get(key)?.find((row) => row.id === id);
  }

  append(rows: readonly LogAppend[], fence: Fence | undefined): (LogEntry | HedgeError)[] {
    this.#checkFence(fence);
    let commit: bigint | undefined;
    return rows.map((row) => {
      const stored = this.find(row.key, row.id);
      if (stored !== undefined) return stored.value === row.value ? stored : conflict(row);
      commit ??= this.#nextTimestamp();
      const entry = { ...row, timestamp: commit };
      this.#insert(entry);
      return entry;
    });
  }

  appendIf(transactions: readonly LogTransaction[], fence: Fence | undefined): TransactionOutcome[] {
    this.#checkFence(fence);
    let commit: bigint | undefined;
    return transactions.map((transaction) => {
      const newest = (key: string): LogEntry | undefined => this.#log.get(key)?.at(-1);
      const outcome = outcomeOf(transaction, (key, id) => this.find(key, id), newest);
      if (outcome !== undefined) return outcome;
      const timestamp = (commit ??= this.#nextTimestamp());
      for (const { key, append } of transaction) if (append !== undefined) this.#insert({ key, ...append, timestamp });
      return { timestamp };
    });
  }

  overwrite(row: Omit<LogAppend, 'id'>, fence: Fence | undefined): LogEntry {
    this.#checkFence(fence);
    const entry = { ...row, id: OVERWRITE_ID, timestamp: this.#nextTimestamp() };
    this.#delete(row.key, OVERWRITE_ID);
    this.#insert(entry);
    return entry;
  }

  semaphore(name: string): SemaphoreRow | undefined {
    const [row] = this.history(semaphoreKey(name), { limit: 1, order: 'newest-first' });
    return row && { limit: limitOfRowId(row.id), value: row.value, timestamp: row.timestamp };
  }

  writeSemaphore(write: SemaphoreWrite, fence: Fence): SemaphoreWriteResult {
    this.#checkFence(fence);
    const found = this.semaphore(write.name);
    if ((found?.timestamp ?? 0n) !== write.follows) return { written: false, row: found };
    const { row, mirrors } = semaphoreRows(write);
    const timestamp = this.#nextTimestamp();
    this.#log.delete(row.key);
    this.#insert({ ...row, timestamp });
    for (const { key, value } of mirrors) {
      this.#delete(key, row.key);
      if (value !== undefined) this.#insert({ key, id: row.key, value, leader: row.leader, timestamp });
    }
    return { written: true, timestamp };
  }

  holdsPermit({ semaphore, id, token }: PermitFence): boolean {
    return this.find(permitKey(id), semaphoreKey(semaphore))?.timestamp === token;
  }

  history(key: string, { limit, order, before, after }: HistoryQuery): LogEntry[] {
    const versions = (this.#log.get(key) ?? []).filter(
      ({ timestamp }) => (before === undefined || timestamp < before) && (after === undefined || timestamp > after),
    );
    return (order === 'oldest-first' ? versions : versions.reverse()).slice(0, limit);
  }

  keys({ prefix, limit, after }: KeysQuery): string[] {
    return [...this.#log.entries()]
      .filter(([, versions]) => !versions.slice(-1).some(isTombstone))
      .map(([key]) => key)
      .filter((key) => key.startsWith(prefix) && (after === undefined || compareText(key, after) > 0))
      .sort(compareText)
      .slice(0, limit);
  }

  changes({ prefix, exact, after, limit }: ChangesQuery): ChangesPage {
    const later = [...this.#log]
      .filter(([key]) => (exact ? key === prefix : key.startsWith(prefix)))
      .flatMap(([, versions]) => versions.filter((entry) => comparePlaces(entry, after) > 0));
    let characters = 0;
    const entries: LogEntry[] = [];
    for (const entry of later.sort(comparePlaces)) {
      if (entries.length === limit || characters >= CHANGES_CHARACTERS) break;
      entries.push(entry);
      characters += entry.value.length;
    }
    const more = later.length > entries.length;
    const next = more ? (entries.at(-1) ?? after) : laterPlace(placeAt(this.#lastTimestamp + 1n), after);
    return { entries, next, more, compactedBefore: this.#compactedBefore(prefix, exact) };
  }

  #compactedBefore(prefix: string, exact: boolean): bigint {
    let last = 0n;
    for (const [key, [row]] of this.#log) {
      if (!key.startsWith(COMPACTED) || row === undefined || row.timestamp < last) continue;
      const compacted = key.slice(COMPACTED.length);
      if (prefix.startsWith(compacted) || (!exact && compacted.startsWith(prefix))) last = row.timestamp;
    }
    return last;
  }

  get lastTimestamp(): bigint {
    return this.#lastTimestamp;
  }

  trim(trim: LogTrim, fence: Fence | undefined): number {
    this.#checkFence(fence);
    const { key, limit, record } = trim;
    const versions = this.#log.get(key) ?? [];
    const deleted = oldVersions(versions, trim).slice(0, limit);
    versions.splice(0, deleted.length);
    if (versions.length === 0) this.#log.delete(key);
    const last = deleted.at(-1);
    if (record !== undefined && last !== undefined) this.#recordTrim(record, last.timestamp + 1n);
    return deleted.length;
  }

  #recordTrim({ prefix, leader }: NonNullable<LogTrim['record']>, timestamp: bigint): void {
    const key = compactedKey(prefix);
    const known = this.find(key, OVERWRITE_ID);
    if (known !== undefined && known.timestamp >= timestamp) return;
    this.#log.set(key, [{ key, id: OVERWRITE_ID, value: String(timestamp), leader, timestamp }]);
  }

  trimmable({ prefix, after, limit, ...trim }: TrimmableQuery): TrimmablePage {
    const found = [...this.#log.keys()]
      .filter((key) => key.startsWith(prefix) && (after === undefined || compareText(key, after) > 0))
      .sort(compareText);
    const keys = found.slice(0, limit).filter((key) => oldVersions(this.#log.get(key) ?? [], trim).length > 0);
    return { keys, next: found.length > limit ? found[limit - 1] : undefined };
  }

  #insert(entry: LogEntry): void {
    const versions = this.#log.get(entry.key);
    if (versions === undefined) return void this.#log.set(entry.key, [entry]);
    // Nearly always the last place: only rows of the same commit may have a greater id.
    let place = versions.length;
    for (let before = versions[place - 1]; before !== undefined && byVersion(before, entry) > 0;) {
      place -= 1;
      before = versions[place - 1];
    }
    versions.splice(place, 0, entry);
  }

  #delete(key: string, deleted: string): void {
    const others = (this.#log.get(key) ?? []).filter(({ id }) => id !== deleted);
    if (others.length > 0) this.#log.set(key, others);
    else this.#log.delete(key);
  }

  #checkFence(fence: Fence | undefined): void {
    if (fence === undefined) return;
    const { token } = this.lease(fence.lease);
    if (token !== fence.token) throw leaseLost(fence, token);
  }

  #nextTimestamp(): bigint {
    const wall = BigInt(Math.floor(this.#clock.now().wall)) * 1_000_000n;
    this.#lastTimestamp = wall > this.#lastTimestamp ? wall : this.#lastTimestamp + 1n;
    return this.#lastTimestamp;
  }
}

function byVersion(a: LogEntry, b: LogEntry): number {
  if (a.timestamp !== b.timestamp) return a.timestamp < b.timestamp ? -1 : 1;
  return compareText(a.id, b.id);
}
