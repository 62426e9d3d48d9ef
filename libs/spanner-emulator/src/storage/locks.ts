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

/** An owner of locks: a transaction. */
export interface LockOwner {
  /** Lower is older, and older wins. Unique among active owners. */
  readonly age: number;
  /** Whether any other owner, also a younger one, may take its locks. */
  readonly yields?: boolean;
  /**
   * Whether this is the retry of an owner that lost its locks: it will probably write the cells that it reads. Only the
   * oldest of several such owners gets a shared lock on the same cells, and the others wait for it. Otherwise all would
   * read at once, and each write would abort all but one of them.
   */
  readonly queues?: boolean;
  /** Called when an older transaction takes its locks: it must abort and release them. */
  wound(): void;
  /** The begin of its idle time, in milliseconds of the caller. Undefined while a request is in progress. */
  readonly idleSince: number | undefined;
}

interface Held {
  readonly owner: LockOwner;
  readonly range: KeyRange;
  shared: ColumnMask;
  exclusive: ColumnMask;
}

/** A lock and its range. */
export interface PlacedLock {
  readonly space: LockSpace;
  readonly held: Readonly<Held>;
}

const conflicts = (held: Held, { columns, exclusive }: LockRequest): boolean =>
  ((exclusive ? held.shared | held.exclusive : held.exclusive) & columns) !== 0;

/** Whether the owner waits for an older one, although both could read at once. */
const queuesBehind = (owner: LockOwner, held: Held, { columns }: LockRequest): boolean =>
  owner.queues === true && held.owner.queues === true && held.owner.age < owner.age && (held.shared & columns) !== 0;

/** Whether two locks of different owners conflict. */
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

  /** Adds to the lock of the owner on the same range. Returns the entry if it is new. */
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
 * Two-phase locks with wound-wait: an older owner takes the locks of a younger one, and a younger one waits.
 * Only younger owners wait for older ones, so there is no deadlock and no owner starves
 * (Rosenkrantz, Stearns, Lewis: System level concurrency control for distributed database systems, 1978).
 */
export class LockTable {
  private readonly held = new Map<LockOwner, PlacedLock[]>();
  private waiters: Waiter[] = [];
  private pumping = false;

  /** @param idleLimitMs the idle time after which an owner loses its locks to waiting owners */
  constructor(private readonly idleLimitMs: number) {}

  get contended(): boolean {
    return this.waiters.length > 0;
  }

  /**
   * Takes the locks at once and returns undefined, or returns a promise that resolves when they are granted. The data may
   * have changed by then. Rejects when the owner is released meanwhile.
   */
  acquire(owner: LockOwner, requests: readonly LockRequest[]): Promise<void> | undefined {
    if (this.grant(owner, requests)) return undefined;
    return new Promise((resolve, reject) => {
      this.waiters.push({ owner, requests, resolve, reject });
      this.waiters.sort((a, b) => a.owner.age - b.owner.age);
    });
  }

  /** Releases the locks of the owner, and rejects its waiting requests with `reason`. */
  release(owner: LockOwner, reason: unknown): void {
    for (const { space, held } of this.heldBy(owner)) space.remove(held);
    this.held.delete(owner);
    const own = this.waiters.filter((waiter) => waiter.owner === owner);
    this.waiters = this.waiters.filter((waiter) => waiter.owner !== owner);
    for (const waiter of own) waiter.reject(reason);
    this.pump();
  }

  /** All locks of the owner. */
  heldBy(owner: LockOwner): readonly PlacedLock[] {
    return this.held.get(owner) ?? [];
  }

  /** Takes the locks of abandoned transactions for which others wait. */
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

  /** Checks the waiters again, oldest first, after the current release. */
  private pump(): void {
    if (this.pumping || this.waiters.length === 0) return;
    this.pumping = true;
    queueMicrotask(() => {
      this.pumping = false;
      for (const waiter of Array.from(this.waiters)) {
        // A grant can wound other owners, and so remove later waiters.
        if (!this.waiters.includes(waiter) || !this.grant(waiter.owner, waiter.requests)) continue;
        this.waiters.splice(this.waiters.indexOf(waiter), 1);
        waiter.resolve();
      }
    });
  }
}
