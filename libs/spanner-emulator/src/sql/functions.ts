import { invalidArgument, outOfRange, unimplemented } from '../common/status.js';
import { checkRange, floorDiv, NANOS_PER_MICRO, NANOS_PER_MILLI, NANOS_PER_SECOND } from '../common/timestamps.js';
import type { DatePart, Expression } from './ast.js';
import { coerce, commonType, constant } from './coercion.js';
import { compare, concatenate, lazy, startsWithBound, strict } from './operators.js';
import type { Scope, Typed } from './scope.js';
import { compareValues, typeName, type ScalarType, type SqlType, type Value } from './types.js';

type Call = Extract<Expression, { kind: 'call' }>;
interface Invocation {
  readonly call: Call;
  readonly scope: Scope;
  readonly compile: (expression: Expression) => Typed;
}
type Compile = (invocation: Invocation) => Typed;

const PART_NANOS: Readonly<Record<DatePart, bigint>> = {
  NANOSECOND: 1n,
  MICROSECOND: NANOS_PER_MICRO,
  MILLISECOND: NANOS_PER_MILLI,
  SECOND: NANOS_PER_SECOND,
  MINUTE: 60n * NANOS_PER_SECOND,
  HOUR: 3_600n * NANOS_PER_SECOND,
  DAY: 86_400n * NANOS_PER_SECOND,
};

export const compileFunction = (call: Call, scope: Scope, compile: (expression: Expression) => Typed): Typed => {
  const implementation = Object.hasOwn(FUNCTIONS, call.name) ? FUNCTIONS[call.name] : undefined;
  if (!implementation) throw unimplemented(`the function ${call.name}`);
  return implementation({ call, scope, compile });
};

const noMatch = ({ call, scope }: Invocation, types: readonly SqlType[] = []) =>
  scope.error(
    call.offset,
    `No matching signature for function ${call.name} for argument types: ${types.map(typeName).join(', ')}`,
  );

/** Compiles exactly these arguments, each coerced to its type. */
const typedArguments = (invocation: Invocation, ...types: readonly ScalarType[]): Typed[] => {
  const { call, compile } = invocation;
  const compiled = call.args.map(compile);
  const coerced = compiled.map((argument, i) => (types[i] ? coerce(argument, types[i]) : undefined));
  if (call.star || compiled.length !== types.length || coerced.includes(undefined)) {
    throw noMatch(
      invocation,
      compiled.map(({ type }) => type),
    );
  }
  return coerced as Typed[];
};

/** A function of fixed types that is NULL when an argument is. */
const simple =
  (result: ScalarType, types: readonly ScalarType[], apply: (...values: never[]) => Value): Compile =>
  (invocation) =>
    strict(result, typedArguments(invocation, ...types), apply);

/** Compiles arguments of one common type. */
const unified = (invocation: Invocation, expressions = invocation.call.args): Typed[] => {
  const compiled = expressions.map(invocation.compile);
  const type = commonType(compiled);
  if (type === undefined)
    throw noMatch(
      invocation,
      compiled.map((argument) => argument.type),
    );
  return compiled.map((argument) => coerce(argument, type)!);
};

const coalesce: Compile = (invocation) => {
  const args = unified(invocation);
  return lazy(args[0]!.type, args, (row, slots) => {
    for (const { evaluate } of args) {
      const value = evaluate(row, slots);
      if (value !== null) return value;
    }
    return null;
  });
};

const conditional: Compile = (invocation) => {
  const [condition, ...branches] = invocation.call.args;
  if (!condition || branches.length !== 2) throw noMatch(invocation);
  const test = coerce(invocation.compile(condition), 'BOOL');
  const [yes, no] = unified(invocation, branches) as [Typed, Typed];
  if (!test) throw noMatch(invocation);
  return lazy(yes.type, [test, yes, no], (row, slots) =>
    (test.evaluate(row, slots) === true ? yes : no).evaluate(row, slots),
  );
};

const nullIf: Compile = (invocation) => {
  const [value, other] = unified(invocation);
  if (!value || !other || invocation.call.args.length !== 2) throw noMatch(invocation);
  const equal = compare('=', value, other);
  return lazy(value.type, [value, other], (row, slots) =>
    equal.evaluate(row, slots) === true ? null : value.evaluate(row, slots),
  );
};

const extreme =
  (sign: -1 | 1): Compile =>
  (invocation) => {
    const args = unified(invocation);
    return strict(args[0]!.type, args, (...values: Value[]) =>
      values.reduce((best, value) => {
        if (Number.isNaN(best) || Number.isNaN(value)) return NaN;
        return compareValues(value, best) * sign > 0 ? value : best;
      }),
    );
  };

const startsWith: Compile = (invocation) => {
  const bytes = invocation.call.args.some((argument) => invocation.compile(argument).type === 'BYTES');
  const type = bytes ? 'BYTES' : 'STRING';
  const [text, prefix] = typedArguments(invocation, type, type) as [Typed, Typed];
  const test = bytes
    ? strict('BOOL', [text, prefix], (a: Uint8Array, b: Uint8Array) => Buffer.compare(a.subarray(0, b.length), b) === 0)
    : strict('BOOL', [text, prefix], (a: string, b: string) => a.startsWith(b));
  if (text.column === undefined || !prefix.constant) return test;
  return { ...test, bounds: [startsWithBound(text.column, prefix.evaluate([], []) as Value)] };
};

const shift =
  (sign: bigint): Compile =>
  (invocation) => {
    const [start, interval] = invocation.call.args;
    if (!start || interval?.kind !== 'interval' || invocation.call.args.length !== 2) throw noMatch(invocation);
    const time = coerce(invocation.compile(start), 'TIMESTAMP');
    const amount = coerce(invocation.compile(interval.amount), 'INT64');
    if (!time || !amount) throw noMatch(invocation);
    const unit = PART_NANOS[interval.part] * sign;
    return strict('TIMESTAMP', [time, amount], (nanos: bigint, count: bigint) => checkRange(nanos + count * unit));
  };

const difference: Compile = (invocation) => {
  const [end, start, part] = invocation.call.args;
  if (!end || !start || part?.kind !== 'datePart') throw noMatch(invocation);
  const times = [end, start].map((side) => coerce(invocation.compile(side), 'TIMESTAMP'));
  if (times.includes(undefined)) throw noMatch(invocation);
  const unit = PART_NANOS[part.part];
  return strict('INT64', times as Typed[], (a: bigint, b: bigint) => {
    const parts = (a - b) / unit;
    if (BigInt.asIntN(64, parts) !== parts) throw outOfRange('TIMESTAMP_DIFF is out of the INT64 range');
    return parts;
  });
};

const modulo = (a: bigint, b: bigint): bigint => {
  if (b === 0n) throw outOfRange(`division by zero: MOD(${a}, ${b})`);
  return a % b;
};

const FUNCTIONS: Readonly<Record<string, Compile>> = {
  COALESCE: coalesce,
  IFNULL: (invocation) => {
    if (invocation.call.args.length !== 2) throw noMatch(invocation);
    return coalesce(invocation);
  },
  IF: conditional,
  NULLIF: nullIf,
  GREATEST: extreme(1),
  LEAST: extreme(-1),
  CONCAT: ({ call, scope, compile }) => concatenate(call.args.map(compile), scope, call.offset),
  STARTS_WITH: startsWith,
  ENDS_WITH: simple('BOOL', ['STRING', 'STRING'], (text: string, suffix: string) => text.endsWith(suffix)),
  LENGTH: (invocation) =>
    invocation.call.args[0] && invocation.compile(invocation.call.args[0]).type === 'BYTES'
      ? simple('INT64', ['BYTES'], (bytes: Uint8Array) => BigInt(bytes.length))(invocation)
      : simple('INT64', ['STRING'], (text: string) => BigInt(Array.from(text).length))(invocation),
  LOWER: simple('STRING', ['STRING'], (text: string) => text.toLowerCase()),
  UPPER: simple('STRING', ['STRING'], (text: string) => text.toUpperCase()),
  MOD: simple('INT64', ['INT64', 'INT64'], modulo),
  CURRENT_TIMESTAMP: (invocation) => {
    typedArguments(invocation);
    return constant('TIMESTAMP', invocation.scope.now, false);
  },
  TIMESTAMP_ADD: shift(1n),
  TIMESTAMP_SUB: shift(-1n),
  TIMESTAMP_DIFF: difference,
  UNIX_MICROS: simple('INT64', ['TIMESTAMP'], (nanos: bigint) => floorDiv(nanos, NANOS_PER_MICRO)),
  UNIX_MILLIS: simple('INT64', ['TIMESTAMP'], (nanos: bigint) => floorDiv(nanos, NANOS_PER_MILLI)),
  UNIX_SECONDS: simple('INT64', ['TIMESTAMP'], (nanos: bigint) => floorDiv(nanos, NANOS_PER_SECOND)),
  TIMESTAMP_MICROS: simple('TIMESTAMP', ['INT64'], (micros: bigint) => checkRange(micros * NANOS_PER_MICRO)),
  TIMESTAMP_MILLIS: simple('TIMESTAMP', ['INT64'], (millis: bigint) => checkRange(millis * NANOS_PER_MILLI)),
  TIMESTAMP_SECONDS: simple('TIMESTAMP', ['INT64'], (seconds: bigint) => checkRange(seconds * NANOS_PER_SECOND)),
  PENDING_COMMIT_TIMESTAMP: () => {
    throw invalidArgument(
      'The PENDING_COMMIT_TIMESTAMP() function may only be used as a value for INSERT or UPDATE of an appropriately ' +
        'typed column. It cannot be used in SELECT, or as the input to any other scalar expression.',
    );
  },
};
