import { shortestElapsed, type Instant } from '../common/clock.js';

/** Changes with every acquisition (token) and every renewal (counter) of a lease row. */
export interface LeaseMarker {
  readonly token: bigint;
  readonly renewals: bigint;
}

/** A lease row as a contender saw it. */
export interface SeenLease {
  readonly marker: LeaseMarker;
  /** The holder's lease length in milliseconds; absent when nobody holds the row. */
  readonly leaseMs?: number | undefined;
}

/**
 * Judges another's lease without a shared clock, for databases that have none: a lease is surely expired
 * once its row was seen unchanged for a whole lease length by this process's own monotonic clock.
 *
 * Why that is safe (L1): a holder counts its validity from before the call that renewed it, and that
 * renewal was committed before the read that first showed its marker ended, so `leaseMs` after the end
 * of that read no holder believes any more (clocks that run at different rates are what `marginMs` is
 * for). The deciding transaction must compare the marker again, for a renewal that came in between. A process
 * that has just started has seen nothing and waits a whole lease; a released row is free at once.
 *
 * Pure; one instance per row and process. Reads that arrive out of order only make it wait longer.
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
   * Takes in one read of the row.
   * @param readEnd an instant not before the end of the read.
   * @returns milliseconds until the row may be taken over, 0 when it may now.
   */
  observe(seen: SeenLease, readEnd: Instant): number {
    if (this.#since === undefined || !sameLease(this.#seen, seen)) {
      this.#seen = seen;
      this.#since = readEnd;
    }
    if (seen.leaseMs === undefined) return 0;
    return Math.max(0, seen.leaseMs - shortestElapsed(this.#since, readEnd));
  }

  /** The marker under which the row may be taken over at `now`, as far as this process has seen. */
  expiredMarker(now: Instant): LeaseMarker | undefined {
    if (this.#seen === undefined || this.#since === undefined) return undefined;
    const leaseMs = this.#seen.leaseMs ?? 0;
    return shortestElapsed(this.#since, now) >= leaseMs ? this.#seen.marker : undefined;
  }
}

/** Rows that are remembered however long ago they were looked at; a few hundred bytes each. */
const MOST_KEPT = 1_000;
/** More of them are remembered for so long after the last look, and for two leases at least, in milliseconds. */
const KEPT_MS = 60_000;

interface Observation {
  readonly lease: ObservedLease;
  leaseMs: number;
  lookedAt: Instant;
}

/**
 * What a process has observed of many lease rows, by their names. Locks may have a name for each order or
 * customer, so only rows that others hold are remembered, and of many those that were looked at lately: a contender
 * looks several times in a lease. To forget a row is safe (L1): it only makes this process wait a whole lease again.
 *
 * Pure.
 */
export class ObservedLeases {
  /** In the order of the last look. */
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

  /** See `ObservedLease.expiredMarker`. */
  expiredMarker(name: string, now: Instant): LeaseMarker | undefined {
    return this.#observations.get(name)?.lease.expiredMarker(now);
  }

  /** For a row that this process holds now, or has released. */
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

function sameLease(a: SeenLease | undefined, b: SeenLease): boolean {
  return (
    a !== undefined &&
    a.marker.token === b.marker.token &&
    a.marker.renewals === b.marker.renewals &&
    a.leaseMs === b.leaseMs
  );
}
