// @ts-check

/**
 * @import { LogTransaction } from '../../log-table.js'
 * @import { OperationName, Request } from '../protocol.js'
 */

/** @type {ReadonlySet<OperationName>} */
const SHORT_READS = new Set(['readLease', 'latest', 'lastTimestamp']);
/** @type {ReadonlySet<OperationName>} */
const LONG_READS = new Set(['history', 'keys', 'listLeases', 'changes', 'trimmable']);
/** @type {ReadonlySet<OperationName>} */
const LEASES = new Set(['connect', 'acquire', 'renew', 'release']);

/**
 * The maximum of writes and bytes in one transaction. It must be short, because it blocks all other writers of the file,
 * and a process that freezes in it blocks the whole group.
 */
const MOST_WRITES = 256;
const MOST_BYTES = 1_024 * 1_024;

/**
 * The queues of waiting requests. Leases go before all other writes, in separate transactions, and renewals before other
 * calls for leases. So a renewal waits at most for the running transaction, and never fails with a write that is too large.
 * Other writes have every second turn, so that locks cannot delay them forever.
 */
export class RequestQueues {
  /** @type {Request[]} */
  #shortReads = [];
  /** @type {Request[]} */
  #longReads = [];
  /** @type {Request[]} */
  #leases = [];
  /** @type {Request[]} */
  #writes = [];
  /** Requests that must not share a transaction. */
  #alone = new WeakSet();
  #lastWereLeases = false;

  get empty() {
    return !this.hasReads && this.#leases.length === 0 && this.#writes.length === 0;
  }

  get hasReads() {
    return this.#shortReads.length > 0 || this.#longReads.length > 0;
  }

  /** @param {Request} request */
  add(request) {
    const queue = this.#queueOf(request);
    const first = request.operation === 'renew' ? queue.findIndex(({ operation }) => operation !== 'renew') : -1;
    queue.splice(first < 0 ? queue.length : first, 0, request);
  }

  get hasRenewals() {
    return this.#leases[0]?.operation === 'renew';
  }

  /** The earliest time at which a waiting write fails. */
  get writesGiveUpAt() {
    let earliest = Infinity;
    for (const queue of [this.#leases, this.#writes]) {
      for (const { giveUpAt } of queue) earliest = Math.min(earliest, giveUpAt);
    }
    return earliest;
  }

  takeShortRead() {
    return this.#shortReads.shift();
  }

  takeLongRead() {
    return this.#longReads.shift();
  }

  /**
   * Queues a read again, because the database was busy.
   * @param {Request} request a read
   */
  readLater(request) {
    this.#longReads.push(request);
  }

  /**
   * The requests of the next transaction; empty when none waits. `connect` is alone.
   * @returns {readonly Request[]}
   */
  takeWrites() {
    const leases = this.#leases.length > 0 && !(this.#lastWereLeases && this.#writes.length > 0);
    this.#lastWereLeases = leases;
    const queue = leases ? this.#leases : this.#writes;
    let count = 0;
    let bytes = 0;
    for (const request of queue) {
      bytes += bytesOf(request);
      const single = request.operation === 'connect' || this.#alone.has(request);
      if (count > 0 && (single || count >= MOST_WRITES || bytes > MOST_BYTES)) break;
      count += 1;
      if (single) break;
    }
    return queue.splice(0, count);
  }

  /**
   * Returns requests to the front of their queue, in their order.
   * @param {readonly Request[]} requests
   * @param {boolean} [alone] each in a transaction of its own from now on
   */
  putBack(requests, alone = false) {
    if (alone) for (const request of requests) this.#alone.add(request);
    const [first] = requests;
    if (first !== undefined) this.#queueOf(first).unshift(...requests);
    // The turn does not change.
    this.#lastWereLeases = false;
  }

  takeAll() {
    return [this.#shortReads, this.#longReads, this.#leases, this.#writes].flatMap((queue) => queue.splice(0));
  }

  /** @param {Request} request */
  #queueOf({ operation }) {
    if (SHORT_READS.has(operation)) return this.#shortReads;
    if (LONG_READS.has(operation)) return this.#longReads;
    return LEASES.has(operation) ? this.#leases : this.#writes;
  }
}

/** @param {Request} request */
export function isRead({ operation }) {
  return SHORT_READS.has(operation) || LONG_READS.has(operation);
}

/** @param {Request} request */
function bytesOf({ operation, args }) {
  const [first] = args;
  const rows =
    operation === 'append'
      ? /** @type {{ value: string }[]} */ (first)
      : operation === 'appendIf'
        ? /** @type {LogTransaction[]} */ (first).flat().map(({ append }) => append)
        : [first];
  let bytes = 0;
  for (const row of rows) bytes += /** @type {{ value?: string } | undefined} */ (row)?.value?.length ?? 0;
  return bytes;
}
