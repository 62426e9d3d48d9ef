/**
 * Keeps the callers of one process from passing a lock among themselves for ever while other members wait: once
 * they have had it for a whole lease, the process lets those go first that heard of the release.
 */
export class FairnessBackoff {
  /** Since when this process has had the lock, short gaps between its callers aside. */
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

  /** Monotonic time until which this turn has to be remembered. */
  get keepUntil(): number {
    return this.#since === undefined ? -Infinity : this.#gapEnds;
  }

  /** How long to wait before the next try, in milliseconds. Who hears of a release waits at most `retryMs` / 4. */
  pauseMs(now: number, random: number): number {
    const { leaseMs, retryMs } = this.timing;
    if (this.#since === undefined || now > this.#gapEnds || now - this.#since < leaseMs) return 0;
    this.#since = undefined;
    return (retryMs / 4) * (1 + random);
  }
}
