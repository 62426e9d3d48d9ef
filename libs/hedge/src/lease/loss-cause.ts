import type { Instant } from '../common/clock.js';
import type { Timing } from '../common/timing.js';
import type { LossReason } from './lease-contender.messages.js';
import type { Term } from './lease-contender.core.js';

type CauseTiming = Pick<Timing, 'leaseMs' | 'marginMs' | 'renewDeadlineMs' | 'backendTimeoutMs'>;

/**
 * Why a lease could not be kept, from what this process has seen since its last renewal: whether its event loop stood
 * still, its wall clock jumped, or the database failed. Pure.
 */
export class LossCause {
  /** Monotonic time of the timer that is set. */
  #wakeAt: number | undefined;
  #blockedMs = 0;
  #failure: string | undefined;
  #validSince: Instant | undefined;

  constructor(private readonly timing: CauseTiming) {}

  /** A timer was set. */
  timerSet(ms: number, now: Instant): void {
    this.#wakeAt = now.mono + ms;
  }

  /** To call before each step: how late is the timer? */
  stepped(now: Instant): void {
    if (this.#wakeAt !== undefined) this.#blockedMs = Math.max(this.#blockedMs, now.mono - this.#wakeAt);
  }

  /** A call to the database failed. */
  failed(message: string): void {
    this.#failure = message;
  }

  /** To call after each step. A term that is valid since another instant was taken or renewed in it. */
  holds(term: Term | undefined): void {
    if (term === undefined || term.validSince === this.#validSince) return;
    this.#validSince = term.validSince;
    this.#blockedMs = 0;
    this.#failure = undefined;
  }

  /** What to say of a loss for one of these reasons; undefined for one that needs no cause. */
  describe(reason: LossReason, term: Term | undefined, now: Instant): string | undefined {
    if (term === undefined || (reason !== 'expired' && reason !== 'renew-deadline')) return undefined;
    const { leaseMs, marginMs, renewDeadlineMs, backendTimeoutMs } = this.timing;
    const limitMs = reason === 'expired' ? leaseMs - marginMs : renewDeadlineMs;
    const elapsedMs = now.mono - term.validSince.mono;
    if (elapsedMs < limitMs) {
      const jumpMs = Math.round(now.wall - term.validSince.wall - elapsedMs);
      return `the wall clock went ${jumpMs} ms ahead: it was set, or the machine slept. Keep the clock in step by NTP, which slews it`;
    }
    // Long, and what remains without it would not have been too long.
    if (this.#blockedMs >= limitMs / 4 && elapsedMs - this.#blockedMs < limitMs) {
      return `the event loop was blocked for ${Math.round(this.#blockedMs)} ms, or the process was paused. Look for synchronous work, or set a longer \`timing\``;
    }
    if (this.#failure === undefined) {
      return `the database had not answered for ${Math.round(elapsedMs)} ms. If it is slow rather than down, set a longer \`timing\` (backendTimeoutMs is ${backendTimeoutMs})`;
    }
    return `the last renewal failed: ${this.#failure}`;
  }
}
