/** Logs the first lines of a burst and counts the rest, because thousands of requests may fail at once. */
export class BurstLog {
  #since = -Infinity;
  #lines = 0;
  #left = 0;

  /** @param most the maximum number of lines in `windowMs` milliseconds. */
  constructor(
    private readonly most: number,
    private readonly windowMs: number,
  ) {}

  /** @param now monotonic time in milliseconds. */
  warn(logger: { warn(message: string): void }, now: number, message: string): void {
    if (now - this.#since >= this.windowMs) {
      this.#since = now;
      this.#lines = 0;
    }
    this.#lines += 1;
    if (this.#lines > this.most) {
      this.#left += 1;
      return;
    }
    logger.warn(this.#left === 0 ? message : `${message} (${this.#left} lines like this one were left out before)`);
    this.#left = 0;
  }
}
