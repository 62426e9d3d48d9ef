import { shortestElapsed, type Instant } from '../common/clock.js';

/**
 * Keeps leases safe when the database is replaced by another one, which is empty or an earlier copy. The new database
 * does not know the holders of the old one, whose leases may be valid for a whole lease yet. So this process acquires and
 * renews nothing for the longest lease that it has seen, counted from when it detected the replacement (L1, L2). After
 * that, it acquires with a token that is greater than all tokens that it has seen.
 *
 * Permits outlive the lease of the leader that granted them, and the new database does not know them either. So this
 * process waits for their time as well before it grants permits again (S1).
 *
 * This protects processes that knew the old database. A process that starts within that time knows only the new one.
 *
 * Pure; one instance per process.
 */
export class ReplacedDatabase {
  #at: Instant | undefined;
  #longestLeaseMs = 0;
  #greatestToken = 0n;

  /** New tokens must be greater than this. */
  get greatestToken(): bigint {
    return this.#greatestToken;
  }

  /** A lease row was read or written, with any holder. */
  seen(token: bigint, leaseMs: number | undefined): void {
    if (token > this.#greatestToken) this.#greatestToken = token;
    if (leaseMs !== undefined && leaseMs > this.#longestLeaseMs) this.#longestLeaseMs = leaseMs;
  }

  /** @param now not before the replacement was detected. */
  replaced(now: Instant): void {
    this.#at = now;
  }

  /**
   * @param leaseMs the length of the lease to acquire or renew.
   * @param lostAt when a loss of this lease was found, if it was.
   * @returns milliseconds for which the lease may not be acquired or renewed; 0 when it may now.
   */
  quietForMs(now: Instant, leaseMs: number, lostAt: Instant | undefined): number {
    const waitMs = Math.max(leaseMs, this.#longestLeaseMs);
    const remaining = [this.#at, lostAt].map((at) => (at === undefined ? 0 : waitMs - shortestElapsed(at, now)));
    return Math.max(0, ...remaining);
  }

  /**
   * A leader of the old database may have renewed permits until its lease expired, and their time counts from then on. A
   * leader with longer leases than this process grants longer permits: two leases (`semaphoreTiming`).
   *
   * @param permitMs how long the permits of this process last.
   * @returns milliseconds for which permits of the old database may be valid; 0 when none can be.
   */
  permitsValidForMs(now: Instant, permitMs: number): number {
    if (this.#at === undefined) return 0;
    const validMs = this.#longestLeaseMs + Math.max(permitMs, 2 * this.#longestLeaseMs);
    return Math.max(0, validMs - shortestElapsed(this.#at, now));
  }
}
