import { unimplemented } from '../common/status.js';
import type { Expression } from './ast.js';
import { castTo } from './casts.js';
import { bindParameter, coerce, commonType, constant, elementType, settle } from './coercion.js';
import { compileAggregate, isAggregate } from './aggregates.js';
import { compileFunction } from './functions.js';
import { arithmetic, compare, concatenate, like, logical, membership, not } from './operators.js';
import type { Scope, Typed } from './scope.js';
import { isArrayType, typeName, type ExpressionValue, type SqlType, type Value } from './types.js';

/** Compiles a parsed expression into a typed one. INVALID_ARGUMENT with its position when it is invalid. */
export const compile = (expression: Expression, scope: Scope): Typed => {
  const child = (inner: Expression) => compile(inner, scope);
  const { offset } = expression;
  switch (expression.kind) {
    case 'literal':
      return constant(expression.type, expression.value);
    case 'null':
      return { ...constant('INT64', null), untyped: { json: null } };
    case 'parameter': {
      const { type, value } = scope.parameter(expression.name, offset);
      if (type === undefined) return { ...constant('INT64', null), untyped: { json: value } };
      return bindParameter(value, type);
    }
    case 'column': {
      const column = scope.column(expression.path, offset);
      const { type } = scope.columns[column]!;
      return { type, evaluate: (row) => row[column]!, constant: false, literal: false, column };
    }
    case 'not':
      return not(asBool(child(expression.operand), scope, offset, 'NOT'));
    case 'negate': {
      const operand = child(expression.operand);
      const zero = constant(operand.type === 'FLOAT64' ? 'FLOAT64' : 'INT64', operand.type === 'FLOAT64' ? -0 : 0n);
      return arithmetic('-', [zero, operand], scope, offset);
    }
    case 'binary': {
      const { operator } = expression;
      const sides = [child(expression.left), child(expression.right)] as const;
      switch (operator) {
        case 'AND':
        case 'OR':
          return logical(
            operator,
            asBool(sides[0], scope, offset, operator),
            asBool(sides[1], scope, offset, operator),
          );
        case '+':
        case '-':
        case '*':
        case '/':
          return arithmetic(operator, sides, scope, offset);
        case '||':
          return concatenate(sides, scope, offset);
        case 'LIKE':
          return like(sides[0], sides[1], scope, offset);
        case '=':
        case '!=':
        case '<':
        case '<=':
        case '>':
        case '>=': {
          const [left, right] = unify(sides, scope, offset, `operator ${operator}`);
          return compare(operator, left!, right!);
        }
      }
    }
    case 'isNull': {
      const { evaluate, column, constant } = settle(child(expression.operand));
      const bounds = column === undefined ? undefined : ([{ column, kind: 'isNull', values: [null] }] as const);
      return {
        type: 'BOOL',
        evaluate: (row, slots) => evaluate(row, slots) === null,
        constant,
        literal: false,
        bounds,
      };
    }
    case 'isBool': {
      const { evaluate, constant } = asBool(child(expression.operand), scope, offset, 'IS');
      const { value } = expression;
      return { type: 'BOOL', evaluate: (row, slots) => evaluate(row, slots) === value, constant, literal: false };
    }
    case 'in': {
      const [operand, ...list] = unify(
        [expression.operand, ...expression.list].map(child),
        scope,
        offset,
        'operator IN',
      );
      return membership(operand!, list);
    }
    case 'inUnnest':
      return inUnnest(child(expression.operand), child(expression.array), scope, offset);
    case 'array':
      return array(expression.elements.map(child), scope, offset);
    case 'call':
      if (isAggregate(expression.name)) return compileAggregate(expression, scope, child);
      return compileFunction(expression, scope, child);
    case 'cast':
      return castTo(child(expression.operand), expression.type, scope, offset);
    case 'interval':
    case 'datePart':
  }
  throw unimplemented('INTERVAL values');
};

/** Compiles an expression that must have one type, such as an assigned value or a condition. */
export const compileAs = (expression: Expression, type: SqlType, scope: Scope, what: string): Typed => {
  const typed = compile(expression, scope);
  const coerced = coerce(typed, type);
  if (coerced) return coerced;
  throw scope.error(
    expression.offset,
    `${what} should have type ${typeName(type)}, but returns type ${typeName(typed.type)}`,
  );
};

const asBool = (typed: Typed, scope: Scope, offset: number, operator: string): Typed => {
  const coerced = coerce(typed, 'BOOL');
  if (coerced) return coerced;
  throw scope.error(
    offset,
    `No matching signature for operator ${operator} for argument types: ${typeName(typed.type)}`,
  );
};

/** Brings the operands to one type. */
const unify = (operands: readonly Typed[], scope: Scope, offset: number, what: string): Typed[] => {
  const type = commonType(operands);
  if (type === undefined || isArrayType(type)) {
    const types = operands.map((operand) => typeName(operand.type)).join(', ');
    throw scope.error(offset, `No matching signature for ${what} for argument types: ${types}`);
  }
  return operands.map((operand) => coerce(operand, type)!);
};

const inUnnest = (operand: Typed, list: Typed, scope: Scope, offset: number): Typed => {
  // An array without a type has that of the other side. With a type, the other side is coerced to it if possible.
  const element = list.untyped ? settle(operand).type : elementType(list);
  if (element === undefined || isArrayType(element)) throw scope.error(offset, 'UNNEST needs an array');
  const type = commonType([operand, { ...constant(element, null), literal: false }]);
  const side = type === element ? coerce(operand, element) : undefined;
  const values = coerce(list, { arrayOf: element });
  if (!side || !values) {
    throw scope.error(
      offset,
      `No matching signature for operator IN UNNEST for argument types: ${typeName(operand.type)}, ${typeName(list.type)}`,
    );
  }
  if (!values.constant) throw unimplemented('IN UNNEST of anything but a parameter or constants');
  // NULL IN UNNEST(…) over a NULL array is FALSE, as over an empty one.
  const elements = (values.evaluate([], []) ?? []) as readonly Value[];
  return membership(
    side,
    elements.map((value) => constant(element, value)),
  );
};

const array = (elements: readonly Typed[], scope: Scope, offset: number): Typed => {
  if (elements.length === 0) return { ...constant('INT64', null), untyped: { json: [] } };
  const unified = unify(elements, scope, offset, 'ARRAY');
  const { type } = unified[0]!;
  if (isArrayType(type)) throw scope.error(offset, 'Cannot construct array with element type ARRAY');
  return {
    type: { arrayOf: type },
    evaluate: (row, slots): ExpressionValue => unified.map(({ evaluate }) => evaluate(row, slots) as Value),
    constant: unified.every((element) => element.constant),
    literal: false,
  };
};
