import { outOfRange, unimplemented } from '../common/status.js';
import type { ComparisonOperator } from './ast.js';
import { coerce, settle } from './coercion.js';
import type { Bound, Evaluate, Scope, Typed } from './scope.js';
import { compareValues, typeName, type ExpressionValue, type SqlType, type Value } from './types.js';

const MIN_INT64 = -(2n ** 63n);
const MAX_INT64 = 2n ** 63n - 1n;

const derived = (type: SqlType, from: readonly Typed[], evaluate: Evaluate, bounds?: readonly Bound[]): Typed => ({
  type,
  evaluate,
  constant: from.every((operand) => operand.constant),
  literal: false,
  bounds,
});

/** An expression that is NULL when any of its operands is. */
export const strict = (
  type: SqlType,
  operands: readonly Typed[],
  apply: (...values: never[]) => ExpressionValue,
): Typed =>
  derived(type, operands, (row, slots) => {
    const values: ExpressionValue[] = [];
    for (const { evaluate } of operands) {
      const value = evaluate(row, slots);
      if (value === null) return null;
      values.push(value);
    }
    return apply(...(values as never[]));
  });

/** An expression that handles NULL operands itself. */
export const lazy = (type: SqlType, operands: readonly Typed[], evaluate: Evaluate): Typed =>
  derived(type, operands, evaluate);

export const not = (operand: Typed): Typed => strict('BOOL', [operand], (value: boolean) => !value);

/** AND and OR of three-valued logic. */
export const logical = (operator: 'AND' | 'OR', left: Typed, right: Typed): Typed => {
  const decisive = operator === 'OR';
  const bounds = operator === 'AND' ? [...(left.bounds ?? []), ...(right.bounds ?? [])] : undefined;
  const evaluate: Evaluate = (row, slots) => {
    const first = left.evaluate(row, slots);
    if (first === decisive) return decisive;
    const second = right.evaluate(row, slots);
    if (second === decisive) return decisive;
    return first === null || second === null ? null : !decisive;
  };
  return derived('BOOL', [left, right], evaluate, bounds);
};

const TESTS: Readonly<Record<ComparisonOperator, (order: number) => boolean>> = {
  '=': (order) => order === 0,
  '!=': (order) => order !== 0,
  '<': (order) => order < 0,
  '<=': (order) => order <= 0,
  '>': (order) => order > 0,
  '>=': (order) => order >= 0,
};
const MIRRORED = { '=': '=', '!=': '!=', '<': '>', '<=': '>=', '>': '<', '>=': '<=' } as const;

/** Compares two operands of one type. NaN differs from every value, also from itself. */
export const compare = (operator: ComparisonOperator, left: Typed, right: Typed): Typed => {
  const test = TESTS[operator];
  const compared = strict('BOOL', [left, right], (a: Value, b: Value) =>
    Number.isNaN(a) || Number.isNaN(b) ? operator === '!=' : test(compareValues(a, b)),
  );
  const bounds = boundsOf(operator, left, right) ?? boundsOf(MIRRORED[operator], right, left);
  return { ...compared, bounds };
};

const boundsOf = (operator: ComparisonOperator, side: Typed, other: Typed): Bound[] | undefined => {
  if (side.column === undefined || !other.constant || operator === '!=') return undefined;
  return [{ column: side.column, kind: operator === '=' ? 'in' : operator, values: [other.evaluate([], []) as Value] }];
};

/** IN: TRUE if equal to one, else NULL if any is NULL, else FALSE. */
export const membership = (operand: Typed, list: readonly Typed[]): Typed => {
  if (list.length === 0) return derived('BOOL', [operand], () => false, noRows(operand));
  if (!list.every((item) => item.constant) || operand.type === 'FLOAT64' || operand.type === 'BYTES') {
    return list.map((item) => compare('=', operand, item)).reduce((left, right) => logical('OR', left, right));
  }
  const values = list.map(({ evaluate }) => evaluate([], []) as Value);
  const set = new Set(values);
  const otherwise = set.has(null) ? null : false;
  const bounds = operand.column === undefined ? undefined : [{ column: operand.column, kind: 'in' as const, values }];
  const contained = strict('BOOL', [operand], (value: Value) => set.has(value) || otherwise);
  return { ...contained, bounds };
};

const noRows = ({ column }: Typed): Bound[] | undefined =>
  column === undefined ? undefined : [{ column, kind: 'in', values: [] }];

const checkInt64 = (value: bigint, text: () => string): bigint => {
  if (value < MIN_INT64 || value > MAX_INT64) throw outOfRange(`int64 overflow: ${text()}`);
  return value;
};

const INTEGER = {
  '+': (a: bigint, b: bigint) => checkInt64(a + b, () => `${a} + ${b}`),
  '-': (a: bigint, b: bigint) => checkInt64(a - b, () => `${a} - ${b}`),
  '*': (a: bigint, b: bigint) => checkInt64(a * b, () => `${a} * ${b}`),
} as const;

const checkFloat = (value: number, ...from: readonly number[]): number => {
  if (!Number.isFinite(value) && from.every((operand) => Number.isFinite(operand))) throw outOfRange('double overflow');
  return value;
};

const FLOAT = {
  '+': (a: number, b: number) => checkFloat(a + b, a, b),
  '-': (a: number, b: number) => checkFloat(a - b, a, b),
  '*': (a: number, b: number) => checkFloat(a * b, a, b),
  '/': (a: number, b: number) => {
    if (b === 0) throw outOfRange(`division by zero: ${a} / ${b}`);
    return checkFloat(a / b, a, b);
  },
} as const;

/** `/` is always FLOAT64, the others INT64 when both sides are. */
export const arithmetic = (
  operator: '+' | '-' | '*' | '/',
  operands: readonly Typed[],
  scope: Scope,
  offset: number,
): Typed => {
  const integers = operator !== '/' && operands.every(({ type, untyped }) => untyped !== undefined || type === 'INT64');
  const type = integers ? 'INT64' : 'FLOAT64';
  const coerced = operands.map((operand) => coerce(operand, type));
  if (coerced.some((operand) => operand === undefined)) {
    const types = operands.map((operand) => typeName(operand.type)).join(', ');
    throw scope.error(offset, `No matching signature for operator ${operator} for argument types: ${types}`);
  }
  return strict(type, coerced as Typed[], integers ? INTEGER[operator] : FLOAT[operator]);
};

/** `||` and CONCAT: all STRING, or all BYTES. */
export const concatenate = (operands: readonly Typed[], scope: Scope, offset: number): Typed => {
  const type = operands.some((operand) => settle(operand).type === 'BYTES') ? 'BYTES' : 'STRING';
  const coerced = operands.map((operand) => coerce(operand, type));
  if (coerced.some((operand) => operand === undefined)) {
    const types = operands.map((operand) => typeName(operand.type)).join(', ');
    throw scope.error(offset, `No matching signature for function CONCAT for argument types: ${types}`);
  }
  return type === 'STRING'
    ? strict(type, coerced as Typed[], (...parts: string[]) => parts.join(''))
    : strict(type, coerced as Typed[], (...parts: Uint8Array[]) => Buffer.concat(parts));
};

/** `%` matches any characters, `_` any single one, and a backslash escapes the next one. */
const likePattern = (pattern: string): RegExp => {
  let source = '';
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i]!;
    if (char === '%') source += '.*';
    else if (char === '_') source += '.';
    else if (char !== '\\') source += char.replace(/[\\^$.*+?()[\]{}|]/, '\\$&');
    else if (++i < pattern.length) source += pattern[i]!.replace(/[\\^$.*+?()[\]{}|]/, '\\$&');
    else throw outOfRange('LIKE pattern ends with a backslash');
  }
  return new RegExp(`^(?:${source})$`, 'su');
};

export const like = (operand: Typed, pattern: Typed, scope: Scope, offset: number): Typed => {
  const [text, shape] = [coerce(operand, 'STRING'), coerce(pattern, 'STRING')];
  if (operand.type === 'BYTES') throw unimplemented('LIKE on BYTES');
  if (!text || !shape) {
    const types = `${typeName(operand.type)}, ${typeName(pattern.type)}`;
    throw scope.error(offset, `No matching signature for operator LIKE for argument types: ${types}`);
  }
  if (!shape.constant) return strict('BOOL', [text, shape], (a: string, b: string) => likePattern(b).test(a));
  const value = shape.evaluate([], []) as string | null;
  if (value === null) return strict('BOOL', [text, shape], () => null);
  const compiled = likePattern(value);
  const fixed = /^[^%_\\]*/.exec(value)![0];
  const bounds = text.column === undefined || fixed === '' ? undefined : [startsWithBound(text.column, fixed)];
  return { ...strict('BOOL', [text], (a: string) => compiled.test(a)), bounds };
};

export const startsWithBound = (column: number, prefix: Value): Bound => ({ column, kind: 'prefix', values: [prefix] });
