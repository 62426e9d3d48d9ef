import { shortestElapsed, type Instant } from '../common/clock.js';

/**
 * What one process remembers of its leases when the database under it is replaced by another one: empty, or of an
 * earlier time. The new one knows nothing of whoever holds a lease in the old one, and he may believe in it for a
 * whole lease yet. So (L1, L2) for the longest lease that was seen, counted from when this process found out, nothing
 * is taken and nothing is renewed; and a token that is taken then is greater than all that this process has seen.
 *
 * It holds for processes that knew the old database. One that is started within that time knows only the new one.
 *
 * Pure; one instance per process.
 */
export class ReplacedDatabase {
  #at: Instant | undefined;
  #longestLeaseMs = 0;
  #greatestToken = 0n;

  /** Tokens that are given must be greater. */
  get greatestToken(): bigint {
    return this.#greatestToken;
  }

  /** A lease row was read or written, by whomever. */
  seen(token: bigint, leaseMs: number | undefined): void {
    if (token > this.#greatestToken) this.#greatestToken = token;
    if (leaseMs !== undefined && leaseMs > this.#longestLeaseMs) this.#longestLeaseMs = leaseMs;
  }

  /** @param now not before the replacement was found. */
  replaced(now: Instant): void {
    this.#at = now;
  }

  /**
   * @param leaseMs length of the lease in question.
   * @returns milliseconds for which no lease may be taken or renewed, 0 when none.
   */
  quietForMs(now: Instant, leaseMs: number): number {
    if (this.#at === undefined) return 0;
    return Math.max(0, Math.max(leaseMs, this.#longestLeaseMs) - shortestElapsed(this.#at, now));
  }
}
