// @ts-check
import { existsSync, readdirSync, readlinkSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { RowClock } from './clock.js';
import { codeOf, DatabaseError, errorMessage } from './errors.js';
import { isSamePlace, placeOf } from './known-file.js';
import { createPrivately } from './private-file.js';
import * as sql from './sql.js';

/**
 * @import { Database } from 'libsql'
 * @import { WorkerConfig } from '../protocol.js'
 * @import { FilePlace, KnownFile } from './known-file.js'
 * @typedef {ReturnType<typeof prepare>} Statements
 *
 * @typedef Statement The used part of libsql's statements. Not `iterate`: an iteration that ends early has read a hundred
 * rows in advance, and keeps its connection at that commit for all later reads.
 * @property {(...values: unknown[]) => unknown} run
 * @property {(...values: unknown[]) => unknown} get
 * @property {(...values: unknown[]) => unknown[]} all
 */

/**
 * Two connections to one file: a writer, and a reader that sees the last commit also during a write. Neither waits for a
 * lock: they throw SQLITE_BUSY.
 */
export class Connections {
  #file;
  /** @type {FilePlace} */
  #place;
  #log;
  /** @type {FilePlace} */
  #logPlace;
  #writer;
  #reader;
  statements;

  /**
   * Opens the file, and creates missing tables.
   * @param {WorkerConfig} config
   * @param {KnownFile} known the file that was opened before, if any
   */
  constructor(config, known) {
    const { file } = config;
    if (!existsSync(dirname(file))) throw new DatabaseError('NO_FOLDER', `folder ${dirname(file)} does not exist`);
    assertNoneStale(file);
    const open = opener(file);
    if (config.existing) assertHasTables(open, config);
    this.#file = file;
    this.#place = madeBy(open, file);
    const log = (this.#log = `${realpathSync(file)}-wal`);
    this.#writer = open();
    try {
      configure(this.#writer, config);
      const logPlace = placeOf(log);
      if (logPlace === undefined) throw new DatabaseError('WAL_REPLACED', WAL_DELETED);
      this.#logPlace = logPlace;
      this.#reader = open();
      this.#reader.exec('PRAGMA query_only = ON');
      // Read before the comparison, so that no thread of this backend can have seen a later clock meanwhile.
      const { clock } = known;
      this.statements = prepare(this.#writer, this.#reader, new RowClock(log), config);
      const [id, last] = /** @type {[bigint, bigint]} */ (this.statements.readIdentity.get());
      // If the same place exists still, it is the opened file: no other file can have an inode that is in use.
      this.assertSameFile();
      if (!known.is(this.#place, id) || last < clock) throw new DatabaseError('FILE_REPLACED', FILE_IS_ANOTHER);
      known.sawClock(last);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get inTransaction() {
    return this.#writer.inTransaction;
  }

  /**
   * A file that was deleted or replaced exists in this process only: no other process sees writes to it, and a lease in it
   * would allow a second leader. The write-ahead log alone can be deleted too: when another SQLite library of this process
   * closes the file, POSIX drops all locks of the process on it, and the next process that closes the file considers
   * itself the last one.
   * @param {boolean} [withoutEffect] whether it is certain that nothing was written
   */
  assertSameFile(withoutEffect = true) {
    if (!isSamePlace(placeOf(this.#file), this.#place)) {
      throw new DatabaseError('FILE_REPLACED', 'the file was deleted or replaced while it was open', withoutEffect);
    }
    if (!isSamePlace(placeOf(this.#log), this.#logPlace))
      throw new DatabaseError('WAL_REPLACED', WAL_DELETED, withoutEffect);
  }

  /**
   * Reads the clock within a transaction, to be recorded after the commit.
   * @param {bigint} atLeast the known clock before the transaction
   */
  clockOf(atLeast) {
    const [clock] = /** @type {[bigint]} */ (this.statements.readClock.get());
    if (clock < atLeast) throw new DatabaseError('FILE_REPLACED', FILE_IS_ANOTHER);
    return clock;
  }

  /**
   * Runs queries that all see the same commit.
   * @template T
   * @param {() => T} run
   */
  readTogether(run) {
    const { beginRead, endRead } = this.statements;
    beginRead.run();
    try {
      return run();
    } finally {
      // Also after an error: all later reads of this connection would see only the commit of an open read.
      if (this.#reader?.inTransaction) endRead.run();
    }
  }

  close() {
    this.#reader?.close();
    this.#writer.close();
  }
}

const WAL_DELETED =
  'its write-ahead log was deleted while it was open. This happens when another SQLite library in one of the processes opens and closes the file';

const FILE_IS_ANOTHER =
  'the file is not the one that was open before: it was replaced, or an earlier copy was restored';

/**
 * Creates the file if it does not exist.
 * @param {() => Database} open
 * @param {string} file
 * @returns {FilePlace}
 */
function madeBy(open, file) {
  const closeToOthers = createPrivately(file);
  if (!existsSync(file)) {
    // Behind a symbolic link, or without hard links, SQLite creates it, so that it exists before it is opened.
    open().close();
  }
  closeToOthers();
  const place = placeOf(file);
  if (place === undefined) throw new DatabaseError('FILE_REPLACED', 'the file was deleted while it was opened');
  return place;
}

/**
 * All connections of a process share one index of the write-ahead log. A connection that is opened while others still use
 * a deleted log would use their index for the new log.
 * @param {string} file
 */
function assertNoneStale(file) {
  if (!existsSync(file)) return;
  const path = realpathSync(file);
  const links = openFiles();
  if (links.includes(path) && links.includes(`${path}-shm (deleted)`)) {
    throw new DatabaseError('WAL_REPLACED', WAL_DELETED);
  }
}

/** The open files of this process, on Linux. */
function openFiles() {
  try {
    return readdirSync('/proc/self/fd').map((fd) => linkOf(`/proc/self/fd/${fd}`));
  } catch {
    return [];
  }
}

/** @param {string} path */
function linkOf(path) {
  try {
    return readlinkSync(path);
  } catch {
    // Closed meanwhile.
    return '';
  }
}

/**
 * @param {string} file
 * @returns {() => Database}
 */
function opener(file) {
  const Libsql = loadLibsql();
  // libsql throws an error without a code when it cannot open a file.
  return () => orThrow('SQLITE_CANTOPEN', () => new Libsql(file));
}

/** @returns {new (file: string) => Database} */
function loadLibsql() {
  try {
    return createRequire(import.meta.url)('libsql');
  } catch (error) {
    const code = codeOf(error);
    // Node adds the require stack in further lines.
    const [reason = ''] = errorMessage(error).split('\n', 1);
    if (code === 'ERR_DLOPEN_DISABLED') throw new DatabaseError(code, reason);
    const missing = code === 'MODULE_NOT_FOUND' && reason.includes("'libsql'");
    throw new DatabaseError(missing ? 'NO_LIBSQL' : 'LIBSQL_FAILED', reason);
  }
}

/**
 * @template T
 * @param {string} code
 * @param {() => T} run
 */
function orThrow(code, run) {
  try {
    return run();
  } catch (error) {
    throw new DatabaseError(code, errorMessage(error));
  }
}

/**
 * @param {Database} writer
 * @param {WorkerConfig} config
 */
function configure(writer, { lockTable, logTable, readsOnly }) {
  const [mode] = writer.prepare('PRAGMA journal_mode = WAL').raw(true).all().flat();
  if (mode !== 'wal') throw new DatabaseError('NO_WAL', `its journal mode stays "${String(mode)}"`);
  writer.exec('PRAGMA synchronous = FULL');
  // Four times the default, 16 MB of log: a page that many commits write goes to the file fewer times.
  writer.exec('PRAGMA wal_autocheckpoint = 4000');
  // Begins a transaction also when the tables exist, to detect a file that cannot be written. But the read thread must not
  // wait for the lock of a writer.
  if (readsOnly && hasSchema(writer, { lockTable, logTable })) return;
  writer.exec('BEGIN IMMEDIATE');
  try {
    writer.exec(sql.schemaSql(lockTable, logTable));
    const columns = columnsOf(writer, lockTable);
    // Not to a table of another program.
    if (columns.includes('renewals') && !columns.includes('stamp')) writer.exec(sql.addStampSql(lockTable));
    writer.exec('COMMIT');
  } catch (error) {
    if (writer.inTransaction) writer.exec('ROLLBACK');
    throw error;
  }
}

/**
 * Changes nothing in a file of another program.
 * @param {() => Database} open
 * @param {WorkerConfig} config
 */
function assertHasTables(open, { file, lockTable, logTable }) {
  if (!existsSync(file)) throw new DatabaseError('NO_TABLES', 'there is no such file');
  const connection = open();
  try {
    const leases = columnsOf(connection, lockTable);
    const values = columnsOf(connection, logTable);
    if (leases.includes('renewals') && values.includes('timestamp')) return;
    throw new DatabaseError('NO_TABLES', `it has no tables ${lockTable} and ${logTable} of Hedge`);
  } finally {
    connection.close();
  }
}

/**
 * @param {Database} connection
 * @param {{ readonly lockTable: string, readonly logTable: string }} tables
 */
function hasSchema(connection, { lockTable, logTable }) {
  const names = [lockTable, logTable, `${logTable}_latest`, 'hedge_clock', 'hedge_file'];
  const [found] = connection
    .prepare(`SELECT count(*) FROM sqlite_schema WHERE lower(name) IN (${names.map(() => 'lower(?)').join(', ')})`)
    .raw(true)
    .all(...names)
    .flat();
  return Number(found) === names.length && columnsOf(connection, lockTable).includes('stamp');
}

/**
 * @param {Database} connection
 * @param {string} table
 * @returns {unknown[]}
 */
function columnsOf(connection, table) {
  return connection.prepare(sql.columnsSql(table)).raw(true).all().flat();
}

/**
 * @param {Database} writer
 * @param {Database} reader
 * @param {RowClock} clock
 * @param {WorkerConfig} config
 */
function prepare(writer, reader, clock, { lockTable, logTable }) {
  return {
    clock,

    begin: statement(writer, 'BEGIN IMMEDIATE'),
    commit: statement(writer, 'COMMIT'),
    rollback: statement(writer, 'ROLLBACK'),
    savepoint: statement(writer, 'SAVEPOINT one'),
    releaseSavepoint: statement(writer, 'RELEASE one'),
    rollbackToSavepoint: statement(writer, 'ROLLBACK TO one'),

    beginRead: statement(reader, 'BEGIN'),
    endRead: statement(reader, 'COMMIT'),
    readLease: query(reader, sql.leaseSql(lockTable)),
    latest: query(reader, sql.latestSql(logTable)),
    newest: query(reader, sql.historySql(logTable, 'DESC')),
    oldest: query(reader, sql.historySql(logTable, 'ASC')),
    listLeasesFrom: query(reader, sql.listLeasesSql(lockTable, '>=')),
    listLeasesAfter: query(reader, sql.listLeasesSql(lockTable, '>')),
    keysFrom: query(reader, sql.keysSql(logTable, '>=')),
    keysAfter: query(reader, sql.keysSql(logTable, '>')),
    changes: query(reader, sql.changesSql(logTable)),
    changed: query(reader, sql.changedSql(logTable)),
    lastTimestamp: query(reader, sql.readClockSql),
    compacted: query(reader, sql.compactedSql(logTable)),
    trimmableFrom: query(reader, sql.trimmableSql(logTable, '>=')),
    trimmableAfter: query(reader, sql.trimmableSql(logTable, '>')),

    readIdentity: query(reader, sql.identitySql),

    readLeaseToWrite: query(writer, sql.leaseSql(lockTable)),
    takeLease: statement(writer, sql.takeLeaseSql(lockTable)),
    renewLease: statement(writer, sql.renewLeaseSql(lockTable)),
    clearLease: statement(writer, sql.clearLeaseSql(lockTable)),
    latestToWrite: query(writer, sql.latestSql(logTable)),
    readVersion: query(writer, sql.versionSql(logTable)),
    insertVersion: statement(writer, sql.insertVersionSql(logTable)),
    overwriteVersion: statement(writer, sql.overwriteVersionSql(logTable)),
    deleteVersion: statement(writer, sql.deleteVersionSql(logTable)),
    trim: query(writer, sql.trimSql(logTable)),
    raiseVersion: statement(writer, sql.raiseVersionSql(logTable)),
    readClock: query(writer, sql.readClockSql),
    writeClock: statement(writer, sql.writeClockSql),
  };
}

/**
 * @param {Database} connection
 * @param {string} text
 * @returns {Statement}
 */
function statement(connection, text) {
  return /** @type {Statement} */ (connection.prepare(text));
}

/**
 * Rows as arrays, integers as bigint.
 * @param {Database} connection
 * @param {string} text
 * @returns {Statement}
 */
function query(connection, text) {
  return connection.prepare(text).safeIntegers(true).raw(true);
}
