import type { Instant } from '../../common/clock.js';

/** If the wall clock advanced this much more than the monotonic clock, the clock was set or the machine slept. */
const JUMP_MS = 1_000;

/**
 * A monotonic time in milliseconds for deadlines. It follows the monotonic clock and adds the time that the machine slept.
 * So a request does not wait longer in wall-clock time than its caller allowed.
 */
export class Timeline {
  #last: Instant | undefined;
  #skipped = 0;

  advance(now: Instant): number {
    if (this.#last !== undefined) {
      const ahead = now.wall - this.#last.wall - (now.mono - this.#last.mono);
      if (ahead > JUMP_MS) this.#skipped += ahead;
    }
    this.#last = now;
    return now.mono + this.#skipped;
  }
}
