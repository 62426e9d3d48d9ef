import {
  clampTimestamp,
  EXPIRED_SUFFIX,
  GREATEST_TIMESTAMP,
  isTombstone,
  placeAt,
  type LogEntry,
  type LogPlace,
  type LogPosition,
} from '../database/log-table.js';
import { withTokenInJson } from '../common/token-in-json.js';
import { HedgeError } from '../common/errors.js';

/**
 * One version of a key. A controller can return it: `JSON.stringify` writes the version as text.
 *
 * @example
 * {
 *   key: 'orders/17', value: 'paid', id: '0199c2a1-…', leader: '10.0.0.7:7400',
 *   timestamp: new Date('2026-01-01T00:00:00.123Z'), version: 1767225600123456789n,
 * }
 */
export interface KvEntry {
  readonly key: string;
  readonly value: string;
  /**
   * UUID of this version, with its place if it was written in a transaction, and `-deleted` at its end if it deletes the
   * key; `-` for a value put with `append: false`. When a version expires, the id of the deletion begins with its id.
   */
  readonly id: string;
  /** Advertised address of the leader that wrote it; in the result of a put, of the leader that acknowledged it. */
  readonly leader: string;
  /** The commit time, rounded down to milliseconds. */
  readonly timestamp: Date;
  /**
   * The commit time in nanoseconds since 1970. Versions of one commit have the same time; their ids order them.
   */
  readonly version: bigint;
  /** Present when this version deletes the key: then `value` is empty. */
  readonly deleted?: true;
  /**
   * Present when the leader has deleted the key because its time to live has passed, or because its process has left the
   * group. Then `deleted` is present, too.
   */
  readonly expired?: true;
  /**
   * Present on the oldest version that `history` found, if `kv.retention` has deleted versions of keys with its prefix, and so
   * may have deleted versions before it.
   */
  readonly compacted?: true;
}

/**
 * A position in the history of a key: a time, a `version`, or an entry. Only an entry is one exact position: several
 * entries can have the same version, and many can have the same millisecond. A version may also be text, as in JSON.
 */
export type KvCursor = Date | bigint | string | KvVersion;

/** One exact version of a key: an entry, or its `version` and `id`. The version may be text, as in JSON. */
export interface KvVersion {
  readonly version: bigint | string;
  readonly id: string;
}

export function toKvEntry({ key, value, id, leader, timestamp }: LogEntry): KvEntry {
  return withTokenInJson({
    key,
    value,
    id,
    leader,
    timestamp: new Date(Number(timestamp / 1_000_000n)),
    version: timestamp,
    ...(isTombstone({ id }) && { deleted: true as const }),
    ...(id.endsWith(EXPIRED_SUFFIX) && { expired: true as const }),
  });
}

/** A cursor for the database: nanoseconds, and the id when the cursor is an entry. */
export function parseCursor(option: 'before' | 'after', cursor: KvCursor): { timestamp: bigint; id?: string } {
  const time = timeOf(cursor);
  if (time !== undefined) return { timestamp: time };
  const { version, id }: { version: unknown; id?: unknown } =
    typeof cursor === 'object' && cursor !== null && 'version' in cursor ? cursor : { version: cursor };
  if (isVersion(version)) return { timestamp: BigInt(version), ...(typeof id === 'string' && { id }) };
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `"${option}" is ${shownCursor(cursor)}, which is not a position in a history. Give a valid Date, a version (a bigint of nanoseconds, or the same as text), or an entry.`,
  );
}

/**
 * The place behind which a watch begins.
 * @param prefix of each key in the log table.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function parseFrom(from: unknown, prefix: string): LogPlace {
  const time = timeOf(from);
  if (time !== undefined) return placeAt(time);
  const { key, version, id } = (typeof from === 'object' && from !== null ? from : {}) as Partial<
    Record<keyof KvEntry, unknown>
  >;
  if (isVersion(version) && typeof id === 'string' && typeof key === 'string') {
    return { timestamp: BigInt(version), id, key: prefix + key };
  }
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `"from" is ${shownCursor(from)}, which is not one exact place in the log. Give an entry, or { key, version, id } of it, because the rows of one commit have the same version; or give a valid Date.`,
  );
}

/**
 * The position of a version in the log table.
 * @throws HedgeError INVALID_ARGUMENT for anything but one exact version.
 */
export function parseVersion(call: string, given: unknown): LogPosition {
  const { version, id } = (typeof given === 'object' && given !== null ? given : {}) as Partial<KvVersion>;
  if (isVersion(version) && typeof id === 'string') return { timestamp: BigInt(version), id };
  const fix =
    given === undefined
      ? 'For a key without a value, set "ifAbsent" instead.'
      : 'Give an entry, or { version, id }: versions of one commit differ only in their ids.';
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `"ifVersion" of ${call} is ${shownCursor(given) ?? 'undefined'}, which is not one exact version. ${fix}`,
  );
}

function isVersion(version: unknown): version is bigint | string {
  const isText = typeof version === 'bigint' || typeof version === 'string';
  return isText && /^\d{1,19}$/.test(String(version)) && BigInt(version) < GREATEST_TIMESTAMP;
}

/** Nanoseconds of a valid Date. */
function timeOf(cursor: unknown): bigint | undefined {
  if (!(cursor instanceof Date) || Number.isNaN(cursor.getTime())) return undefined;
  const time = BigInt(cursor.getTime()) * 1_000_000n;
  return time < 0n ? 0n : clampTimestamp(time);
}

function shownCursor(cursor: unknown): string | undefined {
  return JSON.stringify(cursor, (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value));
}
