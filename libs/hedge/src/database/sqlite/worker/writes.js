// @ts-check

/**
 * @import { Fenced, Operations, StoredLease, StoredOutcome, StoredVersion, WriteName } from '../protocol.js'
 * @import { Fence, LogTransaction } from '../../log-table.js'
 * @import { LeaseMarker } from '../../observed-lease.js'
 * @import { RowClock } from './clock.js'
 * @import { Statements } from './connections.js'
 */

const OVERWRITE_ID = '-';
const TOMBSTONE_SUFFIX = '-deleted';

/**
 * Whether a process may acquire a lease.
 * @param {StoredLease} row
 * @param {string} incarnation of the process
 * @param {LeaseMarker | undefined} expired
 */
export function mayTake(row, incarnation, expired) {
  return (
    row.writer === null ||
    incarnationOf(row.writer) === incarnation ||
    (expired !== undefined && row.token === expired.token && row.renewals === expired.renewals)
  );
}

/**
 * The part of a write that runs inside of a transaction, so that several can share one. Each is synchronous; an error
 * rolls back only that write.
 * @type {{ readonly [Name in WriteName]: (statements: Statements, ...args: Parameters<Operations[Name]>) => ReturnType<Operations[Name]> }}
 */
export const WRITES = {
  acquire(statements, name, writer, incarnation, expired, above) {
    const row = toLease(statements.clock, statements.readLeaseToWrite.get(name));
    if (!mayTake(row, incarnation, expired)) return { acquired: false, row };
    const token = nextTimestamp(statements, above);
    const marker = { token, renewals: 0n };
    statements.takeLease.run(name, wallNanoseconds(), token, writer, statements.clock.stamp(marker));
    return { acquired: true, row: { ...marker, writer } };
  },

  renew(statements, renewals) {
    return renewals.map(({ name, token, incarnation, writer, renewals }) => {
      const row = toLease(statements.clock, statements.readLeaseToWrite.get(name));
      const held = row.token === token && incarnationOf(row.writer) === incarnation;
      const next = renewals ?? row.renewals + 1n;
      // A renewal that was overtaken by a later one changes nothing.
      const renewed = held && row.renewals <= next;
      if (renewed) {
        const stamp = statements.clock.stamp({ token, renewals: next });
        statements.renewLease.run(wallNanoseconds(), writer, next, stamp, name);
      }
      return { renewed, name, row };
    });
  },

  release(statements, name, token, incarnation) {
    const row = toLease(statements.clock, statements.readLeaseToWrite.get(name));
    const held = row.token === token && incarnationOf(row.writer) === incarnation;
    if (held) statements.clearLease.run(name);
    return held;
  },

  append(statements, rows, fence) {
    const fenced = fencedBy(statements, fence);
    if (fenced !== undefined) return fenced;
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
  },

  appendIf(statements, transactions, fence) {
    const fenced = fencedBy(statements, fence);
    if (fenced !== undefined) return fenced;
    /** @type {bigint | undefined} */
    let commit;
    const outcomes = transactions.map((items) => {
      const outcome = outcomeOf(statements, items);
      if (outcome !== undefined) return outcome;
      commit ??= nextTimestamp(statements);
      for (const { key, append } of items) {
        if (append !== undefined) statements.insertVersion.run(append.id, key, append.value, append.leader, commit);
      }
      return commit;
    });
    return { outcomes };
  },

  overwrite(statements, { key, value, leader }, fence) {
    const fenced = fencedBy(statements, fence);
    if (fenced !== undefined) return fenced;
    const timestamp = nextTimestamp(statements);
    statements.overwriteVersion.run(OVERWRITE_ID, key, value, leader, timestamp);
    return { timestamp };
  },

  trim(statements, { key, keep, before, tombstonesBefore, limit, record }, fence) {
    const fenced = fencedBy(statements, fence);
    if (fenced !== undefined) return fenced;
    const [id = '', , , timestamp = 0n] = /** @type {StoredVersion | []} */ (statements.latestToWrite.get(key) ?? []);
    const buried = id.endsWith(TOMBSTONE_SUFFIX) && timestamp < tombstonesBefore;
    const deleted = /** @type {[bigint][]} */ (
      buried ? statements.trim.all(key, 0, tombstonesBefore, limit) : statements.trim.all(key, keep, before, limit)
    );
    const last = deleted.reduce((latest, [at]) => (at > latest ? at : latest), -1n) + 1n;
    if (record !== undefined && deleted.length > 0) {
      statements.raiseVersion.run(OVERWRITE_ID, record.key, String(last), record.leader, last);
    }
    return { trimmed: deleted.length };
  },

  replace(statements, { key, id, value, leader }, follows, mirrors, fence) {
    const fenced = fencedBy(statements, fence);
    if (fenced !== undefined) return fenced;
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
  },
};

/**
 * The outcome of a transaction by the rows that are there; undefined when its rows are to be appended.
 * @param {Statements} statements
 * @param {LogTransaction} items
 * @returns {StoredOutcome | undefined}
 */
function outcomeOf(statements, items) {
  /** @type {bigint | undefined} */
  let written;
  for (const [place, { key, append }] of items.entries()) {
    if (append === undefined) continue;
    const stored = /** @type {[string, bigint] | undefined} */ (statements.readVersion.get(key, append.id));
    if (stored === undefined) continue;
    if (stored[0] !== append.value) return { differs: place };
    written = stored[1];
  }
  if (written !== undefined) return written;
  const refused = items.flatMap(({ key, condition }, place) => {
    if (condition === undefined) return [];
    const { follows } = condition;
    const newest = /** @type {StoredVersion | undefined} */ (statements.latestToWrite.get(key));
    return newest?.[0] === follows?.id && newest?.[3] === follows?.timestamp ? [] : [{ place, newest }];
  });
  return refused.length > 0 ? { refused } : undefined;
}

/**
 * The result of a fenced write; undefined when the write may proceed.
 * @param {Statements} statements
 * @param {Fence | undefined} fence
 * @returns {Fenced | undefined}
 */
function fencedBy(statements, fence) {
  if (fence === undefined) return undefined;
  const { token } = toLease(statements.clock, statements.readLeaseToWrite.get(fence.lease));
  return token === fence.token ? undefined : { foundToken: token };
}

/**
 * The next timestamp: the wall clock, or one more than the last if the clock went back or stood still.
 * @param {Statements} statements
 * @param {bigint} [above] the result is greater than this too
 */
function nextTimestamp(statements, above = 0n) {
  const [stored] = /** @type {[bigint]} */ (statements.readClock.get());
  const last = stored > above ? stored : above;
  const wall = wallNanoseconds();
  const next = wall > last ? wall : last + 1n;
  statements.writeClock.run(next);
  return next;
}

function wallNanoseconds() {
  return BigInt(Date.now()) * 1_000_000n;
}

/**
 * @param {RowClock} clock
 * @param {unknown} row
 * @returns {StoredLease}
 */
export function toLease(clock, row) {
  if (row === undefined) return { token: 0n, renewals: 0n, writer: null };
  const [token, renewals, writer, stamp] = /** @type {[bigint, bigint, string | null, string | null]} */ (row);
  return { token, renewals, writer, ageMs: clock.age({ token, renewals }, stamp) };
}

/** @param {string | null} writer a text of `formatWriter` */
function incarnationOf(writer) {
  return writer?.split(' ')[1];
}
