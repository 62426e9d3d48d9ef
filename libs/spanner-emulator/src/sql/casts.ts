import { outOfRange, unimplemented } from '../common/status.js';
import { parseSqlTimestamp } from '../common/timestamps.js';
import { coerce } from './coercion.js';
import { strict } from './operators.js';
import type { Scope, Typed } from './scope.js';
import { typeName, type ScalarType, type Value } from './types.js';

const bad = (value: Value, type: ScalarType) => outOfRange(`Bad ${type.toLowerCase()} value: ${String(value)}`);

const int64 = (value: bigint): bigint => {
  if (BigInt.asIntN(64, value) !== value) throw bad(value, 'INT64');
  return value;
};

/** Rounds halves away from zero, as GoogleSQL does and Math.round does not. */
const roundToInt64 = (value: number): bigint => {
  if (!Number.isFinite(value)) throw bad(value, 'INT64');
  return int64(BigInt(Math.sign(value) * Math.round(Math.abs(value))));
};

const CASTS: Readonly<Record<string, (value: never) => Value>> = {
  'INT64 STRING': (value: bigint) => value.toString(),
  'INT64 BOOL': (value: bigint) => value !== 0n,
  'BOOL INT64': (value: boolean) => (value ? 1n : 0n),
  'BOOL STRING': (value: boolean) => String(value),
  'FLOAT64 INT64': roundToInt64,
  'STRING BYTES': (value: string) => Buffer.from(value),
  'BYTES STRING': (value: Uint8Array) => {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value);
    } catch {
      throw outOfRange('Invalid cast of bytes to UTF8 string');
    }
  },
  'STRING INT64': (value: string) => {
    const match = /^\s*([+-]?)(\d+|0x[0-9a-f]+)\s*$/i.exec(value);
    if (!match) throw bad(value, 'INT64');
    return int64(BigInt(match[2]!) * (match[1] === '-' ? -1n : 1n));
  },
  'STRING FLOAT64': (value: string) => {
    const named = /^\s*([+-]?)(?:(nan)|inf(?:inity)?)\s*$/i.exec(value);
    if (named) return named[2] ? NaN : named[1] === '-' ? -Infinity : Infinity;
    const number = /^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?\s*$/i.test(value) ? Number(value) : NaN;
    if (!Number.isFinite(number)) throw bad(value, 'FLOAT64');
    return number;
  },
  'STRING BOOL': (value: string) => {
    if (!/^(?:true|false)$/i.test(value)) throw bad(value, 'BOOL');
    return value.toLowerCase() === 'true';
  },
  'STRING TIMESTAMP': (value: string) => {
    const nanos = parseSqlTimestamp(value);
    if (nanos === undefined) throw outOfRange(`Invalid timestamp: '${value}'`);
    return nanos;
  },
};

export const castTo = (operand: Typed, type: ScalarType, scope: Scope, offset: number): Typed => {
  // NULL, and a parameter without a type, have the type of the cast: a BYTES parameter is base64, not text.
  const coerced = coerce(operand, type);
  // A cast NULL or number is not a literal any more, so it does not coerce further.
  if (coerced) return { ...coerced, literal: false };
  const convert = CASTS[`${typeName(operand.type)} ${type}`];
  if (convert) return strict(type, [operand], convert);
  // Spanner supports this, but the result depends on its default time zone or on the number format of C++.
  if (type === 'STRING') throw unimplemented(`CAST(${typeName(operand.type)} AS STRING)`);
  throw scope.error(offset, `Invalid cast from ${typeName(operand.type)} to ${type}`);
};
