import type { Logger } from '../../common/line-logger.js';
import type { LogFields } from '../../common/log-events.js';

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
  warn(logger: Pick<Logger, 'warn'>, now: number, message: string, fields: LogFields<'warn'>): void {
    if (now - this.#since >= this.windowMs) {
      this.#since = now;
      this.#lines = 0;
    }
    this.#lines += 1;
    if (this.#lines > this.most) {
      this.#left += 1;
      return;
    }
    const left = this.#left === 0 ? '' : ` (${this.#left} lines like this one were left out before)`;
    logger.warn(message + left, fields);
    this.#left = 0;
  }
}
