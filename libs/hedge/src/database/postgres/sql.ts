import type { AcquireConditions } from '../lease-observer.js';
import {
  OVERWRITE_ID,
  TOMBSTONE_SUFFIX,
  trimBounds,
  type ChangesQuery,
  type Fence,
  type LogAppend,
  type LogTransaction,
  type LogTrim,
  type TrimmableQuery,
} from '../log-table.js';
import { COMPACTED, compactedKey, permitKey, semaphoreKey } from '../row-names.js';
import type { PermitFence } from '../user-transactions.js';
import type { PostgresValue, Statement } from './client/client.js';
import type { Tables } from './options.js';

// Names of tables are checked (`options.ts`) and stand in quotes behind the schema, so that no search_path matters. Every
// parameter and every column is a text that the statement casts, so that no library's parsers matter.

/** The rows that a semaphore is arbitrated by: a key has one of them at most (`schema.ts`). */
export const IS_SEMAPHORE = `left(key, 18) = '__hedge/semaphore/'`;

/** The first text behind all that begin with `COMPACTED`. */
const COMPACTED_END = '__hedge/compacted0';

/** Nanoseconds since 1970, of which the clock of PostgreSQL knows the microseconds. */
const NOW = `(extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000`;

/** The commit waits for the disk, whatever the default of the role or the database is. Holds for this transaction. */
const DURABLE = `set_config('synchronous_commit', 'on', true) IS NOT NULL`;

/** The commit does not wait for the disk. */
const NOT_DURABLE = `set_config('synchronous_commit', 'off', true) IS NOT NULL`;

/** A lease does not wait longer for a lock of another transaction: the connection serves all leases of the pod. */
const LEASE_LOCK_MS = 100;
const SHORT_LOCK_WAIT = `set_config('lock_timeout', '${LEASE_LOCK_MS}', true) IS NOT NULL`;
const DURABLE_LEASE = `${DURABLE} AND ${SHORT_LOCK_WAIT}`;

/** Nor does a write of the log: after the caller has given it up, its session would still wait in the server. */
const LOG_LOCK_MS = 500;
const DURABLE_LOG = `${DURABLE} AND set_config('lock_timeout', '${LOG_LOCK_MS}', true) IS NOT NULL`;

/** Behind the lock of the clock, all other writes of the log wait. So there is hardly a wait for another lock. */
const TICKED_LOCK_MS = 20;

/**
 * While the clock of the database is behind the last token, tokens rise by random steps: a server that lacks the last
 * acquisitions does not give the tokens of these again.
 */
const TOKEN_STEP = '(1 + random() * 1000000)::bigint';

const LEASE_COLUMNS = 'token::text, renewals::text, writer';

export type Names = Readonly<Record<'locks' | 'log' | 'clock', string>>;

export function namesOf({ schema, lockTable, logTable }: Tables): Names {
  return {
    locks: `"${schema}"."${lockTable}"`,
    log: `"${schema}"."${logTable}"`,
    clock: `"${schema}"."hedge_clock"`,
  };
}

/** A read that says whether a standby made it. There is always a row; `found` is null when the read has none. */
function strongly(select: string): string {
  return `SELECT answer.*, server.standby::text AS standby
    FROM (SELECT pg_is_in_recovery() AS standby) AS server LEFT JOIN LATERAL (${select}) AS answer ON true`;
}

export function leaseSql({ locks }: Names, name: string): Statement {
  return {
    text: strongly(`SELECT 'true' AS found, ${LEASE_COLUMNS} FROM ${locks} WHERE name = $1::text`),
    values: [name],
  };
}

/** Leases with a writer. `age` in milliseconds. */
export function leasesSql({ locks }: Names, prefix: string, limit: number, after: string | undefined): Statement {
  return {
    text: strongly(`SELECT name, token::text, writer,
        round(extract(epoch FROM clock_timestamp() - heartbeat) * 1000)::bigint::text AS age
      FROM ${locks} WHERE name ${after === undefined ? '>=' : '>'} $1::text AND starts_with(name, $2::text)
        AND writer IS NOT NULL ORDER BY name LIMIT $3::text::bigint`),
    values: [after ?? prefix, prefix, String(limit)],
  };
}

export interface Acquisition extends AcquireConditions {
  readonly name: string;
  readonly writer: string;
  readonly incarnation: string;
}

/**
 * Takes the row when it is free, expired, or of the same incarnation; else reads it. A row of the same incarnation with a
 * later token than this process knew belongs to a later call of it, so it is not taken. A row that another transaction
 * locks is not taken, without a wait: fenced transactions of the user may hold many rows for long, and this connection
 * also serves the renewals. `takeable` says that the row may be taken as this statement saw it.
 */
export function acquireSql({ locks }: Names, acquisition: Acquisition): Statement {
  return {
    text: `WITH locked AS MATERIALIZED (
      SELECT FROM ${locks} AS lease WHERE name = $1::text AND ${TAKEABLE} FOR UPDATE SKIP LOCKED),
    taken AS (
      INSERT INTO ${locks} AS lease (name, heartbeat, token, writer, renewals)
      SELECT $1::text, clock_timestamp(), greatest(${NOW}, $4::text::bigint + ${TOKEN_STEP}), $2::text, 0
      WHERE ${DURABLE_LEASE} AND (EXISTS (SELECT FROM locked)
        OR $8::text = 'true' AND NOT EXISTS (SELECT FROM ${locks} WHERE name = $1::text))
      ON CONFLICT (name) DO UPDATE SET heartbeat = clock_timestamp(), writer = $2::text, renewals = 0,
        token = ${NEXT_TOKEN}
      WHERE ${TAKEABLE}
      RETURNING token, renewals, writer)
    SELECT 'true' AS done, 'true' AS takeable, ${LEASE_COLUMNS} FROM taken
    UNION ALL
    SELECT 'false', (${TAKEABLE})::text, ${LEASE_COLUMNS} FROM ${locks} AS lease
    WHERE name = $1::text AND NOT EXISTS (SELECT FROM taken)`,
    values: [...takeValues(acquisition), String(acquisition.mayInsert)],
  };
}

/**
 * The same for a row that exists, and that this process believes to be free or expired. The server plans it in a third of
 * the time. No result when the lease was not acquired.
 */
export function takeSql({ locks }: Names, acquisition: Acquisition): Statement {
  return {
    text: `UPDATE ${locks} AS lease
      SET heartbeat = clock_timestamp(), writer = $2::text, renewals = 0, token = ${NEXT_TOKEN}
      WHERE name = (SELECT name FROM ${locks} AS lease WHERE name = $1::text AND ${TAKEABLE} FOR UPDATE SKIP LOCKED)
        AND ${DURABLE_LEASE}
      RETURNING ${LEASE_COLUMNS}`,
    values: takeValues(acquisition),
  };
}

/** The row may be taken. Of the parameters of `takeValues`. */
const TAKEABLE = `lease.token >= $7::text::bigint AND (
        lease.writer IS NULL
        OR split_part(lease.writer, ' ', 2) = $3::text AND lease.token = $7::text::bigint
        OR coalesce(lease.token = $5::text::bigint AND lease.renewals = $6::text::bigint, false))`;

const NEXT_TOKEN = `greatest(${NOW}, lease.token + ${TOKEN_STEP}, $4::text::bigint + ${TOKEN_STEP})`;

function takeValues({ name, writer, incarnation, above, expired, known }: Acquisition): PostgresValue[] {
  return [
    name,
    writer,
    incarnation,
    String(above),
    expired === undefined ? null : String(expired.token),
    expired === undefined ? null : String(expired.renewals),
    String(known),
  ];
}

export interface StoredRenewal {
  readonly name: string;
  readonly token: bigint;
  readonly incarnation: string;
  readonly writer: string;
  /** As `Renewal.renewals`. */
  readonly renewals?: bigint | undefined;
}

/**
 * Renews the rows of these tokens and incarnations, unless a later renewal has; reads the others. It changes no column of
 * a key.
 */
export function renewSql({ locks }: Names, renewals: readonly StoredRenewal[]): Statement {
  return {
    text: `WITH asked AS (
      SELECT * FROM unnest($1::text::text[], $2::text::bigint[], $3::text::text[], $4::text::text[], $5::text::bigint[])
        AS asked (name, token, incarnation, writer, renewals)),
    renewed AS (
      UPDATE ${locks} AS lease SET heartbeat = clock_timestamp(), writer = asked.writer,
        renewals = coalesce(asked.renewals, lease.renewals + 1)
      FROM asked
      WHERE lease.name = asked.name AND lease.token = asked.token
        AND lease.renewals <= coalesce(asked.renewals, lease.renewals)
        AND split_part(lease.writer, ' ', 2) = asked.incarnation AND ${DURABLE_LEASE}
      RETURNING lease.name, lease.token, lease.renewals, lease.writer)
    SELECT 'true' AS done, name, ${LEASE_COLUMNS} FROM renewed
    UNION ALL
    SELECT 'false', name, ${LEASE_COLUMNS} FROM ${locks}
    WHERE name IN (SELECT name FROM asked) AND name NOT IN (SELECT name FROM renewed)`,
    values: [
      textArray(renewals.map(({ name }) => name)),
      textArray(renewals.map(({ token }) => String(token))),
      textArray(renewals.map(({ incarnation }) => incarnation)),
      textArray(renewals.map(({ writer }) => writer)),
      `{${renewals.map((renewal) => renewal.renewals ?? 'NULL').join()}}`,
    ],
  };
}

/**
 * The commit does not wait for the disk. If the server loses it in a crash, the lease ends by time. An acquisition that
 * follows it does wait, and with it this commit, which is earlier in the same log.
 */
export function releaseSql({ locks }: Names, name: string, token: bigint, incarnation: string): Statement {
  return {
    text: `UPDATE ${locks} SET writer = NULL
      WHERE name = $1::text AND token = $2::text::bigint AND split_part(writer, ' ', 2) = $3::text
        AND ${SHORT_LOCK_WAIT} AND ${NOT_DURABLE}
      RETURNING 'true' AS done`,
    values: [name, String(token), incarnation],
  };
}

/**
 * The beginning of every write of the log. `fence` has one row while the lease has the token, and keeps it so until the
 * commit: an acquisition waits, a renewal does not. `tick` then moves the clock of the log, whose row is locked until
 * the commit: so commits happen in the order of their timestamps. RETURNING is evaluated after that: a row that a
 * transaction of the user has added (`userAppendSql`) does not stop the clock until that transaction ends.
 *
 * The fence comes first in all of them, so that no two wait for each other.
 * @param lease number of the parameter with its name; the token follows
 * @param when further condition of the tick
 */
function fencedTick({ locks, clock }: Names, fenced: boolean, lease: number, when: string): string {
  return `${fenceCte(locks, fenced, lease)},
    tick AS (
      UPDATE ${clock} SET last = greatest(${NOW}, last + 1)
      WHERE (SELECT count(*) FROM fence) = 1 AND ${when} AND ${DURABLE_LOG}
      RETURNING last, set_config('lock_timeout', '${TICKED_LOCK_MS}', true))`;
}

function fenceCte(locks: string, fenced: boolean, lease: number): string {
  const fence = fenced
    ? `SELECT token FROM ${locks} WHERE name = $${lease}::text AND token = $${lease + 1}::text::bigint AND ${DURABLE_LOG}
        FOR KEY SHARE`
    : `SELECT $${lease}::text, $${lease + 1}::text`;
  return `fence AS (${fence})`;
}

/**
 * The fence of a transaction of the user: locks the row of a lease until the end of the transaction. If there is no such
 * row any more, the server fails the statement with `FENCE_LOST`. So it aborts the transaction, whatever the code of the
 * user does with the error.
 *
 * - The commit waits for the disk. A stronger setting of the user stays.
 * - The server ends a session that stays idle in the transaction for a whole lease, so that it does not hold up a
 *   take-over for longer. A shorter time of the user stays.
 * - `wrote` is null when the transaction has written nothing before. Only then it may be no transaction at all, and
 *   `inTransactionSql` finds out: outside of a transaction the mark is gone after the statement.
 */
export function userFenceSql({ locks }: Names, { lease, token }: Fence, mark: string): Statement {
  const heldMs = `coalesce(substring(writer FROM ' ([0-9]{1,9})$')::bigint, ${UNKNOWN_LEASE_MS})`;
  const row = `${locks} WHERE name = $1::text AND token = $2::text::bigint`;
  return { text: userFence(row, heldMs), values: [lease, String(token), mark] };
}

/** The same for a permit. */
export function userPermitFenceSql({ log }: Names, { semaphore, id, token }: PermitFence, mark: string): Statement {
  const row = `${log} WHERE key = $1::text AND id = $4::text AND timestamp = $2::text::bigint`;
  return {
    text: userFence(row, 'value::bigint'),
    values: [permitKey(id), String(token), mark, semaphoreKey(semaphore)],
  };
}

/** The lease is free, so its row has no length. */
const UNKNOWN_LEASE_MS = 10_000;

/** SQLSTATE of a text that is no integer. */
export const FENCE_LOST = '22P02';

/** @param heldMs of the row: how long it is held without renewal. */
function userFence(row: string, heldMs: string): string {
  const idle = 'idle_in_transaction_session_timeout';
  const idleNow = `extract(epoch FROM current_setting('${idle}')::interval) * 1000`;
  // The count makes the failing text no constant: PostgreSQL evaluates a constant before it runs the statement.
  return `WITH fence AS MATERIALIZED (
      SELECT ${heldMs} AS held_ms, pg_current_xact_id_if_assigned()::text AS wrote FROM ${row} FOR KEY SHARE),
    found AS MATERIALIZED (SELECT count(*) AS rows, max(held_ms) AS held_ms, max(wrote) AS wrote FROM fence)
    SELECT wrote,
      CASE WHEN rows = 0
        THEN ('nestjs-hedge: ' || rows || ' rows of "' || $1::text || '" have token ' || $2::text)::integer END AS lost,
      set_config('synchronous_commit',
        CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true) AS durable,
      set_config('${idle}', least(held_ms, nullif(${idleNow}, 0))::bigint::text, true) AS idle,
      set_config('hedge.fence', $3::text, true) AS mark
    FROM found`;
}

/** Whether the mark of a statement of the same transaction is there. */
export function inTransactionSql(mark: string): Statement {
  return {
    text: `SELECT (current_setting('hedge.fence', true) = $1::text)::text AS same`,
    values: [mark],
  };
}

function fenceValues(fence: Fence | undefined): PostgresValue[] {
  return fence === undefined ? [null, null] : [fence.lease, String(fence.token)];
}

/**
 * Adds the rows that are not there yet. The result says whether the fence matches (`fenced` is 1), how many rows were
 * added, and with which timestamp. If fewer were added than given, `storedSql` reads those that were there already.
 */
export function appendSql(names: Names, rows: readonly LogAppend[], fence: Fence | undefined): Statement {
  return {
    text: `WITH ${fencedTick(names, fence !== undefined, 5, 'true')},
    added AS (
      INSERT INTO ${names.log} (key, id, value, leader, timestamp)
      SELECT asked.*, tick.last
      FROM tick, unnest($1::text::text[], $2::text::text[], $3::text::text[], $4::text::text[]) AS asked
      ON CONFLICT (key, id) DO NOTHING
      RETURNING timestamp)
    SELECT (SELECT count(*) FROM fence)::text AS fenced, count(*)::text AS added, max(timestamp)::text AS timestamp
    FROM added`,
    values: [...rowArrays(rows), ...fenceValues(fence)],
  };
}

/**
 * Adds the rows of the transactions whose conditions hold. One result for each item of all transactions: its place, `stored`
 * and `same` as in `storedSql`, whether its transaction is `open` (no row of it is there, and all conditions hold), the
 * `last` timestamp if rows were added, and whether the item is `refused`, with the newest row of its key. When these rows
 * have more than so many bytes together, the value of the others is null, and `later` says so.
 *
 * A statement does not see the commits for which it waits. So it adds nothing if the clock has moved since it began: every
 * write of the log moves the clock, and holds its lock until the commit. Then `last` is null although transactions are open.
 */
export function appendIfSql(
  names: Names,
  transactions: readonly LogTransaction[],
  fence: Fence | undefined,
  bytes: number,
): Statement {
  const items = transactions.flatMap((transaction, number) => transaction.map((item) => ({ ...item, number })));
  const texts = (text: (item: (typeof items)[number]) => string | undefined): string => textArray(items.map(text));
  const unmoved = 'EXISTS (SELECT FROM asked WHERE open) AND last = (SELECT last FROM seen)';
  return {
    text: `WITH seen AS MATERIALIZED (SELECT last FROM ${names.clock}),
    given AS (
      SELECT * FROM unnest($1::text::text[], $2::text::text[], $3::text::text[], $4::text::text[], $7::text::bigint[],
        $8::text::text[], $9::text::boolean[], $10::text::bigint[])
        WITH ORDINALITY AS given (key, id, value, leader, after, after_id, conditional, number, place)),
    found AS (
      SELECT given.*, own.timestamp AS stored, own.value = given.value AS same,
        newest.id AS newest_id, newest.value AS newest_value, newest.leader AS newest_leader, newest.timestamp AS newest,
        NOT conditional OR (newest.timestamp, newest.id) IS NOT DISTINCT FROM (given.after, given.after_id) AS holds
      FROM given
      LEFT JOIN ${names.log} AS own ON own.key = given.key AND own.id = given.id
      LEFT JOIN LATERAL (
        SELECT id, value, leader, timestamp FROM ${names.log} AS log WHERE log.key = given.key
        ORDER BY timestamp DESC, id DESC LIMIT 1) AS newest ON true),
    asked AS MATERIALIZED (
      SELECT *, bool_and(holds AND stored IS NULL) OVER whole AS open,
        NOT holds AND bool_and(stored IS NULL) OVER whole AS refused
      FROM found WINDOW whole AS (PARTITION BY number)),
    ${fencedTick(names, fence !== undefined, 5, unmoved)},
    added AS (
      INSERT INTO ${names.log} (key, id, value, leader, timestamp)
      SELECT key, asked.id, value, leader, tick.last FROM tick, asked WHERE open AND asked.id IS NOT NULL),
    answer AS (
      SELECT *, refused AND sum(CASE WHEN refused THEN coalesce(octet_length(newest_value), 0) ELSE 0 END)
        OVER (ORDER BY place) > $11::text::bigint AS later
      FROM asked)
    SELECT (SELECT count(*) FROM fence)::text AS fenced, (SELECT last FROM tick)::text AS last, place::text,
      stored::text, same::text, open::text, refused::text, later::text, newest_id AS id,
      CASE WHEN refused AND NOT later THEN newest_value END AS value, newest_leader AS leader, newest::text AS timestamp
    FROM answer`,
    values: [
      texts(({ key }) => key),
      texts(({ append }) => append?.id),
      texts(({ append }) => append?.value),
      texts(({ append }) => append?.leader),
      ...fenceValues(fence),
      `{${items.map(({ condition }) => condition?.follows?.timestamp ?? 'NULL').join()}}`,
      texts(({ condition }) => condition?.follows?.id),
      `{${items.map(({ condition }) => condition !== undefined).join()}}`,
      `{${items.map(({ number }) => number).join()}}`,
      String(bytes),
    ],
  };
}

/**
 * One result for each row that is there: its place among the rows that were asked for, its timestamp, and whether it has
 * the `same` value.
 */
export function storedSql(names: Names, rows: readonly LogAppend[]): Statement {
  const [keys = '', ids = '', values = ''] = rowArrays(rows);
  return {
    text: `SELECT asked.place::text, (log.value = asked.value)::text AS same, log.timestamp::text
    FROM unnest($1::text::text[], $2::text::text[], $3::text::text[]) WITH ORDINALITY AS asked (key, id, value, place)
    JOIN ${names.log} AS log ON log.key = asked.key AND log.id = asked.id`,
    values: [keys, ids, values],
  };
}

export function overwriteSql(names: Names, row: Omit<LogAppend, 'id'>, fence: Fence | undefined): Statement {
  return {
    text: `WITH ${fencedTick(names, fence !== undefined, 4, 'true')}
    INSERT INTO ${names.log} (key, id, value, leader, timestamp)
    SELECT $1::text, '${OVERWRITE_ID}', $2::text, $3::text, tick.last FROM tick
    ON CONFLICT (key, id) DO UPDATE SET
      value = excluded.value, leader = excluded.leader, timestamp = excluded.timestamp
    RETURNING timestamp::text`,
    values: [row.key, row.value, row.leader, ...fenceValues(fence)],
  };
}

/** Of the newest row: all rows of its key are to be deleted. @param before the parameter with `tombstonesBefore` */
function isBuriedSql(before: string): string {
  return `right(id, ${TOMBSTONE_SUFFIX.length}) = '${TOMBSTONE_SUFFIX}' AND timestamp < ${before}::text::bigint`;
}

/**
 * Deletes the oldest versions, and none of the `keep` newest ones. It takes no timestamp, so it blocks no other write. The
 * rows are locked before they are deleted: an overwritten row that became the newest one meanwhile does not meet the
 * condition any more. It skips no locked row, because a tombstone must not go before an older version. The commit does not
 * wait for the disk, because a crash only brings old versions back.
 */
export function trimSql({ locks, log }: Names, trim: LogTrim, fence?: Fence): Statement {
  const { key, keep, limit, record } = trim;
  const { before, tombstonesBefore } = trimBounds(trim);
  const newest = `SELECT id, timestamp FROM ${log} WHERE key = $1::text ORDER BY timestamp DESC, id DESC LIMIT 1`;
  const recorded =
    record === undefined
      ? ''
      : `recorded AS (
      INSERT INTO ${log} AS log (key, id, value, leader, timestamp)
      SELECT $8::text, '${OVERWRITE_ID}', (max(timestamp) + 1)::text, $9::text, max(timestamp) + 1
      FROM deleted HAVING count(*) > 0
      ON CONFLICT (key, id) DO UPDATE SET
        value = excluded.value, leader = excluded.leader, timestamp = excluded.timestamp
      WHERE log.timestamp < excluded.timestamp)`;
  return {
    text: `WITH ${fenceCte(locks, fence !== undefined, 5)},
    newest AS MATERIALIZED (
      SELECT ${isBuriedSql('$7')} AS buried FROM (${newest}) AS log
      WHERE (SELECT count(*) FROM fence) = 1 AND ${SHORT_LOCK_WAIT}),
    last AS MATERIALIZED (
      SELECT buried, log.* FROM newest, LATERAL (
        ${newest} OFFSET CASE WHEN buried THEN 0 ELSE $2::text::bigint END) AS log),
    old AS MATERIALIZED (
      SELECT log.id FROM last, LATERAL (
        SELECT log.id FROM ${log} AS log
        WHERE log.key = $1::text AND (log.timestamp, log.id) <= (last.timestamp, last.id)
          AND log.timestamp < CASE WHEN buried THEN $7::text::bigint ELSE $3::text::bigint END
        ORDER BY log.timestamp, log.id LIMIT $4::text::bigint FOR UPDATE OF log) AS log),
    deleted AS (
      DELETE FROM ${log} AS log USING old WHERE log.key = $1::text AND log.id = old.id AND ${NOT_DURABLE}
      RETURNING log.timestamp)${recorded === '' ? '' : `,\n    ${recorded}`}
    SELECT (SELECT count(*) FROM fence)::text AS fenced, count(*)::text AS deleted FROM deleted`,
    values: [
      key,
      String(keep),
      String(before),
      String(limit),
      ...fenceValues(fence),
      String(tombstonesBefore),
      ...(record === undefined ? [] : [compactedKey(record.prefix), record.leader]),
    ],
  };
}

/**
 * Keys as by `keysSql`, each with the timestamp of its oldest version, id and timestamp of its newest one, and whether it
 * has more than `keep` versions. Each is found by a few steps in an index.
 */
export function trimmableSql(names: Names, { prefix, after, keep, limit }: TrimmableQuery): Statement {
  const { log } = names;
  const keys = keysSql(names, prefix, limit, after);
  const newest = `FROM ${log} AS log WHERE log.key = page.key ORDER BY timestamp DESC, id DESC LIMIT 1`;
  return {
    text: `SELECT page.key, page.id, page.standby, (SELECT timestamp ${newest})::text AS newest,
      (SELECT timestamp FROM ${log} AS log WHERE log.key = page.key ORDER BY timestamp, id LIMIT 1)::text AS oldest,
      (EXISTS (SELECT ${newest} OFFSET $4::text::bigint))::text AS more
    FROM (${keys.text}) AS page`,
    values: [...keys.values, String(keep)],
  };
}

/**
 * The timestamp of the last record of deleted versions that concerns the keys with a prefix. There are few records: one for
 * each prefix of the option. @param prefix the parameter with the prefix
 */
function compactedSql({ log }: Names, prefix: string, exact: boolean): string {
  const own = `'${COMPACTED}' || ${prefix}::text`;
  const inside = exact ? '' : `OR starts_with(key, ${own})`;
  return `SELECT max(timestamp) FROM ${log} WHERE key >= '${COMPACTED}' AND key < '${COMPACTED_END}'
        AND (starts_with(${own}, key) ${inside})`;
}

export interface StoredMirror {
  readonly key: string;
  readonly value: string | undefined;
}

/**
 * Makes the row the only one of its semaphore if the one there has the timestamp `follows` (0 for none), and writes or
 * deletes the mirrors with it. No result when it does not, or when the fence does not match.
 *
 * A transaction of the user may hold the row of a permit that this write frees. So the rows to delete are locked before
 * the tick, without a wait: the statement fails with 55P03, and blocks no other write of the log.
 */
export function replaceSql(
  names: Names,
  row: LogAppend,
  follows: bigint,
  mirrors: readonly StoredMirror[],
  fence: Fence,
): Statement {
  const written = mirrors.filter(({ value }) => value !== undefined);
  const gone = mirrors.filter(({ value }) => value === undefined);
  return {
    text: `WITH free AS MATERIALIZED (
      SELECT FROM ${names.log} AS log JOIN unnest($8::text::text[]) AS mirror (key) ON log.key = mirror.key
      WHERE log.id = $1::text FOR UPDATE OF log NOWAIT),
    ${fencedTick(names, true, 9, '(SELECT count(*) FROM free) >= 0')},
    written AS (
      INSERT INTO ${names.log} AS log (key, id, value, leader, timestamp)
      SELECT $1::text, $2::text, $3::text, $4::text, tick.last FROM tick
      WHERE $5::text = '0' OR EXISTS (SELECT FROM ${names.log} WHERE key = $1::text)
      ON CONFLICT (key) WHERE ${IS_SEMAPHORE} DO UPDATE SET
        id = excluded.id, value = excluded.value, leader = excluded.leader, timestamp = excluded.timestamp
      WHERE log.timestamp = $5::text::bigint
      RETURNING timestamp),
    mirrored AS (
      INSERT INTO ${names.log} (key, id, value, leader, timestamp)
      SELECT mirror.key, $1::text, mirror.value, $4::text, written.timestamp
      FROM unnest($6::text::text[], $7::text::text[]) AS mirror (key, value), written
      ON CONFLICT (key, id) DO UPDATE SET
        value = excluded.value, leader = excluded.leader, timestamp = excluded.timestamp),
    gone AS (
      DELETE FROM ${names.log} AS log USING unnest($8::text::text[]) AS mirror (key), written
      WHERE log.key = mirror.key AND log.id = $1::text)
    SELECT timestamp::text FROM written`,
    values: [
      row.key,
      row.id,
      row.value,
      row.leader,
      String(follows),
      textArray(written.map(({ key }) => key)),
      textArray(written.map(({ value }) => value ?? '')),
      textArray(gone.map(({ key }) => key)),
      ...fenceValues(fence),
    ],
  };
}

/** A timestamp for a row of a transaction of the user. It is not on the disk before that row, so its commit need not wait. */
export function tickSql({ clock }: Names): Statement {
  return {
    text: `UPDATE ${clock} SET last = greatest(${NOW}, last + 1)
      WHERE ${NOT_DURABLE} AND ${SHORT_LOCK_WAIT}
      RETURNING last::text`,
    values: [],
  };
}

/** Fails when the row is there. */
export function userAppendSql({ log }: Names, { key, id, value, leader }: LogAppend, timestamp: bigint): Statement {
  return {
    text: `INSERT INTO ${log} (key, id, value, leader, timestamp)
      VALUES ($1::text, $2::text, $3::text, $4::text, $5::text::bigint)`,
    values: [key, id, value, leader, String(timestamp)],
  };
}

/** Whether a permit is held. */
export function permitSql({ log }: Names, { semaphore, id, token }: PermitFence): Statement {
  return {
    text: strongly(`SELECT 'true' AS held FROM ${log}
      WHERE key = $1::text AND id = $2::text AND timestamp = $3::text::bigint`),
    values: [permitKey(id), semaphoreKey(semaphore), String(token)],
  };
}

/** The newest version of a key. */
export function latestSql({ log }: Names, key: string): Statement {
  return {
    text: strongly(`SELECT id, value, leader, timestamp::text FROM ${log} WHERE key = $1::text
      ORDER BY ${log}.timestamp DESC, id DESC LIMIT 1`),
    values: [key],
  };
}

/**
 * The newest version of each key, with its place in the list from 1; one of nulls for a key without a version. The answer
 * ends with the version that reaches so many bytes. `octet_length` reads no value that is stored apart.
 */
export function latestOfSql({ log }: Names, keys: readonly string[], bytes: number): Statement {
  return {
    text: strongly(`SELECT place::text, id, value, leader, timestamp::text FROM (
      SELECT asked.place, newest.*,
        sum(coalesce(octet_length(value), 0)) OVER (ORDER BY place ROWS UNBOUNDED PRECEDING)
          - coalesce(octet_length(value), 0) AS bytes_before
      FROM unnest($1::text::text[]) WITH ORDINALITY AS asked (key, place)
      LEFT JOIN LATERAL (
        SELECT id, value, leader, timestamp FROM ${log} AS log WHERE log.key = asked.key
        ORDER BY timestamp DESC, id DESC LIMIT 1) AS newest ON true) AS page
      WHERE bytes_before < $2::text::bigint`),
    values: [textArray(keys), String(bytes)],
  };
}

/** The newest row of a semaphore, and the token of a lease. */
export function semaphoreSql({ log, locks }: Names, key: string, lease: string): Statement {
  return {
    text: strongly(`SELECT (SELECT token FROM ${locks} WHERE name = $2::text)::text AS token, newest.*
      FROM (SELECT 1) AS one LEFT JOIN (
        SELECT id, value, leader, timestamp::text FROM ${log} WHERE key = $1::text
        ORDER BY ${log}.timestamp DESC, id DESC LIMIT 1) AS newest ON true`),
    values: [key, lease],
  };
}

export interface StoredHistoryQuery {
  readonly limit: number;
  readonly newestFirst: boolean;
  /** Exclusive, nanoseconds. */
  readonly before: bigint;
  /** Exclusive, nanoseconds. */
  readonly after: bigint;
  /** The last version of the page before: go on behind it. */
  readonly from: { readonly timestamp: bigint; readonly id: string } | undefined;
  /** The page ends with the version that reaches so many bytes. */
  readonly bytes: number;
}

export function historySql({ log }: Names, key: string, query: StoredHistoryQuery): Statement {
  const { limit, newestFirst, before, after, from, bytes } = query;
  const [order, behind] = newestFirst ? ['DESC', '<'] : ['ASC', '>'];
  const start = from === undefined ? '' : `AND (timestamp, id) ${behind} ($6::text::bigint, $7::text COLLATE "C")`;
  return {
    text: strongly(`SELECT id, value, leader, timestamp::text FROM (
      SELECT id, value, leader, timestamp,
        sum(octet_length(value)) OVER (ORDER BY timestamp ${order}, id ${order} ROWS UNBOUNDED PRECEDING)
          - octet_length(value) AS bytes_before
      FROM ${log}
      WHERE key = $1::text AND timestamp < $2::text::bigint AND timestamp > $3::text::bigint ${start}
      ORDER BY timestamp ${order}, id ${order} LIMIT $4::text::bigint) AS page
      WHERE bytes_before < $5::text::bigint ORDER BY page.timestamp ${order}, id ${order}`),
    values: [
      key,
      String(before),
      String(after),
      String(limit),
      String(bytes),
      ...(from === undefined ? [] : [String(from.timestamp), from.id]),
    ],
  };
}

/**
 * Distinct keys with the id of their newest row, by a jump in the index from each key to the next, so that the number of
 * versions does not matter.
 */
export function keysSql({ log }: Names, prefix: string, limit: number, after: string | undefined): Statement {
  const beyond = after !== undefined && Buffer.compare(Buffer.from(after), Buffer.from(prefix)) >= 0;
  return {
    text: strongly(`WITH RECURSIVE found (key) AS (
        (SELECT key FROM ${log} WHERE key ${beyond ? '>' : '>='} $1::text ORDER BY key LIMIT 1)
        UNION ALL
        SELECT (SELECT next.key FROM ${log} AS next WHERE next.key > found.key ORDER BY next.key LIMIT 1)
        FROM found WHERE starts_with(found.key, $2::text))
      SELECT key, (SELECT id FROM ${log} AS log WHERE log.key = found.key ORDER BY timestamp DESC, id DESC LIMIT 1) AS id
      FROM found WHERE starts_with(key, $2::text) LIMIT $3::text::bigint`),
    values: [beyond ? after : prefix, prefix, String(limit)],
  };
}

/** The rows that one `changesSql` searches. */
export const SEARCHED_ROWS = 1_000;

/**
 * The rows of all keys with a prefix behind a place, by the index of commits, up to the row that reaches so many bytes. It
 * searches `SEARCHED_ROWS` behind the place. A further result of kind `end` is the last searched row, with their number,
 * one of kind `compacted` has the timestamp of the last record of deleted versions, and one of kind `clock` is not before the
 * timestamps of all visible rows.
 */
export function changesSql(names: Names, query: ChangesQuery, bytes: number): Statement {
  const { log } = names;
  const { prefix, exact, after, limit } = query;
  const order = 'ORDER BY timestamp, id, key';
  return {
    text: strongly(`WITH searched AS MATERIALIZED (
        SELECT key, id, value, leader, timestamp FROM ${log}
        WHERE timestamp >= $2::text::bigint AND (timestamp > $2::text::bigint OR id > $3::text OR id = $3::text AND key > $4::text)
          ${exact ? 'AND key = $1::text' : ''}
        ${order} LIMIT ${SEARCHED_ROWS}),
      found AS (
        SELECT *, sum(octet_length(value)) OVER (${order} ROWS UNBOUNDED PRECEDING) - octet_length(value) AS bytes_before
        FROM searched WHERE starts_with(key, $1::text) ${order} LIMIT $5::text::bigint)
      SELECT 'row' AS kind, key, id, value, leader, timestamp::text, NULL AS searched
      FROM found WHERE bytes_before < $6::text::bigint
      UNION ALL
      SELECT 'end', key, id, NULL, NULL, timestamp::text, (SELECT count(*) FROM searched)::text
      FROM (SELECT * FROM searched ORDER BY timestamp DESC, id DESC, key DESC LIMIT 1) AS last
      UNION ALL
      SELECT 'compacted', '', '', NULL, NULL, (${compactedSql(names, '$1', exact)})::text, NULL
      UNION ALL
      SELECT 'clock', '', '', NULL, NULL, last::text, NULL FROM ${names.clock}`),
    values: [prefix, String(after.timestamp), after.id, after.key, String(limit), String(bytes)],
  };
}

/** Each write of the log moves the clock, and its lock orders the commits. */
export function lastTimestampSql({ clock }: Names): Statement {
  return { text: strongly(`SELECT last::text FROM ${clock}`), values: [] };
}

export function tokenSql({ locks }: Names, lease: string): Statement {
  return {
    text: strongly(`SELECT token::text FROM ${locks} WHERE name = $1::text`),
    values: [lease],
  };
}

function rowArrays(rows: readonly LogAppend[]): string[] {
  return [
    textArray(rows.map(({ key }) => key)),
    textArray(rows.map(({ id }) => id)),
    textArray(rows.map(({ value }) => value)),
    textArray(rows.map(({ leader }) => leader)),
  ];
}

/** An array as PostgreSQL reads it, which every client library hands over as it is. */
function textArray(texts: readonly (string | undefined)[]): string {
  const items = texts.map((text) => (text === undefined ? 'NULL' : `"${text.replaceAll(/["\\]/g, '\\$&')}"`));
  return `{${items.join(',')}}`;
}
