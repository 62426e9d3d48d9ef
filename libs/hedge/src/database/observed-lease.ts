import { shortestElapsed, type Instant } from '../common/clock.js';

/** Changes with every acquisition (token) and every renewal (counter) of a lease row. */
export interface LeaseMarker {
  readonly token: bigint;
  readonly renewals: bigint;
}

/** A lease row as a contender has read it. */
export interface SeenLease {
  readonly marker: LeaseMarker;
  /** The length of the holder's lease in milliseconds; absent when the row has no holder. */
  readonly leaseMs?: number | undefined;
  /**
   * Milliseconds between the write of the row and its read, if its writer and this process share one monotonic clock;
   * absent if that is unknown.
   */
  readonly ageMs?: number | undefined;
}

/**
 * Detects the expiry of a lease without a shared clock: a lease has surely expired once this process has seen its row
 * unchanged for the whole length of the lease, by its own monotonic clock.
 *
 * Why that is safe (L1): a holder counts its validity from before the call that renewed the lease. That renewal was
 * committed before the end of the first read that showed its marker. So the holder's validity has ended `leaseMs` after
 * the end of that read (`marginMs` covers clocks that run at different rates). The transaction that acquires must compare
 * the marker again, because a renewal may have come in between. A process that has just started has seen nothing and
 * waits a whole lease. A released row is free at once.
 *
 * Processes of one machine may share its monotonic clock. Then the first row that a process sees can show how long ago it
 * was written, and counts from there. The holder counts from before the call that wrote it, by the same clock, so its
 * validity ends earlier. Only the first row: after that, this process has better knowledge, for example an announcement of
 * a renewal that the row does not show.
 *
 * An announcement of the holder, which it sends after its renewal was acknowledged, is as good as a read that ends when
 * the announcement arrives: the marker was committed before that. The holder numbers its renewals, so one marker belongs
 * to one call of the holder, also if the database lost the last commits. Whatever an announcement says, it can only start
 * the wait again: a marker that is not in the row, because it is old, comes from a former holder or was never committed,
 * fails the comparison in the transaction, and the row that this transaction found is then observed for a whole lease. An
 * announcement that arrives late, or that this process reads late because it stalled, counts from when it is read.
 *
 * Pure; one instance per row and process. Reads and announcements that arrive out of order only extend the wait.
 *
 * @example
 * const observed = new ObservedLease();
 * observed.observe({ marker, leaseMs: 3_000 }, clock.now()); // 3000
 * // 3 s later, if nothing was renewed:
 * observed.observe({ marker, leaseMs: 3_000 }, clock.now()); // 0: may be taken over
 */
export class ObservedLease {
  #seen: SeenLease | undefined;
  #since: Instant | undefined;

  /**
   * Records one read of the row.
   * @param readEnd an instant not before the end of the read.
   * @returns milliseconds until the lease may be taken over; 0 when it may now.
   */
  observe(seen: SeenLease, readEnd: Instant): number {
    if (this.#since === undefined || !sameLease(this.#seen, seen)) {
      this.#since = this.#since === undefined ? before(readEnd, seen.ageMs ?? 0) : readEnd;
      this.#seen = seen;
    }
    if (seen.leaseMs === undefined) return 0;
    return Math.max(0, seen.leaseMs - shortestElapsed(this.#since, readEnd));
  }

  /** The row as it was observed last. */
  get seen(): SeenLease | undefined {
    return this.#seen;
  }

  /** The marker under which the lease may be taken over at `now`; undefined when it has not expired. */
  expiredMarker(now: Instant): LeaseMarker | undefined {
    if (this.#seen === undefined || this.#since === undefined) return undefined;
    const leaseMs = this.#seen.leaseMs ?? 0;
    return shortestElapsed(this.#since, now) >= leaseMs ? this.#seen.marker : undefined;
  }
}

/** The number of rows that are always kept, whenever they were last read; a few hundred bytes each. */
const MOST_KEPT = 1_000;
/** More rows are kept for this many milliseconds after their last read, and for two leases at least. */
const KEPT_MS = 60_000;

interface Observation {
  readonly lease: ObservedLease;
  leaseMs: number;
  lookedAt: Instant;
}

/**
 * The observations of a process of many lease rows, by name. Locks may have a name for each order or customer. So only
 * rows that others hold are kept, and of many rows only those that were read lately: a contender reads several times per
 * lease. Removing a row is safe (L1): this process then waits a whole lease again.
 *
 * Pure.
 */
export class ObservedLeases {
  /** In the order of their last read. */
  readonly #observations = new Map<string, Observation>();

  get size(): number {
    return this.#observations.size;
  }

  /** See `ObservedLease.observe`. */
  observe(name: string, seen: SeenLease, readEnd: Instant): number {
    const { leaseMs } = seen;
    if (leaseMs === undefined) {
      this.forget(name);
      return 0;
    }
    const known = this.#observations.get(name);
    const observation = known ?? { lease: new ObservedLease(), leaseMs, lookedAt: readEnd };
    observation.leaseMs = leaseMs;
    observation.lookedAt = readEnd;
    this.#observations.delete(name);
    this.#observations.set(name, observation);
    this.#forgetOld(readEnd);
    return observation.lease.observe(seen, readEnd);
  }

  /**
   * The holder announces that it has committed this marker. It counts only under the token that was read last, whose
   * `leaseMs` is known, and only if it is later.
   * @param receivedAt an instant not before the announcement was received.
   */
  observeRenewal(name: string, marker: LeaseMarker, receivedAt: Instant): void {
    const seen = this.#observations.get(name)?.lease.seen;
    if (seen?.marker.token !== marker.token || marker.renewals <= seen.marker.renewals) return;
    this.observe(name, { ...seen, marker }, receivedAt);
  }

  /** See `ObservedLease.expiredMarker`. */
  expiredMarker(name: string, now: Instant): LeaseMarker | undefined {
    return this.#observations.get(name)?.lease.expiredMarker(now);
  }

  /** Removes a row that this process holds now, or has released. */
  forget(name: string): void {
    this.#observations.delete(name);
  }

  #forgetOld(now: Instant): void {
    for (const [name, { leaseMs, lookedAt }] of this.#observations) {
      if (this.#observations.size <= MOST_KEPT) return;
      if (shortestElapsed(lookedAt, now) < Math.max(KEPT_MS, 2 * leaseMs)) return;
      this.#observations.delete(name);
    }
  }
}

function before({ mono, wall }: Instant, ms: number): Instant {
  return { mono: mono - ms, wall: wall - ms };
}

function sameLease(a: SeenLease | undefined, b: SeenLease): boolean {
  return (
    a !== undefined &&
    a.marker.token === b.marker.token &&
    a.marker.renewals === b.marker.renewals &&
    a.leaseMs === b.leaseMs
  );
}
