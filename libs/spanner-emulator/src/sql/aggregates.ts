import type { Expression } from './ast.js';
import { coerce, settle } from './coercion.js';
import type { Aggregate, Scope, Typed } from './scope.js';
import { compareValues, type Row, type Value } from './types.js';

type Call = Extract<Expression, { kind: 'call' }>;

export const isAggregate = (name: string): boolean => ['COUNT', 'COUNTIF', 'MIN', 'MAX'].includes(name);

/** Registers the aggregate with the query and reads its result from there. */
export const compileAggregate = (call: Call, scope: Scope, compile: (expression: Expression) => Typed): Typed => {
  const { name, args, star, offset } = call;
  const slot = scope.aggregates.length;
  const result = scope.insideAggregate(name, offset, () => {
    if (name === 'COUNT' && star) return { aggregate: count(() => true), type: 'INT64' as const };
    const argument = args.length === 1 && !star ? settle(compile(args[0]!)) : undefined;
    const usable = name === 'COUNTIF' ? argument && coerce(argument, 'BOOL') : argument;
    if (!usable) throw scope.error(offset, `No matching signature for aggregate function ${name}`);
    const value = (row: Row) => usable.evaluate(row, []) as Value;
    if (name === 'COUNT') return { aggregate: count((row) => value(row) !== null), type: 'INT64' as const };
    if (name === 'COUNTIF') return { aggregate: count((row) => value(row) === true), type: 'INT64' as const };
    return { aggregate: extreme(value, name === 'MIN' ? -1 : 1), type: usable.type };
  });
  scope.aggregates.push(result.aggregate);
  return { type: result.type, evaluate: (_row, results) => results[slot]!, constant: false, literal: false };
};

const count = (counts: (row: Row) => boolean): Aggregate => {
  let total = 0n;
  return {
    add: (row) => {
      if (counts(row)) total += 1n;
    },
    result: () => total,
  };
};

/** MIN and MAX: NULLs do not count, NaN wins. */
const extreme = (value: (row: Row) => Value, sign: -1 | 1): Aggregate => {
  let best: Value = null;
  return {
    add: (row) => {
      const candidate = value(row);
      if (candidate === null || Number.isNaN(best)) return;
      if (best === null || Number.isNaN(candidate) || compareValues(candidate, best) * sign > 0) best = candidate;
    },
    result: () => best,
  };
};
