import { invalidArgument, type SpannerError } from '../common/status.js';

export type TokenKind =
  'identifier' | 'quoted' | 'string' | 'bytes' | 'integer' | 'float' | 'parameter' | 'symbol' | 'end';

export interface Token {
  readonly kind: TokenKind;
  /** The symbol, the identifier or parameter name without quotes, the number as written, or the value of the string. */
  readonly text: string;
  /** For bytes literals only. */
  readonly bytes?: Uint8Array;
  readonly offset: number;
  readonly end: number;
}

const SYMBOLS = [
  '||',
  '<=',
  '>=',
  '!=',
  '<>',
  '<<',
  '>>',
  '@{',
  ...'( ) [ ] { } , . ; = < > + - * / @ : ? & | ^ ~'.split(' '),
];
const ESCAPES: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
  '?': '?',
  '"': '"',
  "'": "'",
  '`': '`',
};

/** A message with a position as in Spanner: `message [at line:column]`, the line, and a caret below the position. */
export const errorAt = (sql: string, offset: number, message: string): SpannerError => {
  const before = sql.slice(0, offset);
  const line = before.split('\n').length;
  const column = offset - (before.lastIndexOf('\n') + 1);
  const text = sql.split('\n')[line - 1] ?? '';
  return invalidArgument(`${message} [at ${line}:${column + 1}]\n${text}\n${' '.repeat(column)}^`);
};

/** Splits GoogleSQL text into tokens. Comments (`--`, `#`, and the C form) are dropped. */
export class Lexer {
  private at = 0;

  constructor(private readonly sql: string) {}

  all(): Token[] {
    const tokens: Token[] = [];
    for (;;) {
      const token = this.next();
      tokens.push(token);
      if (token.kind === 'end') return tokens;
    }
  }

  private next(): Token {
    this.skipBlank();
    const offset = this.at;
    const rest = (pattern: RegExp): string | undefined => {
      pattern.lastIndex = offset;
      return pattern.exec(this.sql)?.[0];
    };
    const token = (kind: TokenKind, text: string, length = text.length): Token => {
      this.at = offset + length;
      return { kind, text, offset, end: this.at };
    };
    if (offset >= this.sql.length) return token('end', '', 0);
    const prefix = rest(/(?:rb|br|r|b)?(?:'''|"""|'|")/iy);
    if (prefix !== undefined) return this.stringLiteral(prefix);
    const identifier = rest(/[A-Za-z_]\w*/y);
    if (identifier !== undefined) return token('identifier', identifier);
    const number = rest(/0x[0-9a-f]+|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?/iy);
    if (number !== undefined) {
      if (/\w/.test(this.sql[offset + number.length] ?? '')) {
        throw errorAt(this.sql, offset, 'Syntax error: Missing whitespace between literal and alias');
      }
      return token(/^(?:\d+|0x.*)$/i.test(number) ? 'integer' : 'float', number);
    }
    const parameter = rest(/@[A-Za-z_]\w*/y);
    if (parameter !== undefined) return token('parameter', parameter.slice(1), parameter.length);
    if (this.sql[offset] === '`') return this.quotedIdentifier();
    const symbol = SYMBOLS.find((text) => this.sql.startsWith(text, offset));
    if (symbol !== undefined) return token('symbol', symbol);
    throw errorAt(this.sql, offset, `Syntax error: Illegal input character "${this.sql[offset]}"`);
  }

  private skipBlank(): void {
    const blank = /(?:\s+|--[^\n]*|#[^\n]*|\/\*[\s\S]*?\*\/)+/y;
    blank.lastIndex = this.at;
    this.at += blank.exec(this.sql)?.[0].length ?? 0;
    if (this.sql.startsWith('/*', this.at)) throw errorAt(this.sql, this.at, 'Syntax error: Unclosed comment');
  }

  private quotedIdentifier(): Token {
    const offset = this.at;
    const close = this.sql.indexOf('`', offset + 1);
    if (close < 0) throw errorAt(this.sql, offset, 'Syntax error: Unclosed identifier literal');
    if (close === offset + 1) throw errorAt(this.sql, offset, 'Syntax error: Invalid empty identifier');
    this.at = close + 1;
    return { kind: 'quoted', text: this.sql.slice(offset + 1, close), offset, end: this.at };
  }

  private stringLiteral(prefix: string): Token {
    const offset = this.at;
    const letters = prefix.replace(/['"]+$/, '').toLowerCase();
    const quote = prefix.slice(letters.length);
    const raw = letters.includes('r');
    const isBytes = letters.includes('b');
    let text = '';
    this.at += prefix.length;
    while (!this.sql.startsWith(quote, this.at)) {
      const code = this.sql.codePointAt(this.at);
      if (code === undefined || (code === 10 && quote.length === 1)) {
        throw errorAt(this.sql, offset, `Syntax error: Unclosed ${isBytes ? 'bytes' : 'string'} literal`);
      }
      if (this.sql[this.at] === '\\' && !raw) text += this.escape(isBytes);
      else {
        const char = String.fromCodePoint(code) + (code === 92 ? (this.sql[this.at + 1] ?? '') : '');
        text += isBytes ? Buffer.from(char).toString('latin1') : char;
        this.at += char.length;
      }
    }
    this.at += quote.length;
    const token = { offset, end: this.at, text };
    return isBytes ? { kind: 'bytes', ...token, bytes: Buffer.from(text, 'latin1') } : { kind: 'string', ...token };
  }

  private escape(isBytes: boolean): string {
    const offset = this.at;
    const letter = this.sql[offset + 1] ?? '';
    const simple = ESCAPES[letter];
    if (simple !== undefined) {
      this.at += 2;
      return simple;
    }
    const numeric = /\\(?:([0-3][0-7]{2})|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))/y;
    numeric.lastIndex = offset;
    const match = numeric.exec(this.sql);
    const code = match && (match[1] ? parseInt(match[1], 8) : parseInt(match[2] ?? match[3] ?? match[4] ?? '', 16));
    const invalid = code === null || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff);
    if (!match || invalid || (isBytes && (match[3] ?? match[4]) !== undefined)) {
      throw errorAt(this.sql, offset, `Syntax error: Illegal escape sequence: \\${letter}`);
    }
    this.at += match[0].length;
    return String.fromCodePoint(code);
  }
}
