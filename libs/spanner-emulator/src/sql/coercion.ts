import { Code, invalidArgument, SpannerError, unimplemented } from '../common/status.js';
import { parseSqlTimestamp } from '../common/timestamps.js';
import type { Typed } from './scope.js';
import { isArrayType, PENDING, sameType, typeName, type ExpressionValue, type SqlType } from './types.js';
import { decodeValue, type JsonValue } from './value-codec.js';

export const constant = (type: SqlType, value: ExpressionValue, literal = true): Typed => ({
  type,
  evaluate: () => value,
  constant: true,
  literal,
});

const toFloat = (value: ExpressionValue): number | null => (value === null ? null : Number(value));

/** The value of a parameter. The text for the commit timestamp in mutations has no meaning in SQL. */
export const bindParameter = (json: JsonValue, type: SqlType): Typed => {
  const value = decodeValue(json, type);
  if (value === PENDING || (Array.isArray(value) && value.includes(PENDING))) {
    throw unimplemented('spanner.commit_timestamp() as a parameter');
  }
  return constant(type, value);
};

const bind = (untyped: NonNullable<Typed['untyped']>, type: SqlType): Typed => {
  try {
    return bindParameter(untyped.json, type);
  } catch (error) {
    if (!(error instanceof SpannerError) || error.code === Code.UNIMPLEMENTED) throw error;
    throw invalidArgument(`Invalid value for bind parameter: Expected ${typeName(type)}. ${error.message}`);
  }
};

/**
 * The expression as another type if GoogleSQL coerces it implicitly: NULL and untyped parameters to any type,
 * INT64 to FLOAT64, a literal or parameter STRING to TIMESTAMP. Undefined where it does not
 * (https://cloud.google.com/spanner/docs/reference/standard-sql/conversion_rules).
 */
export const coerce = (typed: Typed, type: SqlType): Typed | undefined => {
  if (typed.untyped) return bind(typed.untyped, type);
  if (sameType(typed.type, type)) return typed;
  if (typed.type === 'INT64' && type === 'FLOAT64') {
    const { evaluate } = typed;
    return { ...typed, type, column: undefined, evaluate: (row, slots) => toFloat(evaluate(row, slots)) };
  }
  if (typed.type === 'STRING' && type === 'TIMESTAMP' && typed.literal) {
    const text = typed.evaluate([], []);
    const value = text === null ? null : parseSqlTimestamp(text as string);
    if (value === undefined) throw invalidArgument(`Could not cast literal "${text as string}" to type TIMESTAMP`);
    return constant(type, value);
  }
  return undefined;
};

/** The common type of the expressions, or undefined. If all are untyped: the type that matches their JSON. */
export const commonType = (all: readonly Typed[]): SqlType | undefined => {
  const typed = all.filter((one) => !one.untyped);
  const candidates = [...typed.filter((one) => !one.literal), ...typed];
  const first = candidates.find(
    ({ type }) => type !== 'INT64' && (type !== 'STRING' || typed.every((one) => one.type === type)),
  );
  const type = (first ?? candidates[0])?.type;
  if (type !== undefined) return typed.every((one) => coerce(one, type) !== undefined) ? type : undefined;
  return all[0] === undefined ? undefined : defaultType(all.find((one) => one.untyped?.json !== null) ?? all[0]);
};

/** The type of an untyped parameter without a context. */
const defaultType = ({ untyped, type }: Typed): SqlType => {
  const json = untyped?.json;
  if (typeof json === 'string') return 'STRING';
  if (typeof json === 'boolean') return 'BOOL';
  return typeof json === 'number' ? 'FLOAT64' : type;
};

/** Assigns the default type to an untyped expression. Returns others unchanged. */
export const settle = (typed: Typed): Typed => (typed.untyped ? bind(typed.untyped, defaultType(typed)) : typed);

/** The element type of an array expression. */
export const elementType = (typed: Typed) => (isArrayType(typed.type) ? typed.type.arrayOf : undefined);
