import type { Nanos } from '../common/timestamps.js';

export const SCALAR_TYPES = ['BOOL', 'INT64', 'FLOAT64', 'STRING', 'BYTES', 'TIMESTAMP'] as const;
export type ScalarType = (typeof SCALAR_TYPES)[number];
export type SqlType = ScalarType | { readonly arrayOf: ScalarType };

/** A placeholder for the commit timestamp until the transaction commits. Never leaves the emulator. */
export const PENDING: unique symbol = Symbol('PENDING_COMMIT_TIMESTAMP');

/** A value of one column: bigint is INT64 or (in nanoseconds) TIMESTAMP, depending on the type of the column. */
export type Value = null | boolean | bigint | number | string | Uint8Array | typeof PENDING;

/** A value in an expression, including arrays, which only parameters and `IN UNNEST` have. */
export type ExpressionValue = Value | readonly Value[];

export const isArrayType = (type: SqlType): type is { readonly arrayOf: ScalarType } => typeof type === 'object';

export const typeName = (type: SqlType): string => (isArrayType(type) ? `ARRAY<${type.arrayOf}>` : type);

export const sameType = (left: SqlType, right: SqlType): boolean => typeName(left) === typeName(right);

/** Compares STRINGs by code point, which differs from UTF-16 order above U+FFFF. */
const compareStrings = (left: string, right: string): number => {
  if (left === right) return 0;
  const length = Math.min(left.length, right.length);
  for (let i = 0; i < length; i++) {
    const a = left.charCodeAt(i);
    const b = right.charCodeAt(i);
    if (a === b) continue;
    const surrogates = Number(a >= 0xd800 && a <= 0xdfff) - Number(b >= 0xd800 && b <= 0xdfff);
    return surrogates === 0 ? a - b : surrogates;
  }
  return left.length - right.length;
};

/**
 * The order of two values of one type, neither NULL: negative, zero or positive.
 * NaN sorts before every other number, as in ORDER BY and MIN/MAX. Comparison operators test for it first.
 */
export const compareValues = (left: Value, right: Value): number => {
  if (typeof left === 'string') return compareStrings(left, right as string);
  if (left instanceof Uint8Array) return Buffer.compare(left, right as Uint8Array);
  if (Number.isNaN(left)) return Number.isNaN(right) ? 0 : -1;
  if (Number.isNaN(right)) return 1;
  return left === right ? 0 : (left as bigint | number | boolean) < (right as bigint | number | boolean) ? -1 : 1;
};

/** The order of ORDER BY and of keys: NULL before every value. */
export const compareNullable = (left: Value, right: Value): number => {
  if (left === null || right === null) return Number(left !== null) - Number(right !== null);
  return compareValues(left, right);
};

export interface Column {
  readonly name: string;
  readonly type: ScalarType;
}

/** One row of a table, one value per column, in the order of the table's columns. */
export type Row = readonly Value[];

export type { Nanos };
