import type { ProtoTime, ProtoValue } from './protocol.js';

/** A column as the API encodes it. All types that this driver uses are encoded as text. */
export type Column = string | null;

export type Row = readonly Column[];

/** A statement with parameters. Values are never part of its text. */
export interface Statement {
  readonly sql: string;
  readonly params: Readonly<Record<string, Param>>;
}

export type Param =
  | { readonly code: 'STRING' | 'INT64' | 'TIMESTAMP'; readonly value: string }
  | { readonly code: 'ARRAY'; readonly value: readonly string[] };

const NANOS_PER_SECOND = 1_000_000_000n;
/** The range of TIMESTAMP: the years 1 to 9999. */
const EARLIEST = -62_135_596_800n * NANOS_PER_SECOND;
const LATEST = 253_402_300_800n * NANOS_PER_SECOND - 1n;
const MOST_ROWS = 2 ** 53 - 1;

export function text(value: string): Param {
  return { code: 'STRING', value };
}

/** For `IN UNNEST(@name)`. */
export function texts(value: readonly string[]): Param {
  return { code: 'ARRAY', value };
}

/** A time in nanoseconds since 1970, clamped to the range of TIMESTAMP. */
export function timestamp(nanos: bigint): Param {
  return { code: 'TIMESTAMP', value: formatTimestamp(nanos) };
}

/** A number of rows; `Infinity` for all. */
export function rowLimit(limit: number): Param {
  return { code: 'INT64', value: String(Math.min(limit, MOST_ROWS)) };
}

/** RFC 3339 with nine fractional digits, as the API expects; `Date` would keep three. */
export function formatTimestamp(nanos: bigint): string {
  const inRange = nanos < EARLIEST ? EARLIEST : nanos > LATEST ? LATEST : nanos;
  const fraction = BigInt.asUintN(64, ((inRange % NANOS_PER_SECOND) + NANOS_PER_SECOND) % NANOS_PER_SECOND);
  const seconds = (inRange - fraction) / NANOS_PER_SECOND;
  const date = new Date(Number(seconds) * 1_000).toISOString().slice(0, 19);
  return `${date}.${String(fraction).padStart(9, '0')}Z`;
}

export function parseTimestamp(rfc3339: string): bigint {
  const match = /^(.{19})(?:\.(\d{1,9}))?Z$/.exec(rfc3339);
  if (match === null) throw new Error(`Spanner sent ${JSON.stringify(rfc3339)} for a TIMESTAMP`);
  const [, date = '', fraction = ''] = match;
  return BigInt(Date.parse(`${date}Z`) / 1_000) * NANOS_PER_SECOND + BigInt(fraction.padEnd(9, '0'));
}

/** A stored time in nanoseconds; 0 for NULL. */
export function timestampOf(column: Column | undefined): bigint {
  return column == null ? 0n : parseTimestamp(column);
}

/** A google.protobuf.Timestamp in nanoseconds. */
export function fromProtoTime({ seconds, nanos }: ProtoTime): bigint {
  return BigInt(String(seconds ?? 0)) * NANOS_PER_SECOND + BigInt(nanos ?? 0);
}

export function toProto(value: Column): ProtoValue {
  if (value === null) return { nullValue: 0 };
  return { stringValue: value.includes(PLACEHOLDER) ? (new Verbatim(value) as unknown as string) : value };
}

/** Older clients, as 8.6, replace this by the project's name in every string of a request. */
const PLACEHOLDER = '{{projectId}}';

/** A text in which such a client does not replace the placeholder. The encoder calls `String` on it. */
class Verbatim {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  toString(): string {
    return this.#text;
  }
}

export function fromProto(value: ProtoValue): Column {
  return value.stringValue ?? null;
}
