// @ts-check
import { Connections } from './connections.js';
import { commitOrThrow } from './errors.js';

/**
 * @import { Fenced, Operations, StoredHistoryQuery, StoredLease, StoredMirror, StoredRenewal, StoredVersion, WorkerConfig } from '../protocol.js'
 * @import { LeaseMarker } from '../../../backend/observed-lease.js'
 * @import { Fence, LogAppend } from '../../../backend/log.js'
 * @import { Statements } from './connections.js'
 */

const OVERWRITE_ID = '-';

/**
 * The tables in one SQLite file. Every method is synchronous, and one statement or one transaction. When
 * another process is in the way it throws SQLITE_BUSY, having changed nothing.
 *
 * @implements {Operations}
 */
export class SqliteDatabase {
  /** @type {WorkerConfig} */
  #config;
  /** @type {Connections | undefined} */
  #connections;

  /** @param {WorkerConfig} config */
  constructor(config) {
    this.#config = config;
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

  /** @param {string} name */
  readLease(name) {
    return toLease(this.#connected().statements.readLease.get(name));
  }

  /** @param {string} key */
  latest(key) {
    const row = this.#connected().statements.latest.get(key);
    return /** @type {StoredVersion | undefined} */ (row);
  }

  /**
   * @param {string} key
   * @param {StoredHistoryQuery} query
   */
  history(key, { limit, newestFirst, before, after }) {
    const { newest, oldest } = this.#connected().statements;
    const rows = (newestFirst ? newest : oldest).all(key, before, after, limit);
    return /** @type {StoredVersion[]} */ (rows);
  }

  /**
   * @param {string} prefix
   * @param {number} limit
   * @param {string | undefined} after
   */
  keys(prefix, limit, after) {
    const { keysFrom, keysAfter } = this.#connected().statements;
    const rows =
      after !== undefined && Buffer.compare(Buffer.from(after), Buffer.from(prefix)) >= 0
        ? keysAfter.all(after, prefix, limit)
        : keysFrom.all(prefix, prefix, limit);
    return /** @type {[string][]} */ (rows).map(([key]) => key);
  }

  /**
   * @param {string} name
   * @param {string} writer
   * @param {string} incarnation
   * @param {LeaseMarker | undefined} expired
   */
  acquire(name, writer, incarnation, expired) {
    return this.#transaction((statements) => {
      const row = toLease(statements.readLeaseToWrite.get(name));
      const free =
        row.writer === null ||
        incarnationOf(row.writer) === incarnation ||
        (expired !== undefined && row.token === expired.token && row.renewals === expired.renewals);
      if (!free) return { acquired: false, row };
      const token = nextTimestamp(statements);
      statements.takeLease.run(name, wallNanoseconds(), token, writer);
      return { acquired: true, row: { token, renewals: 0n, writer } };
    });
  }

  /** @param {readonly StoredRenewal[]} renewals */
  renew(renewals) {
    return this.#transaction((statements) =>
      renewals.map(({ name, token, incarnation, writer }) => {
        const row = toLease(statements.readLeaseToWrite.get(name));
        const renewed = row.token === token && incarnationOf(row.writer) === incarnation;
        if (renewed) statements.renewLease.run(wallNanoseconds(), writer, name);
        return { renewed, name, row };
      }),
    );
  }

  /**
   * @param {string} name
   * @param {bigint} token
   * @param {string} incarnation
   */
  release(name, token, incarnation) {
    return this.#transaction((statements) => {
      const row = toLease(statements.readLeaseToWrite.get(name));
      const held = row.token === token && incarnationOf(row.writer) === incarnation;
      if (held) statements.clearLease.run(name);
      return held;
    });
  }

  /**
   * @param {readonly LogAppend[]} rows
   * @param {Fence | undefined} fence
   */
  append(rows, fence) {
    return this.#fencedTransaction(fence, (statements) => {
      /** @type {bigint | undefined} */
      let commit;
      const timestamps = rows.map(({ key, id, value, leader }) => {
        const stored = /** @type {[string, bigint] | undefined} */ (statements.readVersion.get(key, id));
        if (stored !== undefined) return stored[0] === value ? stored[1] : null;
        commit ??= nextTimestamp(statements);
        statements.insertVersion.run(id, key, value, leader, commit);
        return commit;
      });
      return { timestamps };
    });
  }

  /**
   * @param {Omit<LogAppend, 'id'>} row
   * @param {Fence | undefined} fence
   */
  overwrite({ key, value, leader }, fence) {
    return this.#fencedTransaction(fence, (statements) => {
      const timestamp = nextTimestamp(statements);
      statements.overwriteVersion.run(OVERWRITE_ID, key, value, leader, timestamp);
      return { timestamp };
    });
  }

  /**
   * @param {LogAppend} row
   * @param {bigint} follows
   * @param {readonly StoredMirror[]} mirrors
   * @param {Fence} fence
   */
  replace({ key, id, value, leader }, follows, mirrors, fence) {
    return this.#fencedTransaction(fence, (statements) => {
      const found = /** @type {StoredVersion | undefined} */ (statements.latestToWrite.get(key));
      if ((found?.[3] ?? 0n) !== follows) return { found };
      const timestamp = nextTimestamp(statements);
      if (found !== undefined && found[0] !== id) statements.deleteVersion.run(key, found[0]);
      statements.overwriteVersion.run(id, key, value, leader, timestamp);
      for (const mirror of mirrors) {
        if (mirror.value === undefined) statements.deleteVersion.run(mirror.key, key);
        else statements.overwriteVersion.run(key, mirror.key, mirror.value, leader, timestamp);
      }
      return { timestamp };
    });
  }

  #connected() {
    return (this.#connections ??= new Connections(this.#config));
  }

  /**
   * @template T
   * @param {Fence | undefined} fence
   * @param {(statements: Statements) => T} work
   * @returns {T | Fenced}
   */
  #fencedTransaction(fence, work) {
    return this.#transaction((statements) => {
      if (fence !== undefined) {
        const { token } = toLease(statements.readLeaseToWrite.get(fence.lease));
        if (token !== fence.token) return { foundToken: token };
      }
      return work(statements);
    });
  }

  /**
   * Runs `work` under the write lock of the file.
   * @template T
   * @param {(statements: Statements) => T} work
   * @returns {T}
   */
  #transaction(work) {
    const connections = this.#connected();
    const { statements } = connections;
    connections.assertSameFile();
    try {
      statements.begin.run();
      const result = work(statements);
      commitOrThrow(() => statements.commit.run());
      return result;
    } catch (error) {
      if (connections.inTransaction) statements.rollback.run();
      throw error;
    }
  }
}

/**
 * The wall clock, or one more than the last when it went back or stood still: rises from commit to commit.
 * @param {Statements} statements
 */
function nextTimestamp(statements) {
  const [last] = /** @type {[bigint]} */ (statements.readClock.get());
  const wall = wallNanoseconds();
  const next = wall > last ? wall : last + 1n;
  statements.writeClock.run(next);
  return next;
}

function wallNanoseconds() {
  return BigInt(Date.now()) * 1_000_000n;
}

/**
 * @param {unknown} row
 * @returns {StoredLease}
 */
function toLease(row) {
  if (row === undefined) return { token: 0n, renewals: 0n, writer: null };
  const [token, renewals, writer] = /** @type {[bigint, bigint, string | null]} */ (row);
  return { token, renewals, writer };
}

/** @param {string | null} writer a text of `formatWriter` */
function incarnationOf(writer) {
  return writer?.split(' ')[1];
}
