/**
 * Keeps the callers of one process from passing a lock among themselves forever while other members wait: once they have
 * held it for a whole lease, the process pauses, so that members that heard of the release can acquire it first.
 */
export class FairnessBackoff {
  /** Since when this process holds the lock, not counting short gaps between its callers. */
  #since: number | undefined;
  #gapEnds = -Infinity;

  constructor(private readonly timing: { readonly leaseMs: number; readonly retryMs: number }) {}

  acquired(now: number): void {
    if (this.#since === undefined || now > this.#gapEnds) this.#since = now;
  }

  released(now: number): void {
    this.#gapEnds = now + this.timing.retryMs;
  }

  lost(): void {
    this.#since = undefined;
  }

  /** Monotonic time until which this state must be kept. */
  get keepUntil(): number {
    return this.#since === undefined ? -Infinity : this.#gapEnds;
  }

  /** The pause before the next attempt, in milliseconds. A member that hears of a release waits at most `retryMs` / 4. */
  pauseMs(now: number, random: number): number {
    const { leaseMs, retryMs } = this.timing;
    if (this.#since === undefined || now > this.#gapEnds || now - this.#since < leaseMs) return 0;
    this.#since = undefined;
    return (retryMs / 4) * (1 + random);
  }
}
