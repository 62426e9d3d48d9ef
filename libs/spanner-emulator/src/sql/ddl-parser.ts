import { failedPrecondition, invalidArgument, SpannerError, unimplemented } from '../common/status.js';
import type { ColumnDefinition, Ddl, KeyPart } from './ast.js';
import { parseScalarType } from './expression-parser.js';
import { TokenStream } from './token-stream.js';

/** Parses one DDL statement. Syntax errors name the statement, as in Spanner. */
export const parseDdl = (sql: string): Ddl => {
  try {
    return new DdlParser(new TokenStream(sql)).statement();
  } catch (error) {
    if (!(error instanceof SpannerError) || !error.message.startsWith('Syntax error')) throw error;
    throw invalidArgument(`Error parsing Spanner DDL statement: ${sql} : ${error.message}`);
  }
};

/** Splits a DDL file into statements at its semicolons, without empty ones. */
export const splitDdl = (text: string): string[] => {
  const statements: string[] = [];
  const tokens = new TokenStream(text);
  let start = tokens.current.offset;
  for (;;) {
    const { kind, offset } = tokens.current;
    if (kind === 'end' || tokens.isSymbol(';')) {
      const statement = text.slice(start, offset).trim();
      if (statement !== '') statements.push(statement);
      if (kind === 'end') return statements;
      start = tokens.following.offset;
    }
    tokens.advance();
  }
};

class DdlParser {
  constructor(private readonly tokens: TokenStream) {}

  statement(): Ddl {
    const statement = this.tokens.acceptKeyword('CREATE') ? this.create() : this.drop();
    this.tokens.expectEnd();
    return statement;
  }

  private create(): Ddl {
    if (this.tokens.acceptKeyword('DATABASE')) return { kind: 'createDatabase', name: this.tokens.identifier() };
    this.tokens.refuse('CREATE OR REPLACE', 'OR');
    if (this.tokens.acceptKeyword('TABLE')) return this.createTable();
    if (this.tokens.acceptKeyword('INDEX')) return this.createIndex();
    throw unimplemented(`CREATE ${this.tokens.current.text.toUpperCase()} ${this.tokens.following.text.toUpperCase()}`);
  }

  private drop(): Ddl {
    if (!this.tokens.acceptKeyword('DROP')) {
      if (/^(?:ALTER|GRANT|REVOKE|ANALYZE|RENAME)$/i.test(this.tokens.current.text)) {
        throw unimplemented(`${this.tokens.current.text.toUpperCase()} statements`);
      }
      throw this.tokens.unexpected();
    }
    const kind = this.tokens.acceptKeyword('TABLE')
      ? 'dropTable'
      : this.tokens.acceptKeyword('INDEX')
        ? 'dropIndex'
        : undefined;
    if (!kind) throw unimplemented(`DROP ${this.tokens.current.text.toUpperCase()}`);
    const ifExists = this.tokens.acceptKeyword('IF', 'EXISTS');
    return { kind, ifExists, name: this.name() };
  }

  private name(): string {
    const path = this.tokens.path();
    if (path.length > 1) throw unimplemented('named schemas');
    return path[0]!;
  }

  private createTable(): Ddl {
    const ifNotExists = this.tokens.acceptKeyword('IF', 'NOT', 'EXISTS');
    const name = this.name();
    const columns: ColumnDefinition[] = [];
    let primaryKey: KeyPart[] | undefined;
    this.tokens.expectSymbol('(');
    while (!this.tokens.isSymbol(')')) {
      for (const word of ['CONSTRAINT', 'FOREIGN', 'CHECK', 'SYNONYM']) {
        if (this.tokens.isKeyword(word) && this.tokens.following.text !== ',') this.refuseConstraint(word);
      }
      if (this.tokens.acceptKeyword('PRIMARY', 'KEY')) primaryKey = this.keyParts();
      else columns.push(this.column());
      if (!this.tokens.acceptSymbol(',')) break;
    }
    this.tokens.expectSymbol(')');
    if (this.tokens.acceptKeyword('PRIMARY', 'KEY')) primaryKey = this.keyParts();
    if (this.tokens.acceptSymbol(',')) {
      this.tokens.refuse('INTERLEAVE', 'INTERLEAVE');
      this.tokens.refuse('ROW DELETION POLICY', 'ROW');
      throw this.tokens.unexpected();
    }
    if (!primaryKey) throw this.tokens.expected('keyword PRIMARY');
    return { kind: 'createTable', name, ifNotExists, columns, primaryKey };
  }

  /** A column may have this name. A type name after the word shows that. */
  private refuseConstraint(word: string): void {
    if (/^(?:STRING|BYTES|INT64|FLOAT64|BOOL|TIMESTAMP)$/i.test(this.tokens.following.text)) return;
    throw unimplemented(`${word} in CREATE TABLE`);
  }

  private column(): ColumnDefinition {
    const name = this.tokens.identifier();
    const type = parseScalarType(this.tokens);
    const length = type === 'STRING' || type === 'BYTES' ? this.length(type) : undefined;
    const notNull = this.tokens.acceptKeyword('NOT', 'NULL');
    const inline = ['DEFAULT', 'AS', 'GENERATED', 'HIDDEN', 'PRIMARY', 'ON', 'AUTO_INCREMENT', 'PLACEMENT'];
    for (const word of inline) this.tokens.refuse(`${word} on a column`, word);
    const allowCommitTimestamp = this.tokens.acceptKeyword('OPTIONS') ? this.columnOptions(type) : undefined;
    return { name, type, length, notNull, allowCommitTimestamp };
  }

  private length(type: 'STRING' | 'BYTES'): number | undefined {
    return this.tokens.parenthesized(() => {
      if (this.tokens.acceptKeyword('MAX')) return undefined;
      if (this.tokens.current.kind !== 'integer') throw this.tokens.expected('integer literal');
      const length = Number(this.tokens.advance().text);
      const most = type === 'STRING' ? 2_621_440 : 10_485_760;
      if (length < 1 || length > most) throw invalidArgument(`The length of ${type} must be between 1 and ${most}`);
      return length;
    });
  }

  private columnOptions(type: string): boolean | undefined {
    return this.tokens.parenthesized(() => {
      let allowed: boolean | undefined;
      this.tokens.list(() => {
        const option = this.tokens.identifier();
        this.tokens.expectSymbol('=');
        if (option.toLowerCase() !== 'allow_commit_timestamp') throw unimplemented(`the column option ${option}`);
        if (type !== 'TIMESTAMP') {
          throw failedPrecondition('Option allow_commit_timestamp is only supported on TIMESTAMP columns.');
        }
        const value = this.tokens.advance().text.toLowerCase();
        if (!['true', 'false', 'null'].includes(value)) {
          throw invalidArgument(`The value of allow_commit_timestamp must be true, false or null, and not ${value}.`);
        }
        allowed = value === 'null' ? undefined : value === 'true';
      });
      return allowed;
    });
  }

  private keyParts(): KeyPart[] {
    return this.tokens.parenthesized(() => {
      if (this.tokens.isSymbol(')')) return [];
      return this.tokens.list(() => {
        const column = this.tokens.identifier();
        const descending = this.tokens.acceptKeyword('DESC');
        if (!descending) this.tokens.acceptKeyword('ASC');
        return { column, descending };
      });
    });
  }

  private createIndex(): Ddl {
    const ifNotExists = this.tokens.acceptKeyword('IF', 'NOT', 'EXISTS');
    const name = this.name();
    this.tokens.expectKeyword('ON');
    const table = this.name();
    const key = this.keyParts();
    const storing = this.tokens.acceptKeyword('STORING')
      ? this.tokens.parenthesized(() => this.tokens.list(() => this.tokens.identifier()))
      : [];
    if (this.tokens.isSymbol(',')) throw unimplemented('INTERLEAVE IN on an index');
    this.tokens.refuse('WHERE on an index', 'WHERE');
    this.tokens.refuse('OPTIONS on an index', 'OPTIONS');
    return { kind: 'createIndex', name, ifNotExists, table, key, storing };
  }
}
