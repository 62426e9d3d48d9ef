import { randomUUID } from 'node:crypto';

const LARGEST_COUNTER = 0xfff;
/** Where the 62 random bits of a UUID begin, the variant before them. */
const RANDOM_PART = 19;

/**
 * Row ids: UUIDs of version 7, each greater than the one before, so that ids of one commit sort as they were
 * made, and new rows of an index by id stand together. Two processes never make the same one.
 *
 * The 12 bits after the version count within a millisecond, and while the clock stands still or goes back; when
 * they run out, the ids run ahead of the clock.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9562.html#section-6.2 (method 1)
 */
export class RowIds {
  #ms = 0;
  #counter = 0;
  #prefix = '';

  next(wallMs = Date.now()): string {
    if (wallMs > this.#ms) {
      this.#startAt(wallMs);
    } else {
      this.#counter += 1;
      if (this.#counter > LARGEST_COUNTER) this.#startAt(this.#ms + 1);
    }
    const counter = this.#counter.toString(16).padStart(3, '0');
    return `${this.#prefix}${counter}-${randomUUID().slice(RANDOM_PART)}`;
  }

  #startAt(ms: number): void {
    const time = ms.toString(16).padStart(12, '0');
    this.#ms = ms;
    this.#counter = 0;
    this.#prefix = `${time.slice(0, 8)}-${time.slice(8)}-7`;
  }
}
