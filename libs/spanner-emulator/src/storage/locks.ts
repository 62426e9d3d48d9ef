import type { KeyRange } from '../common/sorted-map.js';
import { isPoint } from './key-encoding.js';

/** The columns of a row that a lock covers, as bits. */
export type ColumnMask = number;

export const ALL_COLUMNS: ColumnMask = -1;
/** Whether the row exists at all. */
export const EXISTENCE: ColumnMask = 1;
/** Columns share bits from the 31st on: two of them then conflict needlessly, never the reverse. */
export const columnMask = (columns: Iterable<number>): ColumnMask => {
  let mask = 0;
  for (const column of columns) mask |= 1 << (1 + (column % 31));
  return mask;
};

export interface LockRequest {
  readonly space: LockSpace;
  readonly range: KeyRange;
  readonly columns: ColumnMask;
  readonly exclusive: boolean;
}

/** A transaction, as the lock table sees it. */
export interface LockOwner {
  /** Lower is older, and older wins. Unique among the living. */
  readonly age: number;
  /** Whether its locks hold up nobody: whoever wants the same takes them, however young. */
  readonly yields?: boolean;
  /**
   * Whether it lost its locks before, and was begun again: what it reads it is likely to write. Of several such owners
   * only the oldest gets a shared lock on the same cells, and the others wait for it. Else all would read at once, and
   * each write would abort all but one of them.
   */
  readonly queues?: boolean;
  /** Takes the locks from a younger transaction: it must abort and release them. */
  wound(): void;
  /** Since when, in the caller's milliseconds, the owner has had nothing in progress. Undefined while it has. */
  readonly idleSince: number | undefined;
}

interface Held {
  readonly owner: LockOwner;
  readonly range: KeyRange;
  shared: ColumnMask;
  exclusive: ColumnMask;
}

/** A lock, and on what. */
export interface PlacedLock {
  readonly space: LockSpace;
  readonly held: Readonly<Held>;
}

const conflicts = (held: Held, { columns, exclusive }: LockRequest): boolean =>
  ((exclusive ? held.shared | held.exclusive : held.exclusive) & columns) !== 0;

/** Whether the owner lets an older one go first, although both could read at once. */
const queuesBehind = (owner: LockOwner, held: Held, { columns }: LockRequest): boolean =>
  owner.queues === true && held.owner.queues === true && held.owner.age < owner.age && (held.shared & columns) !== 0;

/** Whether two locks could not be held at once by two owners. */
export const exclude = (a: PlacedLock, b: PlacedLock): boolean =>
  a.space === b.space &&
  a.held.range.start < b.held.range.end &&
  b.held.range.start < a.held.range.end &&
  ((a.held.exclusive & (b.held.shared | b.held.exclusive)) | (a.held.shared & b.held.exclusive)) !== 0;

/** The locks on one table's rows, or on one index's entries. Keys are found by hash, ranges by search. */
export class LockSpace {
  private readonly points = new Map<string, Held[]>();
  private readonly ranges: Held[] = [];

  *overlapping(range: KeyRange): Generator<Held> {
    for (const held of this.ranges) {
      if (held.range.start < range.end && range.start < held.range.end) yield held;
    }
    if (isPoint(range)) {
      yield* this.points.get(range.start) ?? [];
      return;
    }
    for (const [key, all] of this.points) if (key >= range.start && key < range.end) yield* all;
  }

  /** Adds to what the owner already holds on this very range. Returns the entry if it is new. */
  add(owner: LockOwner, { range, columns, exclusive }: LockRequest): Held | undefined {
    const list = isPoint(range) ? (this.points.get(range.start) ?? []) : this.ranges;
    const own = list.find(
      (held) => held.owner === owner && held.range.start === range.start && held.range.end === range.end,
    );
    const held = own ?? { owner, range, shared: 0, exclusive: 0 };
    if (exclusive) held.exclusive |= columns;
    else held.shared |= columns;
    if (own) return undefined;
    list.push(held);
    if (list !== this.ranges) this.points.set(range.start, list);
    return held;
  }

  remove(held: Held): void {
    const list = isPoint(held.range) ? this.points.get(held.range.start) : this.ranges;
    list?.splice(list.indexOf(held), 1);
    if (list?.length === 0 && list !== this.ranges) this.points.delete(held.range.start);
  }
}

interface Waiter {
  readonly owner: LockOwner;
  readonly requests: readonly LockRequest[];
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * Two-phase locks with wound-wait: who is older takes the locks of the younger, who is younger waits.
 * All waiting goes from younger to older, so there is no deadlock and nobody starves
 * (Rosenkrantz, Stearns, Lewis: System level concurrency control for distributed database systems, 1978).
 */
export class LockTable {
  private readonly held = new Map<LockOwner, PlacedLock[]>();
  private waiters: Waiter[] = [];
  private pumping = false;

  /** @param idleLimitMs after this long without a request an owner loses its locks to whoever waits for them */
  constructor(private readonly idleLimitMs: number) {}

  get contended(): boolean {
    return this.waiters.length > 0;
  }

  /**
   * Takes the locks now and returns undefined, or returns a promise for when they were granted,
   * in which time the data may have changed. Rejects when the owner is released meanwhile.
   */
  acquire(owner: LockOwner, requests: readonly LockRequest[]): Promise<void> | undefined {
    if (this.grant(owner, requests)) return undefined;
    return new Promise((resolve, reject) => {
      this.waiters.push({ owner, requests, resolve, reject });
      this.waiters.sort((a, b) => a.owner.age - b.owner.age);
    });
  }

  /** Drops the owner's locks; its own waiting requests are rejected with `reason`. */
  release(owner: LockOwner, reason: unknown): void {
    for (const { space, held } of this.heldBy(owner)) space.remove(held);
    this.held.delete(owner);
    const own = this.waiters.filter((waiter) => waiter.owner === owner);
    this.waiters = this.waiters.filter((waiter) => waiter.owner !== owner);
    for (const waiter of own) waiter.reject(reason);
    this.pump();
  }

  /** Everything the owner holds. */
  heldBy(owner: LockOwner): readonly PlacedLock[] {
    return this.held.get(owner) ?? [];
  }

  /** Takes the locks of transactions that their clients forgot, where somebody waits for them. */
  expireIdle(now: number): void {
    for (const { owner, requests } of this.waiters) {
      for (const blocker of this.blockers(owner, requests)) {
        if (blocker.idleSince !== undefined && now - blocker.idleSince >= this.idleLimitMs) blocker.wound();
      }
    }
  }

  private blockers(owner: LockOwner, requests: readonly LockRequest[]): Set<LockOwner> {
    const found = new Set<LockOwner>();
    for (const request of requests) {
      for (const held of request.space.overlapping(request.range)) {
        if (held.owner === owner) continue;
        if (conflicts(held, request) || queuesBehind(owner, held, request)) found.add(held.owner);
      }
    }
    return found;
  }

  private grant(owner: LockOwner, requests: readonly LockRequest[]): boolean {
    const blockers = this.blockers(owner, requests);
    let free = true;
    for (const blocker of blockers) {
      if (blocker.age > owner.age || blocker.yields) blocker.wound();
      else free = false;
    }
    if (!free) return false;
    const list = this.held.get(owner) ?? [];
    for (const request of requests) {
      const held = request.space.add(owner, request);
      if (held) list.push({ space: request.space, held });
    }
    this.held.set(owner, list);
    return true;
  }

  /** Looks at the waiters again, oldest first, once the current release is through. */
  private pump(): void {
    if (this.pumping || this.waiters.length === 0) return;
    this.pumping = true;
    queueMicrotask(() => {
      this.pumping = false;
      for (const waiter of Array.from(this.waiters)) {
        // A grant wounds, and so removes waiters that are still to come.
        if (!this.waiters.includes(waiter) || !this.grant(waiter.owner, waiter.requests)) continue;
        this.waiters.splice(this.waiters.indexOf(waiter), 1);
        waiter.resolve();
      }
    });
  }
}
