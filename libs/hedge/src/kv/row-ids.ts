import { randomUUID } from 'node:crypto';

const LARGEST_COUNTER = 0xfff;
/** Index at which the variant and the 62 random bits of a UUID begin. */
const RANDOM_PART = 19;

/**
 * Row ids: UUIDs of version 7, each greater than the previous one. So the ids of one commit sort in the order of their
 * creation, and new rows are adjacent in an index by id. Two processes never create the same id.
 *
 * The 12 bits after the version are a counter within a millisecond, also while the clock stands still or goes back. When
 * the counter overflows, the ids run ahead of the clock.
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
