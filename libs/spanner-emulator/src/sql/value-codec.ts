import { failedPrecondition, type SpannerError } from '../common/status.js';
import { formatTimestamp, parseTimestamp } from '../common/timestamps.js';
import {
  isArrayType,
  PENDING,
  typeName,
  type ExpressionValue,
  type ScalarType,
  type SqlType,
  type Value,
} from './types.js';

/** google.protobuf.Value as plain data. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };

const MIN_INT64 = -(2n ** 63n);
const MAX_INT64 = 2n ** 63n - 1n;
/** The value of a column in a mutation that stands for the commit timestamp. */
const COMMIT_TIMESTAMP_TEXT = 'spanner.commit_timestamp()';

const mismatch = (json: JsonValue, type: SqlType): SpannerError => {
  const text = JSON.stringify(json);
  return failedPrecondition(
    `Could not parse ${text.length > 80 ? `${text.slice(0, 80)}…` : text} as ${typeName(type)}`,
  );
};

/** Decodes base64 strictly, with padding. The decoder of Node ignores invalid characters. */
const decodeBase64 = (text: string): Uint8Array | undefined =>
  /^[A-Za-z0-9+/]*={0,2}$/.test(text) && text.length % 4 === 0 ? Buffer.from(text, 'base64') : undefined;

const FLOAT_NAMES: Readonly<Record<string, number>> = { NaN: NaN, Infinity: Infinity, '-Infinity': -Infinity };

const decodeText = (text: string, type: ScalarType): Value | undefined => {
  switch (type) {
    case 'STRING':
      return text;
    case 'BYTES':
      return decodeBase64(text);
    case 'TIMESTAMP':
      return text === COMMIT_TIMESTAMP_TEXT ? PENDING : parseTimestamp(text);
    case 'FLOAT64':
      return FLOAT_NAMES[text];
    case 'INT64': {
      if (!/^[+-]?\d{1,19}$/.test(text)) return undefined;
      const value = BigInt(text);
      return value >= MIN_INT64 && value <= MAX_INT64 ? value : undefined;
    }
    case 'BOOL':
  }
  return undefined;
};

/**
 * Decodes a value of a client: INT64 is a decimal string, BYTES is base64, TIMESTAMP is RFC 3339
 * (https://cloud.google.com/spanner/docs/reference/rest/v1/TypeCode).
 * FAILED_PRECONDITION when it does not fit the type.
 */
export const decodeScalar = (json: JsonValue, type: ScalarType): Value => {
  if (json === null) return null;
  let value: Value | undefined;
  if (typeof json === 'string') value = decodeText(json, type);
  else if (typeof json === 'boolean' && type === 'BOOL') value = json;
  else if (typeof json === 'number' && type === 'FLOAT64') value = json;
  if (value === undefined) throw mismatch(json, type);
  return value;
};

export const decodeValue = (json: JsonValue, type: SqlType): ExpressionValue => {
  if (!isArrayType(type)) return decodeScalar(json, type);
  if (json === null) return null;
  if (!Array.isArray(json)) throw mismatch(json, type);
  return (json as readonly JsonValue[]).map((element) => decodeScalar(element, type.arrayOf));
};

/** The inverse of decodeScalar. A pending commit timestamp has no value. */
export const encodeScalar = (value: Value, type: ScalarType): JsonValue => {
  if (typeof value === 'bigint') return type === 'TIMESTAMP' ? formatTimestamp(value) : value.toString();
  if (value instanceof Uint8Array)
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64');
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  if (typeof value === 'symbol') throw new Error('a pending commit timestamp reached a result');
  return value;
};
