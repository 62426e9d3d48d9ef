import { backoffMs } from '../../common/backoff.js';
import type { ChangesPage, LogEntry, LogPlace } from '../../database/log-table.js';
import { isReservedKey } from '../../database/row-names.js';

/** Entries in one page. A watch holds at most one page, however slow its reader is. */
export const WATCH_PAGE = 100;

const FIRST_RETRY_MS = 50;
const LONGEST_RETRY_MS = 2_000;

export type WatchInput =
  /** The reader of the watch waits for the next entry. */
  | { readonly type: 'wanted' }
  /** Rows may have been committed. */
  | { readonly type: 'noticed' }
  /** The result of the `read` in flight. */
  | { readonly type: 'page'; readonly page: ChangesPage }
  | { readonly type: 'failed'; readonly random: number }
  /** The time of `retry` has come. */
  | { readonly type: 'retry' };

export type WatchEffect =
  /** Read the rows after this place, in a call that begins now, and pass back `page` or `failed`. */
  | { readonly type: 'read'; readonly after: LogPlace }
  /** Give the entry to the reader, which is waiting. */
  | { readonly type: 'deliver'; readonly entry: LogEntry }
  /** Pass back `retry` after so many milliseconds. */
  | { readonly type: 'retry'; readonly afterMs: number }
  /** End the watch: rows that it had not read may be deleted. All rows with this timestamp or a later one are there. */
  | { readonly type: 'compacted'; readonly before: bigint };

/**
 * One watch: delivers the rows of the log in the order of their commits. Pure: `step` accepts an input, and returns
 * effects. The runner (`WatchHub`) performs them and passes the results back.
 *
 * - **Each row is delivered once, in the order of commits (W1).** The log alone decides: each read goes on behind the last
 *   row of the read before, and a row that becomes visible later comes after all rows that were visible before. So it does
 *   not matter which notices are lost, late or doubled, and which pod leads.
 * - A notice that arrives during a read causes another read, because the one in flight may have begun before the commit.
 * - The next page is read when the reader has taken all entries of the page before.
 * - When rows behind the place of a read were deleted, the watch ends: it leaves no gap without notice. Each page says which
 *   rows were deleted when it was read, so no clock decides this.
 */
export class WatchReader {
  #entries: LogEntry[] = [];
  #after: LogPlace;
  /** Rows that were not read may be there. At the start this is so. */
  #behind = true;
  #reading = false;
  #waiting = false;
  #pausing = false;
  #failures = 0;

  constructor(after: LogPlace) {
    this.#after = after;
  }

  step(input: WatchInput): readonly WatchEffect[] {
    switch (input.type) {
      case 'wanted':
        this.#waiting = true;
        break;
      case 'noticed':
        this.#behind = true;
        break;
      case 'page': {
        if (this.isCompacted(input.page)) return [{ type: 'compacted', before: input.page.compactedBefore }];
        this.#read(input.page);
        break;
      }
      case 'failed':
        this.#reading = false;
        this.#behind = true;
        this.#pausing = true;
        this.#failures += 1;
        return [{ type: 'retry', afterMs: backoffMs(this.#failures, FIRST_RETRY_MS, LONGEST_RETRY_MS, input.random) }];
      case 'retry':
        this.#pausing = false;
        break;
    }
    return this.#next();
  }

  /** Whether the page of the read in flight ends the watch. */
  isCompacted({ compactedBefore }: ChangesPage): boolean {
    return this.#after.timestamp < compactedBefore;
  }

  #read({ entries, next, more }: ChangesPage): void {
    this.#reading = false;
    this.#failures = 0;
    this.#behind ||= more;
    this.#after = next;
    this.#entries = entries.filter(({ key }) => !isReservedKey(key)).reverse();
  }

  #next(): WatchEffect[] {
    if (!this.#waiting) return [];
    const entry = this.#entries.pop();
    if (entry !== undefined) {
      this.#waiting = false;
      return [{ type: 'deliver', entry }];
    }
    if (!this.#behind || this.#reading || this.#pausing) return [];
    this.#behind = false;
    this.#reading = true;
    return [{ type: 'read', after: this.#after }];
  }
}
