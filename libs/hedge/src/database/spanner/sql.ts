import type { HistoryPageQuery } from '../history-pages.js';
import type { LeaseQuery } from '../lease-table.js';
import {
  TOMBSTONE_SUFFIX,
  type ChangesQuery,
  type HistoryQuery,
  type KeysQuery,
  type LogPlace,
  type TrimmableQuery,
} from '../log-table.js';
import { COMPACTED, compactedKey } from '../row-names.js';
import type { Tables } from './options.js';
import { rowLimit, text, texts, timestamp, type Param, type Statement } from './client/values.js';

// Table names are validated identifiers (see options.ts), so they may be part of the text of a statement.
// STRING compares by code points, which is the order of the UTF-8 bytes.

/** Columns: token, writer, and the age of the last heartbeat in microseconds, by the database's clock. */
export function leaseSql(lockTable: string, name: string): Statement {
  return {
    sql: `SELECT token, writer, TIMESTAMP_DIFF(CURRENT_TIMESTAMP(), heartbeat, MICROSECOND)
      FROM \`${lockTable}\` WHERE name = @name`,
    params: { name: text(name) },
  };
}

/** `leaseSql` for many leases, with the name as first column, in no particular order. */
export function leasesSql(lockTable: string, names: readonly string[]): Statement {
  return {
    sql: `SELECT name, token, writer, TIMESTAMP_DIFF(CURRENT_TIMESTAMP(), heartbeat, MICROSECOND)
      FROM \`${lockTable}\` WHERE name IN UNNEST(@names)`,
    params: { names: texts(names) },
  };
}

/** Leases with a writer. Columns: name, token, writer, and the age of the last heartbeat in microseconds. */
export function listedLeasesSql(lockTable: string, { prefix, limit, after }: LeaseQuery): Statement {
  return {
    sql: `SELECT name, token, writer, TIMESTAMP_DIFF(CURRENT_TIMESTAMP(), heartbeat, MICROSECOND)
      FROM \`${lockTable}\` WHERE STARTS_WITH(name, @prefix) ${after === undefined ? '' : 'AND name > @after'}
        AND writer IS NOT NULL ORDER BY name LIMIT @limit`,
    params: { prefix: text(prefix), limit: rowLimit(limit), ...(after !== undefined && { after: text(after) }) },
  };
}

/** Reads only the token, so that a renewal does not abort a fenced write: Spanner detects conflicts by column. */
export function tokenSql(lockTable: string, name: string): Statement {
  return { sql: `SELECT token FROM \`${lockTable}\` WHERE name = @name`, params: { name: text(name) } };
}

/**
 * Reads the lease and the rows of a key for a fenced write, in one call. Columns: kind, id, value, leader, timestamp. The
 * row of kind `token` has the token of the lease as its timestamp; each version is a row of kind `row`.
 */
export function fencedRowsSql({ lockTable, logTable }: Tables, lease: string, key: string): Statement {
  return {
    sql: `SELECT 'token', '', '', '', token FROM \`${lockTable}\` WHERE name = @lease
      UNION ALL SELECT 'row', id, value, leader, timestamp FROM \`${logTable}\` WHERE key = @key`,
    params: { lease: text(lease), key: text(key) },
  };
}

/**
 * Columns: id, value, leader, timestamp.
 * @param index the index of `indexDdl`. It has the order newest first, and Spanner does not read an index backwards.
 */
export function historySql(
  logTable: string,
  key: string,
  { limit, order, before, after, from }: HistoryQuery & Partial<Pick<HistoryPageQuery, 'from'>>,
  index: string | undefined,
): Statement {
  const newestFirst = order === 'newest-first';
  const hint = newestFirst && index !== undefined ? `@{FORCE_INDEX=${index}}` : '';
  const direction = newestFirst ? 'DESC' : 'ASC';
  const params: Record<string, Param> = { key: text(key), limit: rowLimit(limit) };
  if (before !== undefined) params['before'] = timestamp(before);
  if (after !== undefined) params['after'] = timestamp(after);
  const behind = newestFirst ? '<' : '>';
  if (from !== undefined) Object.assign(params, { at: timestamp(from.timestamp), id: text(from.id) });
  return {
    sql: `SELECT id, value, leader, timestamp FROM \`${logTable}\`${hint} WHERE key = @key
      ${before === undefined ? '' : 'AND timestamp < @before'} ${after === undefined ? '' : 'AND timestamp > @after'}
      ${from === undefined ? '' : `AND timestamp ${behind}= @at AND (timestamp ${behind} @at OR id ${behind} @id)`}
      ORDER BY timestamp ${direction}, id ${direction} LIMIT @limit`,
    params,
  };
}

/**
 * The newest version of each key. Columns: place of the key in the list, 1 if the value has more characters than `most`
 * and is left out, id, value, leader, timestamp. The last query is repeated up to a power of two, so that Spanner keeps
 * few plans: a place behind the list has the last key, too. A statement of Spanner may have 200 unions.
 * @see https://cloud.google.com/spanner/quotas#query_limits
 * @param index as in `historySql`
 */
export function latestOfSql(
  logTable: string,
  keys: readonly string[],
  most: number,
  index: string | undefined,
): Statement {
  const hint = index === undefined ? '' : `@{FORCE_INDEX=${index}}`;
  const count = 2 ** Math.ceil(Math.log2(keys.length));
  const params: Record<string, Param> = { most: rowLimit(most) };
  const queries = Array.from({ length: count }, (_, query) => {
    params[`key${query}`] = text(keys[query] ?? keys.at(-1) ?? '');
    return `(SELECT ${query}, IF(LENGTH(value) > @most, 1, 0), id, IF(LENGTH(value) > @most, NULL, value), leader,
      timestamp FROM \`${logTable}\`${hint} WHERE key = @key${query} ORDER BY timestamp DESC, id DESC LIMIT 1)`;
  });
  return { sql: queries.join(' UNION ALL '), params };
}

/** Columns: id, timestamp, of the `place`th newest version of a key. @param index as in `historySql` */
export function placeSql(logTable: string, key: string, place: number, index: string | undefined): Statement {
  const hint = index === undefined ? '' : `@{FORCE_INDEX=${index}}`;
  return {
    sql: `SELECT id, timestamp FROM \`${logTable}\`${hint} WHERE key = @key
      ORDER BY timestamp DESC, id DESC LIMIT 1 OFFSET @newer`,
    params: { key: text(key), newer: rowLimit(place - 1) },
  };
}

/** Columns: id, timestamp, of the oldest versions of a key before that time. */
export function oldestSql(logTable: string, key: string, before: bigint, limit: number): Statement {
  return {
    sql: `SELECT id, timestamp FROM \`${logTable}\` WHERE key = @key AND timestamp < @before
      ORDER BY timestamp, id LIMIT @limit`,
    params: { key: text(key), before: timestamp(before), limit: rowLimit(limit) },
  };
}

/**
 * Columns: key, 1 if the newest row of the key is a tombstone. It scans all versions of the keys with the prefix. Commit
 * timestamps have whole microseconds, of 16 digits until the year 2286, so the greatest text names the newest row.
 */
export function keysSql(logTable: string, { prefix, limit, after }: KeysQuery): Statement {
  return {
    sql: `SELECT key,
      IF(ENDS_WITH(MAX(CONCAT(CAST(UNIX_MICROS(timestamp) AS STRING), id)), '${TOMBSTONE_SUFFIX}'), 1, 0)
      FROM \`${logTable}\` WHERE STARTS_WITH(key, @prefix) ${after === undefined ? '' : 'AND key > @after'}
      GROUP BY key ORDER BY key LIMIT @limit`,
    params: { prefix: text(prefix), limit: rowLimit(limit), ...(after !== undefined && { after: text(after) }) },
  };
}

/**
 * Columns: key, microseconds of its oldest and its newest version, the text of the newest one (as in `keysSql`), number of
 * versions. It scans all versions of these keys.
 */
export function trimmableSql(logTable: string, { prefix, limit, after }: TrimmableQuery): Statement {
  return {
    sql: `SELECT key, UNIX_MICROS(MIN(timestamp)), UNIX_MICROS(MAX(timestamp)),
      MAX(CONCAT(CAST(UNIX_MICROS(timestamp) AS STRING), id)), COUNT(*)
      FROM \`${logTable}\` WHERE STARTS_WITH(key, @prefix) ${after === undefined ? '' : 'AND key > @after'}
      GROUP BY key ORDER BY key LIMIT @limit`,
    params: { prefix: text(prefix), limit: rowLimit(limit), ...(after !== undefined && { after: text(after) }) },
  };
}

/** In the first column of `changesSql`. */
export const COMPACTED_KIND = '-1';
export const NOW_KIND = '-2';

/**
 * Columns: characters of the value, key, id, the value unless it has more than `most` characters, leader, timestamp; in no
 * particular order. It scans all versions of the keys with the prefix. One row of `COMPACTED_KIND` has the timestamp of the last
 * record of deleted versions that concerns these keys, and one of `NOW_KIND` has the time.
 * @param until the place of the last row. Default: `limit` rows.
 */
export function changesSql(
  logTable: string,
  { prefix, exact, after, limit }: ChangesQuery,
  most: number,
  until?: LogPlace,
): Statement {
  const params: Record<string, Param> = {
    prefix: text(prefix),
    compacted: text(compactedKey(prefix)),
    at: timestamp(after.timestamp),
    id: text(after.id),
    key: text(after.key),
    limit: rowLimit(limit),
    most: rowLimit(most),
  };
  if (until !== undefined) {
    Object.assign(params, { end: timestamp(until.timestamp), endId: text(until.id), endKey: text(until.key) });
  }
  return {
    sql: `(SELECT LENGTH(value), key, id, IF(LENGTH(value) > @most, NULL, value), leader, timestamp FROM \`${logTable}\`
      WHERE ${exact ? 'key = @prefix' : 'STARTS_WITH(key, @prefix)'} AND timestamp >= @at
        AND (timestamp > @at OR id > @id OR (id = @id AND key > @key))
        ${until === undefined ? '' : 'AND timestamp <= @end AND (timestamp < @end OR id < @endId OR (id = @endId AND key <= @endKey))'}
      ORDER BY timestamp, id, key LIMIT @limit)
      UNION ALL
      (SELECT ${COMPACTED_KIND}, '', '', '', '', MAX(timestamp) FROM \`${logTable}\`
      WHERE STARTS_WITH(key, '${COMPACTED}') AND (STARTS_WITH(@compacted, key) ${exact ? '' : 'OR STARTS_WITH(key, @compacted)'}))
      UNION ALL (SELECT ${NOW_KIND}, '', '', '', '', CURRENT_TIMESTAMP())`,
    params,
  };
}

/** Columns: the timestamp of the newest row of all keys with the prefix, and the time. */
export function lastTimestampSql(logTable: string, prefix: string): Statement {
  return {
    sql: `SELECT MAX(timestamp), CURRENT_TIMESTAMP() FROM \`${logTable}\` WHERE STARTS_WITH(key, @prefix)`,
    params: { prefix: text(prefix) },
  };
}
