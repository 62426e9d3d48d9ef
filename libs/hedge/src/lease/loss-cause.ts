import type { Instant } from '../common/clock.js';
import type { Timing } from '../common/timing.js';
import type { LossReason } from './lease-contender.messages.js';
import type { Term } from './lease-contender.core.js';

/** Whether the term ended because no renewal was acknowledged in time. */
export function isExpiry(reason: LossReason): boolean {
  return reason === 'expired' || reason === 'renew-deadline';
}

type CauseTiming = Pick<Timing, 'leaseMs' | 'marginMs' | 'renewDeadlineMs' | 'backendTimeoutMs'>;

/**
 * Finds the cause of a lost lease in the events since the last renewal: a blocked event loop, a jump of the wall clock,
 * or a failed database call. Pure.
 */
export class LossCause {
  /** Monotonic time at which the current timer is due. */
  #wakeAt: number | undefined;
  #blockedMs = 0;
  #failure: string | undefined;
  #validSince: Instant | undefined;

  constructor(private readonly timing: CauseTiming) {}

  /** A timer was set. */
  timerSet(ms: number, now: Instant): void {
    this.#wakeAt = now.mono + ms;
  }

  /** To call before each step: measures how late the timer is. */
  stepped(now: Instant): void {
    if (this.#wakeAt !== undefined) this.#blockedMs = Math.max(this.#blockedMs, now.mono - this.#wakeAt);
  }

  /** A call to the database failed. */
  failed(message: string): void {
    this.#failure = message;
  }

  /** To call after each step. A changed `validSince` means that the step acquired or renewed the lease. */
  holds(term: Term | undefined): void {
    if (term === undefined || term.validSince === this.#validSince) return;
    this.#validSince = term.validSince;
    this.#blockedMs = 0;
    this.#failure = undefined;
  }

  /** The cause of a loss, as text; undefined for reasons that explain themselves. */
  describe(reason: LossReason, term: Term | undefined, now: Instant): string | undefined {
    if (term === undefined || !isExpiry(reason)) return undefined;
    const { leaseMs, marginMs, renewDeadlineMs, backendTimeoutMs } = this.timing;
    const limitMs = reason === 'expired' ? leaseMs - marginMs : renewDeadlineMs;
    const elapsedMs = now.mono - term.validSince.mono;
    if (elapsedMs < limitMs) {
      const jumpMs = Math.round(now.wall - term.validSince.wall - elapsedMs);
      return `the wall clock jumped ${jumpMs} ms ahead: it was set, or the machine slept. Synchronize the clock by NTP, which slews it`;
    }
    // The block was long, and without it the lease would still be valid.
    if (this.#blockedMs >= limitMs / 4 && elapsedMs - this.#blockedMs < limitMs) {
      return `the event loop was blocked for ${Math.round(this.#blockedMs)} ms, or the process was paused. Look for synchronous work, or set a longer \`timing\``;
    }
    if (this.#failure === undefined) {
      return `the database did not answer for ${Math.round(elapsedMs)} ms. If it is slow rather than down, set a longer \`timing\` (backendTimeoutMs is ${backendTimeoutMs})`;
    }
    return `the last renewal failed: ${this.#failure}`;
  }
}
