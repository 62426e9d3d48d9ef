import { unimplemented, type SpannerError } from '../common/status.js';
import { errorAt, Lexer, type Token } from './lexer.js';

/** The reserved words of GoogleSQL: an identifier with this name needs backquotes. */
const RESERVED = new Set(
  `ALL AND ANY ARRAY AS ASC ASSERT_ROWS_MODIFIED AT BETWEEN BY CASE CAST COLLATE CONTAINS CREATE CROSS CUBE CURRENT
  DEFAULT DEFINE DESC DISTINCT ELSE END ENUM ESCAPE EXCEPT EXCLUDE EXISTS EXTRACT FALSE FETCH FOLLOWING FOR FROM FULL
  GROUP GROUPING GROUPS HASH HAVING IF IGNORE IN INNER INTERSECT INTERVAL INTO IS JOIN LATERAL LEFT LIKE LIMIT LOOKUP
  MERGE NATURAL NEW NO NOT NULL NULLS OF ON OR ORDER OUTER OVER PARTITION PRECEDING PROTO RANGE RECURSIVE RESPECT RIGHT
  ROLLUP ROWS SELECT SET SOME STRUCT TABLESAMPLE THEN TO TREAT TRUE UNBOUNDED UNION UNNEST USING WHEN WHERE WINDOW WITH
  WITHIN`.split(/\s+/),
);

/** The tokens of one statement with a position, and the operations of a recursive-descent parser. */
export class TokenStream {
  private readonly tokens: readonly Token[];
  private at = 0;

  constructor(readonly sql: string) {
    this.tokens = new Lexer(sql).all();
  }

  get current(): Token {
    return this.tokens[this.at]!;
  }

  get following(): Token {
    return this.tokens[this.at + 1] ?? this.current;
  }

  advance(): Token {
    const token = this.current;
    if (token.kind !== 'end') this.at++;
    return token;
  }

  isKeyword(...words: readonly string[]): boolean {
    return words.every((word, i) => {
      const token = this.tokens[this.at + i];
      return token?.kind === 'identifier' && token.text.toUpperCase() === word;
    });
  }

  /** Consumes the words if all of them come next. */
  acceptKeyword(...words: readonly string[]): boolean {
    const found = this.isKeyword(...words);
    if (found) this.at += words.length;
    return found;
  }

  expectKeyword(...words: readonly string[]): void {
    for (const word of words) if (!this.acceptKeyword(word)) throw this.expected(`keyword ${word}`);
  }

  isSymbol(symbol: string): boolean {
    return this.current.kind === 'symbol' && this.current.text === symbol;
  }

  acceptSymbol(symbol: string): boolean {
    const found = this.isSymbol(symbol);
    if (found) this.at++;
    return found;
  }

  expectSymbol(symbol: string): void {
    if (!this.acceptSymbol(symbol)) throw this.expected(`"${symbol}"`);
  }

  get isIdentifier(): boolean {
    const { kind, text } = this.current;
    return kind === 'quoted' || (kind === 'identifier' && !RESERVED.has(text.toUpperCase()));
  }

  identifier(): string {
    if (!this.isIdentifier) throw this.expected('identifier');
    return this.advance().text;
  }

  /** `a`, or `a.b`. */
  path(): string[] {
    const parts = [this.identifier()];
    // After a dot, every word is a name, even a reserved one.
    while (this.acceptSymbol('.')) {
      if (this.isSymbol('*')) throw unimplemented(`${parts.join('.')}.*`);
      if (!['identifier', 'quoted'].includes(this.current.kind)) throw this.expected('identifier');
      parts.push(this.advance().text);
    }
    return parts;
  }

  /** `item, item, …`, at least one. */
  list<T>(item: () => T): T[] {
    const items = [item()];
    while (this.acceptSymbol(',')) items.push(item());
    return items;
  }

  parenthesized<T>(content: () => T): T {
    this.expectSymbol('(');
    const result = content();
    this.expectSymbol(')');
    return result;
  }

  expectEnd(): void {
    this.acceptSymbol(';');
    if (this.current.kind !== 'end') throw this.expected('end of input');
  }

  expected(what: string): SpannerError {
    return this.error(`Syntax error: Expected ${what} but got ${this.describe()}`);
  }

  unexpected(): SpannerError {
    return this.error(`Syntax error: Unexpected ${this.describe()}`);
  }

  error(message: string, offset = this.current.offset): SpannerError {
    return errorAt(this.sql, offset, message);
  }

  /** Rejects an unsupported construct of Spanner, with its name, when its first words come next. */
  refuse(construct: string, ...words: readonly string[]): void {
    if (this.isKeyword(...words)) throw unimplemented(construct);
  }

  private describe(): string {
    const { kind, text, offset, end } = this.current;
    if (kind === 'end') return 'end of statement';
    if (kind === 'identifier' && RESERVED.has(text.toUpperCase())) return `keyword ${text.toUpperCase()}`;
    if (kind === 'symbol') return `"${text}"`;
    const names = { integer: 'integer literal', float: 'floating point literal', quoted: 'identifier' } as const;
    const name = kind in names ? names[kind as keyof typeof names] : kind === 'identifier' ? kind : `${kind} literal`;
    return kind === 'parameter' ? `"@${text}"` : `${name} "${this.sql.slice(offset, end)}"`;
  }
}
