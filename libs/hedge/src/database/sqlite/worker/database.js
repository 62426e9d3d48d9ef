// @ts-check
import { Connections } from './connections.js';
import { codeOf, commitOrThrow, isBusy, mustReconnect } from './errors.js';
import { KnownFile } from './known-file.js';
import { mayTake, WRITES, toLease } from './writes.js';

/**
 * @import { ChangesQuery } from '../../log-table.js'
 * @import { ListedRow, Operations, StoredChange, StoredAges, StoredHistoryQuery, StoredPage, StoredVersion, WorkerConfig, Write } from '../protocol.js'
 * @import { Statements } from './connections.js'
 *
 * @typedef {{ readonly value?: unknown, readonly error?: unknown }} Outcome of one write; with an error the write failed
 */

/** A page ends when it reaches either limit, so that other reads run in between, and the receiver never stalls. */
const PAGE_ROWS = 1_000;
const PAGE_BYTES = 256 * 1_024;
/** The first query of a page reads only so many rows, because their size is unknown. */
const FIRST_ROWS = 4;

/** Greater than every id: SQLite sorts blobs behind texts. */
const BEHIND_ALL_IDS = Buffer.from([0]);

/**
 * The tables in one SQLite file. Every method is synchronous. While another process holds a lock, it throws SQLITE_BUSY
 * and changes nothing.
 *
 * @implements {Pick<Operations, 'connect' | 'readLease' | 'listLeases' | 'latest' | 'history' | 'keys' | 'changes' | 'trimmable' | 'lastTimestamp'>}
 */
export class SqliteDatabase {
  /** @type {WorkerConfig} */
  #config;
  #known;
  /** @type {Connections | undefined} */
  #connections;

  /** @param {WorkerConfig} config */
  constructor(config) {
    this.#config = config;
    this.#known = new KnownFile(config.knownFile);
  }

  connect() {
    this.#connected();
  }

  /** Closes the connections; the next operation opens them again. */
  disconnect() {
    const connections = this.#connections;
    this.#connections = undefined;
    connections?.close();
  }

  /** Throws when the path no longer leads to the open file. */
  assertSameFile() {
    this.#connections?.assertSameFile();
  }

  /** @param {string} name */
  readLease(name) {
    const { clock, readLease } = this.#connected().statements;
    return toLease(clock, readLease.get(name));
  }

  /**
   * @param {string} prefix
   * @param {number} limit
   * @param {string | undefined} after
   * @returns {readonly ListedRow[]}
   */
  listLeases(prefix, limit, after) {
    const { listLeasesFrom, listLeasesAfter } = this.#connected().statements;
    const rows =
      after === undefined ? listLeasesFrom.all(prefix, prefix, limit) : listLeasesAfter.all(after, prefix, limit);
    return /** @type {ListedRow[]} */ (rows);
  }

  /**
   * Answers an acquisition of a lease that is held, without a transaction: those that wait for a lock would keep others
   * from writing.
   * @param {Write} write
   * @returns {ReturnType<Operations['acquire']> | undefined} undefined when the write must be performed
   */
  refusal({ operation, args }) {
    if (operation !== 'acquire') return undefined;
    const [name, , incarnation, expired] = /** @type {Parameters<Operations['acquire']>} */ (args);
    this.#connected().assertSameFile();
    const row = this.readLease(name);
    return mayTake(row, incarnation, expired) ? undefined : { acquired: false, row };
  }

  /** @param {string} key */
  latest(key) {
    const row = this.#connected().statements.latest.get(key);
    return /** @type {StoredVersion | undefined} */ (row);
  }

  /**
   * @param {string} key
   * @param {StoredHistoryQuery} query
   * @returns {StoredPage}
   */
  history(key, { limit, newestFirst, before, after, from }) {
    const connections = this.#connected();
    const { newest, oldest } = connections.statements;
    const most = Math.min(limit, PAGE_ROWS);
    /** @type {(place: readonly [bigint, unknown], count: number) => StoredVersion[]} */
    const read = (place, count) => {
      const rows = newestFirst ? newest.all(key, ...place, after, count) : oldest.all(key, ...place, before, count);
      return /** @type {StoredVersion[]} */ (rows);
    };
    return connections.readTogether(() => {
      /** @type {StoredVersion[]} */
      const versions = [];
      let bytes = 0;
      /** @type {readonly [bigint, unknown]} */
      let place = from ?? (newestFirst ? [before, ''] : [after, BEHIND_ALL_IDS]);
      for (let count = Math.min(FIRST_ROWS, most); ;) {
        const found = read(place, count);
        for (const [id, value, leader, timestamp] of found) {
          bytes += id.length + value.length + leader.length;
          place = [timestamp, id];
        }
        versions.push(...found);
        if (bytes >= PAGE_BYTES) return { versions, more: true };
        if (found.length < count || versions.length >= most) return { versions, more: versions.length === PAGE_ROWS };
        // As many as fit if they have the average size, but at most four times the number that was read already.
        const fit = Math.ceil(((PAGE_BYTES - bytes) * versions.length) / (bytes + 1));
        count = Math.min(fit, 4 * versions.length, most - versions.length);
      }
    });
  }

  /**
   * @param {string} prefix
   * @param {number} limit
   * @param {string | undefined} after
   */
  keys(prefix, limit, after) {
    const { keysFrom, keysAfter } = this.#connected().statements;
    const most = Math.min(limit, PAGE_ROWS);
    const rows =
      after !== undefined && Buffer.compare(Buffer.from(after), Buffer.from(prefix)) >= 0
        ? keysAfter.all(after, prefix, most)
        : keysFrom.all(prefix, prefix, most);
    const keys = /** @type {[string, string][]} */ (rows);
    return { keys, more: keys.length === most };
  }

  /**
   * @param {ChangesQuery} query
   * @returns {ReturnType<Operations['changes']>}
   */
  changes({ prefix, exact, after, limit }) {
    const connections = this.#connected();
    const { changes, changed, compacted } = connections.statements;
    return connections.readTogether(() => {
      const [last] = /** @type {[bigint | null]} */ (compacted.get(prefix, exact ? 1 : 0));
      const compactedBefore = last ?? 0n;
      const places = /** @type {[string, string, bigint, bigint][]} */ (
        changes.all(prefix, exact ? 1 : 0, after.timestamp, after.id, after.key, PAGE_ROWS)
      );
      /** @type {StoredChange[]} */
      const found = [];
      let next = after;
      let bytes = 0;
      for (const [key, id, timestamp, isMeant] of places) {
        if (found.length >= limit || bytes >= PAGE_BYTES) return { changes: found, next, more: true, compactedBefore };
        next = { timestamp, id, key };
        if (isMeant === 0n) continue;
        const change = /** @type {StoredChange} */ (changed.get(id, key));
        found.push(change);
        bytes += change[2].length;
      }
      return { changes: found, next, more: places.length === PAGE_ROWS, compactedBefore };
    });
  }

  /**
   * @param {string} prefix
   * @param {number} keep
   * @param {number} limit
   * @param {string | undefined} after
   */
  trimmable(prefix, keep, limit, after) {
    const { trimmableFrom, trimmableAfter } = this.#connected().statements;
    const rows =
      after !== undefined && Buffer.compare(Buffer.from(after), Buffer.from(prefix)) >= 0
        ? trimmableAfter.all(after, prefix, limit, keep)
        : trimmableFrom.all(prefix, prefix, limit, keep);
    return /** @type {StoredAges[]} */ (rows);
  }

  /** Each commit moves the clock. */
  lastTimestamp() {
    const [last] = /** @type {[bigint]} */ (this.#connected().statements.lastTimestamp.get());
    return last;
  }

  /**
   * Runs writes in one transaction, in order, each with its own outcome: a write that fails is rolled back alone. It throws
   * errors that roll back all writes, or leave the outcome of all unknown.
   * @param {readonly Write[]} writes
   * @returns {Outcome[]}
   */
  write(writes) {
    const connections = this.#connected();
    const { statements } = connections;
    connections.assertSameFile();
    const { clock } = this.#known;
    try {
      statements.begin.run();
      const outcomes =
        writes.length === 1 ? [alone(statements, writes[0])] : writes.map((one) => among(connections, one));
      const committed = connections.clockOf(clock);
      connections.assertSameFile();
      commitOrThrow(() => statements.commit.run());
      // Before any acknowledgement: a write to a file that only this process sees is lost.
      connections.assertSameFile(false);
      this.#known.sawClock(committed);
      return outcomes;
    } catch (error) {
      if (connections.inTransaction) statements.rollback.run();
      throw error;
    }
  }

  #connected() {
    return (this.#connections ??= new Connections(this.#config, this.#known));
  }
}

/**
 * @param {Statements} statements
 * @param {Write | undefined} write
 * @returns {Outcome}
 */
function alone(statements, write) {
  if (write === undefined) throw new Error('no write');
  const perform = /** @type {(statements: Statements, ...args: unknown[]) => unknown} */ (WRITES[write.operation]);
  return { value: perform(statements, ...write.args) };
}

/**
 * @param {Connections} connections
 * @param {Write} write
 * @returns {Outcome}
 */
function among(connections, write) {
  const { statements } = connections;
  statements.savepoint.run();
  try {
    const outcome = alone(statements, write);
    statements.releaseSavepoint.run();
    return outcome;
  } catch (error) {
    // A full disk, and worse errors, end the transaction of all writes.
    if (!connections.inTransaction || isBusy(error) || mustReconnect(error) || isFull(error)) throw error;
    statements.rollbackToSavepoint.run();
    statements.releaseSavepoint.run();
    return { error };
  }
}

/** @param {unknown} error */
function isFull(error) {
  return codeOf(error).startsWith('SQLITE_FULL');
}
