// @ts-check

// Table names are validated identifiers (see options.ts), so they may be part of the text of a statement.
// Texts compare by their UTF-8 bytes: SQLite's default collation in a UTF-8 file.

/** As in `row-names.ts`, and the first text behind all that begin with it. */
const COMPACTED = '__hedge/compacted/';
const COMPACTED_END = '__hedge/compacted0';

/**
 * The table of version 0.1 has no column `stamp`.
 * @param {string} lockTable
 */
export function addStampSql(lockTable) {
  return `ALTER TABLE ${lockTable} ADD COLUMN stamp TEXT`;
}

/** @param {string} table */
export function columnsSql(table) {
  return `SELECT name FROM pragma_table_info('${table}')`;
}

/**
 * The two tables of the Go library, with nanoseconds since 1970 as timestamps. In addition: a renewal counter, because
 * processes share no clock by which they could use `heartbeat` (it is for people); the stamp of each lease row (`clock.js`); the last timestamp given; and a random
 * id, which distinguishes a file from one that replaces it.
 *
 * Ids rise with time. With the id first, the rows of a batch share the last page of that index; with the key first, each
 * key would dirty a page. Reads of one key use the second index; watches use the third one, whose last page a batch shares.
 * @param {string} lockTable
 * @param {string} logTable
 */
export function schemaSql(lockTable, logTable) {
  return `
    CREATE TABLE IF NOT EXISTS ${lockTable} (
      name TEXT PRIMARY KEY NOT NULL, heartbeat INTEGER, token INTEGER NOT NULL, writer TEXT,
      renewals INTEGER NOT NULL, stamp TEXT);
    CREATE TABLE IF NOT EXISTS ${logTable} (
      id TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, leader TEXT NOT NULL, timestamp INTEGER NOT NULL,
      PRIMARY KEY (id, key));
    CREATE INDEX IF NOT EXISTS ${logTable}_latest ON ${logTable} (key, timestamp DESC, id DESC);
    CREATE INDEX IF NOT EXISTS ${logTable}_commits ON ${logTable} (timestamp);
    CREATE TABLE IF NOT EXISTS hedge_clock (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER NOT NULL);
    INSERT OR IGNORE INTO hedge_clock (one, last) VALUES (1, 0);
    CREATE TABLE IF NOT EXISTS hedge_file (one INTEGER PRIMARY KEY CHECK (one = 1), id INTEGER NOT NULL);
    INSERT OR IGNORE INTO hedge_file (one, id) VALUES (1, random());`;
}

export const identitySql = 'SELECT hedge_file.id, hedge_clock.last FROM hedge_file, hedge_clock';
export const readClockSql = 'SELECT last FROM hedge_clock';
export const writeClockSql = 'UPDATE hedge_clock SET last = ?';

/** @param {string} lockTable */
export function leaseSql(lockTable) {
  return `SELECT token, renewals, writer, stamp FROM ${lockTable} WHERE name = ?`;
}

/**
 * @param {string} lockTable
 * @param {'>' | '>='} from
 */
export function listLeasesSql(lockTable, from) {
  return `SELECT name, token, writer, heartbeat FROM ${lockTable}
    WHERE name ${from} ?1 AND substr(name, 1, length(?2)) = ?2 AND writer IS NOT NULL ORDER BY name LIMIT ?3`;
}

/** @param {string} lockTable */
export function takeLeaseSql(lockTable) {
  return `INSERT INTO ${lockTable} (name, heartbeat, token, writer, stamp, renewals) VALUES (?, ?, ?, ?, ?, 0)
    ON CONFLICT (name) DO UPDATE SET
      heartbeat = excluded.heartbeat, token = excluded.token, writer = excluded.writer, stamp = excluded.stamp,
      renewals = 0`;
}

/** @param {string} lockTable */
export function renewLeaseSql(lockTable) {
  return `UPDATE ${lockTable} SET heartbeat = ?, writer = ?, renewals = ?, stamp = ? WHERE name = ?`;
}

/** @param {string} lockTable */
export function clearLeaseSql(lockTable) {
  return `UPDATE ${lockTable} SET writer = NULL WHERE name = ?`;
}

/** @param {string} logTable */
export function versionSql(logTable) {
  return `SELECT value, timestamp FROM ${logTable} WHERE key = ? AND id = ?`;
}

/** @param {string} logTable */
export function insertVersionSql(logTable) {
  return `INSERT INTO ${logTable} (id, key, value, leader, timestamp) VALUES (?, ?, ?, ?, ?)`;
}

/** @param {string} logTable */
export function overwriteVersionSql(logTable) {
  return `${insertVersionSql(logTable)}
    ON CONFLICT (key, id) DO UPDATE SET
      value = excluded.value, leader = excluded.leader, timestamp = excluded.timestamp`;
}

/** @param {string} logTable */
export function deleteVersionSql(logTable) {
  return `DELETE FROM ${logTable} WHERE key = ? AND id = ?`;
}

/**
 * Deletes the oldest versions of a key, and none of the `?2` newest ones.
 * @param {string} logTable
 */
export function trimSql(logTable) {
  return `DELETE FROM ${logTable} WHERE rowid IN (
      SELECT rowid FROM ${logTable} WHERE key = ?1 AND timestamp < ?3 AND (timestamp, id) <= (
        SELECT timestamp, id FROM ${logTable} WHERE key = ?1 ORDER BY timestamp DESC, id DESC LIMIT 1 OFFSET ?2)
      ORDER BY timestamp, id LIMIT ?4)
    RETURNING timestamp`;
}

/**
 * A row whose timestamp only rises.
 * @param {string} logTable
 */
export function raiseVersionSql(logTable) {
  return `${overwriteVersionSql(logTable)} WHERE excluded.timestamp > ${logTable}.timestamp`;
}

/**
 * Keys with the timestamp of their oldest version, id and timestamp of their newest one, and the timestamp of the one behind
 * the `?4` newest ones, if there is one.
 * @param {string} logTable
 * @param {'>' | '>='} from
 */
export function trimmableSql(logTable, from) {
  /** @param {string} columns @param {string} [skipped] */
  const newest = (columns, skipped = '') =>
    `(SELECT ${columns} FROM ${logTable} AS log WHERE log.key = page.key ORDER BY timestamp DESC, id DESC LIMIT 1 ${skipped})`;
  return `SELECT key, (SELECT min(timestamp) FROM ${logTable} AS log WHERE log.key = page.key),
      ${newest('id')}, ${newest('timestamp')}, ${newest('timestamp', 'OFFSET ?4')}
    FROM (${keysSql(logTable, from)}) AS page`;
}

/**
 * The timestamp of the last record of deleted versions that concerns the keys with the prefix `?1`, or the one key if `?2`.
 * Behind the prefix of the records comes the prefix of the keys.
 * @param {string} logTable
 */
export function compactedSql(logTable) {
  return `SELECT max(timestamp) FROM (
    SELECT substr(key, ${COMPACTED.length + 1}) AS prefix, timestamp FROM ${logTable}
    WHERE key >= '${COMPACTED}' AND key < '${COMPACTED_END}')
    WHERE substr(?1, 1, length(prefix)) = prefix OR (NOT ?2 AND substr(prefix, 1, length(?1)) = ?1)`;
}

/** @param {string} logTable */
export function latestSql(logTable) {
  return `SELECT id, value, leader, timestamp FROM ${logTable} WHERE key = ?
    ORDER BY timestamp DESC, id DESC LIMIT 1`;
}

/**
 * The versions after a place (timestamp, id), so that the cost of a page depends only on its rows.
 * @param {string} logTable
 * @param {'ASC' | 'DESC'} order
 */
export function historySql(logTable, order) {
  const [from, to] = order === 'DESC' ? ['<', '>'] : ['>', '<'];
  return `SELECT id, value, leader, timestamp FROM ${logTable}
    WHERE key = ? AND (timestamp, id) ${from} (?, ?) AND timestamp ${to} ?
    ORDER BY timestamp ${order}, id ${order} LIMIT ?`;
}

/**
 * Distinct keys with the id of their newest row, by a jump in the index from each key to the next: the cost does not
 * depend on the number of versions of a key. `substr` instead of LIKE, because LIKE interprets %, _ and letter case.
 * @param {string} logTable
 * @param {'>' | '>='} from
 */
export function keysSql(logTable, from) {
  return `WITH RECURSIVE found (key) AS (
      SELECT min(key) FROM ${logTable} WHERE key ${from} ?1
      UNION ALL
      SELECT (SELECT min(next.key) FROM ${logTable} AS next WHERE next.key > found.key)
      FROM found WHERE substr(found.key, 1, length(?2)) = ?2)
    SELECT key, (SELECT id FROM ${logTable} AS newest WHERE newest.key = found.key ORDER BY timestamp DESC, id DESC LIMIT 1)
    FROM found WHERE substr(key, 1, length(?2)) = ?2 LIMIT ?3`;
}

/**
 * The places of the rows behind a place in the order of commits, each with 1 if its key has the prefix. Whatever the
 * prefix, it reads only so many rows.
 * @param {string} logTable
 */
export function changesSql(logTable) {
  return `SELECT key, id, timestamp, CASE WHEN ?2 THEN key = ?1 ELSE substr(key, 1, length(?1)) = ?1 END
    FROM ${logTable} INDEXED BY ${logTable}_commits
    WHERE timestamp >= ?3 AND (timestamp > ?3 OR id > ?4 OR (id = ?4 AND key > ?5))
    ORDER BY timestamp, id, key LIMIT ?6`;
}

/** @param {string} logTable */
export function changedSql(logTable) {
  return `SELECT key, id, value, leader, timestamp FROM ${logTable} WHERE id = ? AND key = ?`;
}
