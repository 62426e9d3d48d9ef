import type { Instant } from '../../common/clock.js';

/** A wall clock that ran this much ahead of the monotonic one since the last look was moved, or the machine slept. */
const JUMP_MS = 1_000;

/**
 * One rising number of milliseconds to set deadlines on. It follows the monotonic clock, and adds what a
 * sleeping machine missed of it: so a request does not wait for a reply longer than its caller's watch says.
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
