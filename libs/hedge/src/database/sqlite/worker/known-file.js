// @ts-check
import { statSync } from 'node:fs';

/**
 * @typedef {readonly [device: bigint, inode: bigint]} FilePlace
 */

const DEVICE = 0;
const INODE = 1;
const ID = 2;
const CLOCK = 3;

/**
 * The identity of the database file, in memory that the threads of one backend share. It outlives connections and
 * threads, so that a file that is opened again is compared with the one before.
 *
 * The inode distinguishes files only while the first is open: later a new file may get its number. So the file also has
 * an id, a random number in a row. And its clock, the last timestamp given, is lower in an earlier copy.
 */
export class KnownFile {
  #cells;

  /** @param {SharedArrayBuffer} [memory] of `KNOWN_FILE_BYTES`, zeroed while no file is known */
  constructor(memory = new SharedArrayBuffer(4 * BigInt64Array.BYTES_PER_ELEMENT)) {
    this.#cells = new BigInt64Array(memory);
  }

  /** The last timestamp that was seen in the file. A later read of the same file is never less. */
  get clock() {
    return Atomics.load(this.#cells, CLOCK);
  }

  /**
   * Compares a file with the known one. The first file becomes the known one.
   * @param {FilePlace} place
   * @param {bigint} id
   * @returns {boolean} whether it is the known file
   */
  is([device, inode], id) {
    return this.#isOrBecomes(DEVICE, device) && this.#isOrBecomes(INODE, inode) && this.#isOrBecomes(ID, id);
  }

  /** @param {bigint} clock a timestamp that is committed */
  sawClock(clock) {
    for (let seen = this.clock; clock > seen; seen = this.clock) {
      Atomics.compareExchange(this.#cells, CLOCK, seen, clock);
    }
  }

  /**
   * @param {number} cell
   * @param {bigint} value
   */
  #isOrBecomes(cell, value) {
    const own = BigInt.asIntN(64, value);
    const known = Atomics.compareExchange(this.#cells, cell, 0n, own);
    return known === 0n || known === own;
  }
}

/**
 * @param {string} path
 * @returns {FilePlace | undefined} undefined when the file does not exist
 */
export function placeOf(path) {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stats && [stats.dev, stats.ino];
}

/**
 * @param {FilePlace | undefined} one
 * @param {FilePlace | undefined} other
 */
export function isSamePlace(one, other) {
  return one?.[0] === other?.[0] && one?.[1] === other?.[1];
}
