import type { LeaseTable } from '../backend/lease.js';
import { longestElapsed } from '../common/clock.js';
import type { Clock, Instant } from '../common/clock.js';

/**
 * Notes when the backend last answered the election, which asks it all the time: so readiness is known
 * without a query of its own, however often it is probed.
 */
export class BackendWatch {
  #answeredAt: Instant | undefined;

  /** @param freshMs an answer counts this long. */
  constructor(
    private readonly clock: Clock,
    private readonly freshMs: number,
  ) {}

  /** The same table, watched. */
  watch(table: LeaseTable): LeaseTable {
    const noted = async <Result>(call: Promise<Result>): Promise<Result> => {
      const result = await call;
      this.#answeredAt = this.clock.now();
      return result;
    };
    return {
      observes: table.observes,
      read: (name) => noted(table.read(name)),
      acquire: (claim) => noted(table.acquire(claim)),
      renew: (lease) => noted(table.renew(lease)),
      renewAll: (leases) => noted(table.renewAll(leases)),
      release: (lease) => noted(table.release(lease)),
    };
  }

  get reachable(): boolean {
    return this.#answeredAt !== undefined && longestElapsed(this.#answeredAt, this.clock.now()) < this.freshMs;
  }
}
