import type { LogEntry } from '../backend/log.js';
import { HedgeError } from '../common/errors.js';

/**
 * One version of a key. Survives `JSON.stringify`, so a controller can return it.
 *
 * @example
 * {
 *   key: 'orders/17', value: 'paid', id: '0199c2a1-…', leader: '10.0.0.7:7400',
 *   timestamp: new Date('2026-01-01T00:00:00.123Z'), version: '1767225600123456789',
 * }
 */
export interface KvEntry {
  readonly key: string;
  readonly value: string;
  /** UUID of this version; `-` for a value that was put with `append: false`. */
  readonly id: string;
  /** Advertised address of the leader that wrote it. */
  readonly leader: string;
  /** When it was committed, cut to milliseconds. */
  readonly timestamp: Date;
  /**
   * When it was committed, in nanoseconds since 1970, in decimal: too large for a number. Versions that
   * were committed together have the same; their ids order them.
   */
  readonly version: string;
}

/**
 * A place in a key's history: a time, a `version`, or an entry. Only an entry names one exact place:
 * several entries can have one version, and many a millisecond.
 */
export type KvCursor = Date | string | Pick<KvEntry, 'version' | 'id'>;

export function toKvEntry({ key, value, id, leader, timestamp }: LogEntry): KvEntry {
  return {
    key,
    value,
    id,
    leader,
    timestamp: new Date(Number(timestamp / 1_000_000n)),
    version: timestamp.toString(),
  };
}

/** A cursor as the backend compares it: nanoseconds, and the id where the cursor is one entry. */
export function parseCursor(option: 'before' | 'after', cursor: KvCursor): { timestamp: bigint; id?: string } {
  if (cursor instanceof Date && !Number.isNaN(cursor.getTime())) {
    return { timestamp: BigInt(cursor.getTime()) * 1_000_000n };
  }
  const { version, id } =
    typeof cursor === 'object' && cursor !== null && !(cursor instanceof Date)
      ? cursor
      : { version: cursor, id: undefined };
  if (typeof version === 'string' && /^\d{1,19}$/.test(version)) {
    return { timestamp: BigInt(version), ...(id !== undefined && { id }) };
  }
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `"${option}" is ${JSON.stringify(cursor)}, which is no place in a history. Give a valid Date, a version (nanoseconds as a decimal string), or an entry.`,
  );
}
