import { shortestElapsed, type Instant } from '../common/clock.js';

/**
 * What one process remembers of its leases when the database under it is replaced by another one: empty, or of an
 * earlier time. The new one knows nothing of whoever holds a lease in the old one, and he may believe in it for a
 * whole lease yet. So (L1, L2) for the longest lease that was seen, counted from when this process found out, nothing
 * is taken and nothing is renewed; and a token that is taken then is greater than all that this process has seen.
 *
 * Permits outlive the lease of the leader that granted them, and the new database says nothing of them either: so their
 * time is waited for on top of that before permits are granted again (S1).
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

  /**
   * A leader of the old database may have renewed permits until its lease ran out, and they are valid for their time
   * from then on. A leader with longer leases than this process gives longer permits: two leases (`semaphoreTiming`).
   *
   * @param permitMs how long permits last that this process grants.
   * @returns milliseconds for which permits of the old database may be valid, 0 when none can be.
   */
  permitsValidForMs(now: Instant, permitMs: number): number {
    if (this.#at === undefined) return 0;
    const validMs = this.#longestLeaseMs + Math.max(permitMs, 2 * this.#longestLeaseMs);
    return Math.max(0, validMs - shortestElapsed(this.#at, now));
  }
}
