import { unimplemented } from '../common/status.js';
import { checkRange, parseSqlTimestamp } from '../common/timestamps.js';
import type { BinaryOperator, DatePart, Expression } from './ast.js';
import type { TokenStream } from './token-stream.js';
import { SCALAR_TYPES, type ScalarType } from './types.js';

const COMPARISONS: Readonly<Record<string, BinaryOperator>> = {
  '=': '=',
  '!=': '!=',
  '<>': '!=',
  '<': '<',
  '<=': '<=',
  '>': '>',
  '>=': '>=',
};
const DATE_PARTS: readonly string[] = ['NANOSECOND', 'MICROSECOND', 'MILLISECOND', 'SECOND', 'MINUTE', 'HOUR', 'DAY'];
const MAX_INT64 = 2n ** 63n - 1n;

/** Precedence follows GoogleSQL's operator table: OR, AND, NOT, comparisons, additive, multiplicative, unary. */
export class ExpressionParser {
  constructor(private readonly tokens: TokenStream) {}

  expression(): Expression {
    let left = this.conjunction();
    while (this.tokens.isKeyword('OR')) left = this.binary('OR', left, () => this.conjunction());
    return left;
  }

  private conjunction(): Expression {
    let left = this.negation();
    while (this.tokens.isKeyword('AND')) left = this.binary('AND', left, () => this.negation());
    return left;
  }

  private negation(): Expression {
    const { offset } = this.tokens.current;
    if (!this.tokens.acceptKeyword('NOT')) return this.comparison();
    return { kind: 'not', operand: this.negation(), offset };
  }

  private binary(operator: BinaryOperator, left: Expression, parseRight: () => Expression): Expression {
    const { offset } = this.tokens.advance();
    return { kind: 'binary', operator, left, right: parseRight(), offset };
  }

  private comparison(): Expression {
    const left = this.additive();
    const { current, following } = this.tokens;
    const operator = current.kind === 'symbol' ? COMPARISONS[current.text] : undefined;
    if (operator) return this.binary(operator, left, () => this.additive());
    if (this.tokens.acceptKeyword('IS')) return this.is(left, current.offset);
    const negated = current.text.toUpperCase() === 'NOT' && /^(?:IN|LIKE|BETWEEN)$/i.test(following.text);
    if (negated) this.tokens.advance();
    const positive = this.membership(left);
    return negated ? { kind: 'not', operand: positive, offset: current.offset } : positive;
  }

  private is(operand: Expression, offset: number): Expression {
    const negated = this.tokens.acceptKeyword('NOT');
    let test: Expression;
    if (this.tokens.acceptKeyword('NULL')) test = { kind: 'isNull', operand, offset };
    else if (this.tokens.isKeyword('TRUE') || this.tokens.isKeyword('FALSE')) {
      test = { kind: 'isBool', operand, value: this.tokens.advance().text.toUpperCase() === 'TRUE', offset };
    } else if (this.tokens.isKeyword('DISTINCT')) throw unimplemented('IS DISTINCT FROM');
    else throw this.tokens.expected('keyword NULL');
    return negated ? { kind: 'not', operand: test, offset } : test;
  }

  private membership(operand: Expression): Expression {
    const { offset } = this.tokens.current;
    if (this.tokens.isKeyword('LIKE')) {
      const like = this.binary('LIKE', operand, () => this.additive());
      this.tokens.refuse('LIKE … ESCAPE', 'ESCAPE');
      return like;
    }
    if (this.tokens.acceptKeyword('BETWEEN')) {
      const low = this.additive();
      this.tokens.expectKeyword('AND');
      const left: Expression = { kind: 'binary', operator: '>=', left: operand, right: low, offset };
      const right: Expression = { kind: 'binary', operator: '<=', left: operand, right: this.additive(), offset };
      return { kind: 'binary', operator: 'AND', left, right, offset };
    }
    if (!this.tokens.acceptKeyword('IN')) return operand;
    if (this.tokens.acceptKeyword('UNNEST')) {
      return { kind: 'inUnnest', operand, array: this.tokens.parenthesized(() => this.expression()), offset };
    }
    const list = this.tokens.parenthesized(() => {
      this.tokens.refuse('a subquery', 'SELECT');
      return this.tokens.list(() => this.expression());
    });
    return { kind: 'in', operand, list, offset };
  }

  private additive(): Expression {
    let left = this.multiplicative();
    for (;;) {
      for (const symbol of ['<<', '>>', '&', '|', '^']) {
        if (this.tokens.isSymbol(symbol)) throw unimplemented(`the operator ${symbol}`);
      }
      const operator = (['+', '-'] as const).find((symbol) => this.tokens.isSymbol(symbol));
      if (!operator) return left;
      left = this.binary(operator, left, () => this.multiplicative());
    }
  }

  private multiplicative(): Expression {
    let left = this.unary();
    for (;;) {
      const operator = (['*', '/', '||'] as const).find((symbol) => this.tokens.isSymbol(symbol));
      if (!operator) return left;
      left = this.binary(operator, left, () => this.unary());
    }
  }

  private unary(): Expression {
    const { offset } = this.tokens.current;
    if (this.tokens.acceptSymbol('+')) return this.unary();
    if (this.tokens.acceptSymbol('-')) {
      const { kind, text } = this.tokens.current;
      // The smallest INT64 is written as minus a number that is too large for INT64.
      if (kind === 'integer' && BigInt(text) === MAX_INT64 + 1n) {
        this.tokens.advance();
        return { kind: 'literal', type: 'INT64', value: -MAX_INT64 - 1n, offset };
      }
      return { kind: 'negate', operand: this.unary(), offset };
    }
    if (this.tokens.isSymbol('~')) throw unimplemented('the operator ~');
    const operand = this.primary();
    if (this.tokens.isSymbol('[')) throw unimplemented('array subscripts');
    return operand;
  }

  private primary(): Expression {
    const token = this.tokens.current;
    const { offset } = token;
    const literal = (type: ScalarType, value: Extract<Expression, { kind: 'literal' }>['value']): Expression => {
      this.tokens.advance();
      return { kind: 'literal', type, value, offset };
    };
    switch (token.kind) {
      case 'string':
        return literal('STRING', token.text);
      case 'bytes':
        return literal('BYTES', token.bytes!);
      case 'float':
        if (!Number.isFinite(Number(token.text))) {
          throw this.tokens.error(`Invalid floating point literal: ${token.text}`);
        }
        return literal('FLOAT64', Number(token.text));
      case 'integer': {
        const value = BigInt(token.text);
        if (value > MAX_INT64) throw this.tokens.error(`Invalid integer literal: ${token.text}`);
        return literal('INT64', value);
      }
      case 'parameter':
        this.tokens.advance();
        return { kind: 'parameter', name: token.text, offset };
      case 'symbol':
        return this.symbol();
      case 'identifier':
        return this.keyword() ?? this.name();
      case 'quoted':
        return this.name();
      case 'end':
    }
    throw this.tokens.unexpected();
  }

  private symbol(): Expression {
    const { offset } = this.tokens.current;
    if (this.tokens.isSymbol('?')) throw unimplemented('positional parameters');
    if (this.tokens.acceptSymbol('[')) return this.array(offset);
    if (!this.tokens.acceptSymbol('(')) throw this.tokens.unexpected();
    this.tokens.refuse('a subquery', 'SELECT');
    const inner = this.expression();
    if (this.tokens.isSymbol(',')) throw unimplemented('STRUCT values');
    this.tokens.expectSymbol(')');
    return inner;
  }

  private array(offset: number): Expression {
    const elements = this.tokens.isSymbol(']') ? [] : this.tokens.list(() => this.expression());
    this.tokens.expectSymbol(']');
    return { kind: 'array', elements, offset };
  }

  /** Parses an expression that starts with a reserved word or the name of a type. Undefined for other names. */
  private keyword(): Expression | undefined {
    const { current, following } = this.tokens;
    const { offset } = current;
    const word = current.text.toUpperCase();
    switch (word) {
      case 'NULL':
        this.tokens.advance();
        return { kind: 'null', offset };
      case 'TRUE':
      case 'FALSE':
        this.tokens.advance();
        return { kind: 'literal', type: 'BOOL', value: word === 'TRUE', offset };
      case 'CAST':
        return this.cast();
      case 'IF':
        this.tokens.advance();
        return this.call('IF', offset);
      case 'CASE':
      case 'EXISTS':
      case 'STRUCT':
      case 'EXTRACT':
      case 'NEW':
        throw unimplemented(word);
      case 'INTERVAL':
        throw unimplemented('INTERVAL values');
      case 'RANGE':
        throw unimplemented('the type RANGE');
      case 'SAFE_CAST':
        if (following.text !== '(') return undefined;
        throw unimplemented(word);
      case 'ARRAY':
        this.tokens.advance();
        if (this.tokens.isSymbol('(')) throw unimplemented('a subquery');
        if (this.tokens.isSymbol('<')) throw unimplemented('typed array literals');
        this.tokens.expectSymbol('[');
        return this.array(offset);
      case 'TIMESTAMP':
      case 'DATE':
      case 'NUMERIC':
      case 'JSON':
        if (following.kind !== 'string') return undefined;
        if (word !== 'TIMESTAMP') throw unimplemented(`the type ${word}`);
        return this.timestampLiteral();
      default:
        return undefined;
    }
  }

  private timestampLiteral(): Expression {
    const { offset } = this.tokens.advance();
    const { text } = this.tokens.advance();
    const value = parseSqlTimestamp(text);
    if (value === undefined) {
      throw this.tokens.error(`Invalid TIMESTAMP literal: "${text}"`, offset);
    }
    return { kind: 'literal', type: 'TIMESTAMP', value: checkRange(value), offset };
  }

  private cast(): Expression {
    const { offset } = this.tokens.advance();
    return this.tokens.parenthesized((): Expression => {
      const operand = this.expression();
      this.tokens.expectKeyword('AS');
      const type = parseScalarType(this.tokens);
      this.tokens.refuse('CAST … FORMAT', 'FORMAT');
      return { kind: 'cast', operand, type, offset };
    });
  }

  private name(): Expression {
    const { offset } = this.tokens.current;
    const path = this.tokens.path();
    if (this.tokens.isSymbol('(')) {
      if (path.length > 1) throw unimplemented(`the function ${path.join('.').toUpperCase()}`);
      return this.call(path[0]!.toUpperCase(), offset);
    }
    // The two functions of the dialect that may be called without parentheses.
    const name = path.length === 1 ? path[0]!.toUpperCase() : undefined;
    if (name === 'CURRENT_TIMESTAMP' || name === 'CURRENT_DATE') {
      return { kind: 'call', name, args: [], star: false, offset };
    }
    return { kind: 'column', path, offset };
  }

  private call(name: string, offset: number): Expression {
    this.tokens.expectSymbol('(');
    this.tokens.refuse('DISTINCT in an aggregate', 'DISTINCT');
    const star = this.tokens.acceptSymbol('*');
    const args = star || this.tokens.isSymbol(')') ? [] : this.tokens.list(() => this.argument(name));
    for (const word of ['IGNORE', 'RESPECT', 'HAVING', 'ORDER', 'LIMIT']) {
      this.tokens.refuse(`${word} in an aggregate`, word);
    }
    this.tokens.expectSymbol(')');
    this.tokens.refuse('window functions', 'OVER');
    return { kind: 'call', name, args, star, offset };
  }

  private argument(name: string): Expression {
    const { offset, kind, text } = this.tokens.current;
    if (this.tokens.acceptKeyword('INTERVAL')) {
      const amount = this.expression();
      return { kind: 'interval', amount, part: this.datePart(), offset };
    }
    if (name === 'TIMESTAMP_DIFF' && kind === 'identifier' && DATE_PARTS.includes(text.toUpperCase())) {
      return { kind: 'datePart', part: this.datePart(), offset };
    }
    return this.expression();
  }

  private datePart(): DatePart {
    const word = this.tokens.current.text.toUpperCase();
    if (!DATE_PARTS.includes(word)) throw this.tokens.error(`A valid date part name is required but found ${word}`);
    this.tokens.advance();
    return word as DatePart;
  }
}

/** The type names that the emulator stores and casts to, without a length. */
export const parseScalarType = (tokens: TokenStream): ScalarType => {
  const name = tokens.current.text.toUpperCase();
  const type = SCALAR_TYPES.find((candidate) => candidate === name);
  if (tokens.current.kind !== 'identifier') throw tokens.expected('type name');
  if (!type) throw unimplemented(`the type ${name}`);
  tokens.advance();
  return type;
};
