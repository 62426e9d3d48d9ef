// @ts-check
import { readFileSync, readlinkSync, statSync } from 'node:fs';

/** @import { LeaseMarker } from '../../observed-lease.js' */

/** As in thread.ts: the same clock for all threads of a process, and on Linux for all processes of a machine. */
export function monotonicMs() {
  return Number(process.hrtime.bigint()) / 1e6;
}

/**
 * Tells how long ago a lease row was written, by the monotonic clock that the processes of a machine share on Linux. The
 * clock begins with each start of the kernel, and a time namespace can shift it, so both are part of its name. So is the
 * write-ahead log: a restored copy of the file, whose rows are older than what their holders rely on, has a new log.
 */
export class RowClock {
  #name;

  /** @param {string} log path of the write-ahead log, which is open */
  constructor(log) {
    this.#name = nameOf(log);
  }

  /**
   * The stamp of a row that is written now with this marker; null where it is unknown whether processes share a clock.
   * @param {LeaseMarker} marker
   */
  stamp(marker) {
    return this.#name === undefined ? null : `${this.#head(marker)}${monotonicMs()}`;
  }

  /**
   * Milliseconds since the row was written. Undefined without a stamp of this clock and this marker: version 0.1 changes
   * rows and leaves the stamp as it is.
   * @param {LeaseMarker} marker of the row
   * @param {string | null} stamp
   */
  age(marker, stamp) {
    const head = this.#head(marker);
    if (this.#name === undefined || stamp?.startsWith(head) !== true) return undefined;
    const ageMs = monotonicMs() - Number(stamp.slice(head.length));
    return ageMs >= 0 ? ageMs : undefined;
  }

  /** @param {LeaseMarker} marker */
  #head({ token, renewals }) {
    return `${this.#name} ${token} ${renewals} `;
  }
}

/** @param {string} log */
function nameOf(log) {
  try {
    const kernel = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    // An inode number is reused, and the time of its creation distinguishes the files.
    const { dev, ino, birthtimeNs } = statSync(log, { bigint: true });
    return birthtimeNs > 0n
      ? `${kernel}/${readlinkSync('/proc/self/ns/time')}/${dev}:${ino}:${birthtimeNs}`
      : undefined;
  } catch {
    return undefined;
  }
}
