import { outOfRange, unimplemented } from './status.js';

/** Nanoseconds since the Unix epoch: the representation of a TIMESTAMP in the emulator. */
export type Nanos = bigint;

export const NANOS_PER_MICRO = 1_000n;
export const NANOS_PER_MILLI = 1_000_000n;
export const NANOS_PER_SECOND = 1_000_000_000n;

/** 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999999Z, the ends of Spanner's TIMESTAMP. */
const MIN = -62_135_596_800n * NANOS_PER_SECOND;
const MAX = 253_402_300_800n * NANOS_PER_SECOND - 1n;

/** Division that rounds down, also for instants before 1970. */
export const floorDiv = (value: bigint, by: bigint): bigint => {
  const quotient = value / by;
  return value % by < 0n ? quotient - 1n : quotient;
};

export const checkRange = (nanos: Nanos): Nanos => {
  if (nanos < MIN || nanos > MAX) throw outOfRange('Timestamp is out of range: 0001-01-01 to 9999-12-31');
  return nanos;
};

const SHAPE =
  /^(\d{4})-(\d{1,2})-(\d{1,2})(?:[Tt ](\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{1,9}))?)? ?([Zz]|[+-]\d{1,2}(?::\d{2})?)?$/;

/** Texts without a time zone, for which Spanner assumes America/Los_Angeles, or with a named one. */
const OTHER_ZONE =
  /^\d{4}-\d{1,2}-\d{1,2}(?:[Tt ]\d{1,2}:\d{1,2}:\d{1,2}(?:\.\d{1,9})?)?(?: ?(?![Zz]$)[A-Za-z][\w/+-]*)?$/;

/** Parses a timestamp in a statement. Undefined for other texts; UNIMPLEMENTED without an offset from UTC. */
export const parseSqlTimestamp = (text: string): Nanos | undefined => {
  if (OTHER_ZONE.test(text)) throw unimplemented(`TIMESTAMP text without Z or an offset from UTC: "${text}"`);
  return parseTimestamp(text);
};

/** Parses RFC 3339 and the other forms of SQL literals. Undefined for other texts, or without an offset from UTC. */
export const parseTimestamp = (text: string): Nanos | undefined => {
  const match = SHAPE.exec(text);
  if (match?.[8] === undefined) return undefined;
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map((part) => Number(part ?? 0));
  const date = new Date(0);
  date.setUTCFullYear(year!, month! - 1, day);
  date.setUTCHours(hour!, minute, second);
  const sameDay = date.getUTCFullYear() === year && date.getUTCMonth() === month! - 1 && date.getUTCDate() === day;
  if (!sameDay || hour! > 23 || minute! > 59 || second! > 59) return undefined;
  const [zoneHours, zoneMinutes] = /^[Zz]$/.test(match[8]) ? [0, 0] : match[8].slice(1).split(':').map(Number);
  const offset = (zoneHours! * 60 + (zoneMinutes ?? 0)) * (match[8].startsWith('-') ? -1 : 1);
  const nanos =
    BigInt(date.getTime() - offset * 60_000) * NANOS_PER_MILLI + BigInt((match[7] ?? '').padEnd(9, '0') || '0');
  return nanos < MIN || nanos > MAX ? undefined : nanos;
};

const fraction = (nanos: Nanos): string => {
  const rest = nanos - floorDiv(nanos, NANOS_PER_SECOND) * NANOS_PER_SECOND;
  if (rest === 0n) return '';
  if (rest % NANOS_PER_MILLI === 0n) return `.${(rest / NANOS_PER_MILLI).toString().padStart(3, '0')}`;
  if (rest % NANOS_PER_MICRO === 0n) return `.${(rest / NANOS_PER_MICRO).toString().padStart(6, '0')}`;
  return `.${rest.toString().padStart(9, '0')}`;
};

/** RFC 3339 in UTC with 0, 3, 6 or 9 digits of fraction, as Spanner writes a TIMESTAMP value. */
export const formatTimestamp = (nanos: Nanos): string => {
  const seconds = floorDiv(nanos, NANOS_PER_SECOND);
  return `${new Date(Number(seconds) * 1_000).toISOString().slice(0, 19)}${fraction(nanos)}Z`;
};
