import type { KeyRange } from '../common/sorted-map.js';
import { floorDiv, NANOS_PER_SECOND } from '../common/timestamps.js';
import { PENDING, type ScalarType, type Value } from '../sql/types.js';

/*
 * A key is a string of bytes (one per character) whose order is the order of the key's values, and in which no
 * complete key is a prefix of another: so one string serves as the name of a row, its place, and a bound.
 * NULL is 00, a value is 01 and its bytes; a descending part has all its bytes inverted.
 */

export interface KeyColumn {
  /** Position in the table's columns. */
  readonly column: number;
  readonly type: ScalarType;
  readonly descending: boolean;
}

/** Above every byte: ends the range of all keys with a prefix. */
const ABOVE = '\u0100';
/** An unknown commit timestamp sorts last, as it will after the commit. */
const PENDING_BYTES = '\x01\xff';

const invert = (bytes: string): string => {
  let inverted = '';
  for (let i = 0; i < bytes.length; i++) inverted += String.fromCharCode(255 - bytes.charCodeAt(i));
  return inverted;
};

/** 00 becomes 00 ff, so that the terminator 00 01 orders a string before its extensions. */
const escape = (bytes: string): string => (bytes.includes('\0') ? bytes.replaceAll('\0', '\0\xff') : bytes);

// oxlint-disable-next-line no-control-regex -- NUL is what the encoding has to escape
const PLAIN = /^[\x01-\x7f]*$/;
const utf8 = (text: string): string => (PLAIN.test(text) ? text : escape(Buffer.from(text).toString('latin1')));

const unsigned = (value: bigint, bytes: number): string =>
  Buffer.from(value.toString(16).padStart(bytes * 2, '0'), 'hex').toString('latin1');

const float = (value: number): string => {
  const buffer = Buffer.alloc(8);
  // NaN first, and one zero: -0 equals 0.
  buffer.writeDoubleBE(Number.isNaN(value) ? -Infinity : value + 0);
  const bits = buffer.readBigUInt64BE();
  const ordered = bits >= 2n ** 63n ? 2n ** 64n - 1n - bits : bits + 2n ** 63n;
  return (Number.isNaN(value) ? '\x00' : '\x01') + unsigned(ordered, 8);
};

const timestamp = (nanos: bigint): string => {
  const seconds = floorDiv(nanos, NANOS_PER_SECOND);
  return unsigned(seconds + 2n ** 39n, 5) + unsigned(nanos - seconds * NANOS_PER_SECOND, 4);
};

/** The bytes of a non-null value, without the terminator of a STRING or BYTES. */
const body = (value: Exclude<Value, null | typeof PENDING>, type: ScalarType): string => {
  if (typeof value === 'string') return utf8(value);
  if (typeof value === 'bigint') return type === 'TIMESTAMP' ? timestamp(value) : unsigned(value + 2n ** 63n, 8);
  if (typeof value === 'number') return float(value);
  if (typeof value === 'boolean') return value ? '\x01' : '\x00';
  return escape(Buffer.from(value).toString('latin1'));
};

export const encodePart = (value: Value, { type, descending }: Pick<KeyColumn, 'type' | 'descending'>): string => {
  if (value === null) return descending ? '\xff' : '\x00';
  let bytes: string;
  if (value === PENDING) bytes = PENDING_BYTES;
  else bytes = `\x01${body(value, type)}${type === 'STRING' || type === 'BYTES' ? '\0\x01' : ''}`;
  return descending ? invert(bytes) : bytes;
};

/** The key of a row, or the prefix of one when there are fewer values than columns. */
export const encodeKey = (values: readonly Value[], columns: readonly KeyColumn[]): string => {
  let key = '';
  for (let i = 0; i < values.length; i++) key += encodePart(values[i]!, columns[i]!);
  return key;
};

export const rowKey = (row: readonly Value[], columns: readonly KeyColumn[]): string => {
  let key = '';
  for (const part of columns) key += encodePart(row[part.column]!, part);
  return key;
};

export const prefixRange = (prefix: string): KeyRange => ({ start: prefix, end: prefix + ABOVE });
export const FULL_RANGE = prefixRange('');

/** The bound just above every key that starts with `prefix`. */
export const after = (prefix: string): string => prefix + ABOVE;

/** The range of values with a STRING or BYTES prefix, after a prefix of earlier key parts. */
export const startsWithRange = (before: string, value: string | Uint8Array, part: KeyColumn): KeyRange => {
  const bytes = `\x01${body(value, part.type)}`;
  return prefixRange(before + (part.descending ? invert(bytes) : bytes));
};

/** The range of the non-null values of a key part. */
export const nonNullRange = (before: string, { descending }: KeyColumn): KeyRange =>
  prefixRange(before + (descending ? '\xfe' : '\x01'));

export const pointRange = (key: string): KeyRange => ({ start: key, end: `${key}\0` });

export const isPoint = ({ start, end }: KeyRange): boolean => end.length === start.length + 1 && end === `${start}\0`;
