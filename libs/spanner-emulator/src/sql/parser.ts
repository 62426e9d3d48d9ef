import { invalidArgument, unimplemented } from '../common/status.js';
import type {
  Delete,
  Hint,
  Insert,
  OrderItem,
  Returning,
  Select,
  SelectItem,
  Statement,
  TableReference,
  Update,
} from './ast.js';
import { ExpressionParser } from './expression-parser.js';
import { TokenStream } from './token-stream.js';

/** Statements by their texts, the oldest first. Spanner keeps plans, too. */
const parsed = new Map<string, Statement>();
const MOST_PARSED = 200;

/** Parses one query or DML statement. Unsupported constructs of Spanner's dialect fail with their name. */
export const parseStatement = (sql: string): Statement => {
  const known = parsed.get(sql);
  if (known) return known;
  const statement = new StatementParser(new TokenStream(sql)).statement();
  const [oldest] = parsed.keys();
  if (parsed.size >= MOST_PARSED && oldest !== undefined) parsed.delete(oldest);
  parsed.set(sql, statement);
  return statement;
};

class StatementParser {
  private readonly expressions: ExpressionParser;

  constructor(private readonly tokens: TokenStream) {
    this.expressions = new ExpressionParser(tokens);
  }

  statement(): Statement {
    const exclusive = this.statementHints();
    const statement = this.body(exclusive);
    this.tokens.expectEnd();
    return statement;
  }

  private body(exclusive: boolean): Statement {
    if (this.tokens.isKeyword('SELECT') || this.tokens.isSymbol('(')) return this.query(exclusive);
    if (this.tokens.isKeyword('INSERT')) return this.insert();
    if (this.tokens.isKeyword('UPDATE')) return this.update();
    if (this.tokens.isKeyword('DELETE')) return this.delete();
    for (const word of ['WITH', 'GRAPH', 'CALL', 'MERGE']) this.tokens.refuse(`${word} statements`, word);
    this.tokens.refuse('pipe syntax', 'FROM');
    throw this.tokens.unexpected();
  }

  private statementHints(): boolean {
    let exclusive = false;
    for (const { name, value } of this.hints()) {
      if (name === 'LOCK_SCANNED_RANGES') exclusive = value.toUpperCase() === 'EXCLUSIVE';
      else if (!['OPTIMIZER_VERSION', 'OPTIMIZER_STATISTICS_PACKAGE', 'ALLOW_DISTRIBUTED_MERGE'].includes(name)) {
        throw unimplemented(`the statement hint ${name}`);
      }
    }
    return exclusive;
  }

  /** `@{NAME=value, …}`, or nothing. */
  private hints(): Hint[] {
    if (!this.tokens.acceptSymbol('@{')) return [];
    const hints = this.tokens.list(() => {
      const name = this.tokens.path().at(-1)!.toUpperCase();
      this.tokens.expectSymbol('=');
      return { name, value: this.tokens.advance().text };
    });
    this.tokens.expectSymbol('}');
    return hints;
  }

  /**
   * A query, or the first of several with UNION ALL. In parentheses it may have ORDER BY and LIMIT of its own.
   * @param member whether it follows UNION ALL.
   */
  private query(exclusive: boolean, member = false): Select {
    if (!this.tokens.isSymbol('(')) return this.select(exclusive, member);
    const select = this.tokens.parenthesized(() => {
      if (this.tokens.isSymbol('(')) throw unimplemented('parentheses in parentheses');
      return this.select(exclusive);
    });
    if (select.unionAll) throw unimplemented('UNION ALL in parentheses');
    const unionAll = this.tokens.acceptKeyword('UNION', 'ALL') ? this.query(exclusive, true) : undefined;
    for (const word of ['ORDER', 'LIMIT', 'FOR']) this.tokens.refuse(`${word} beside parentheses`, word);
    for (const word of ['UNION', 'INTERSECT', 'EXCEPT']) this.tokens.refuse(word, word);
    return { ...select, unionAll };
  }

  /** @param member whether the query follows UNION ALL. */
  private select(exclusive: boolean, member = false): Select {
    const { offset } = this.tokens.current;
    this.tokens.expectKeyword('SELECT');
    if (this.tokens.isSymbol('@{')) throw unimplemented('hints after SELECT');
    const distinct = !this.tokens.acceptKeyword('ALL') && this.tokens.acceptKeyword('DISTINCT');
    this.tokens.refuse('SELECT AS', 'AS');
    const items = this.selectItems();
    const from = this.tokens.acceptKeyword('FROM') ? this.from() : undefined;
    const where = this.tokens.acceptKeyword('WHERE') ? this.expressions.expression() : undefined;
    const groupBy = this.tokens.acceptKeyword('GROUP', 'BY')
      ? this.tokens.list(() => this.expressions.expression())
      : [];
    this.tokens.refuse('HAVING', 'HAVING');
    const unionAll = this.tokens.acceptKeyword('UNION', 'ALL') ? this.query(exclusive, true) : undefined;
    if (member || unionAll)
      for (const word of ['ORDER', 'LIMIT', 'FOR']) this.tokens.refuse(`${word} beside UNION`, word);
    for (const word of ['UNION', 'INTERSECT', 'EXCEPT', 'WINDOW']) this.tokens.refuse(word, word);
    const orderBy = this.tokens.acceptKeyword('ORDER', 'BY') ? this.tokens.list(() => this.orderItem()) : [];
    const limit = this.tokens.acceptKeyword('LIMIT') ? this.expressions.expression() : undefined;
    const offsetRows = limit && this.tokens.acceptKeyword('OFFSET') ? this.expressions.expression() : undefined;
    const forUpdate = this.tokens.acceptKeyword('FOR', 'UPDATE') || exclusive;
    return {
      kind: 'select',
      distinct,
      items,
      from,
      where,
      groupBy,
      orderBy,
      limit,
      offsetRows,
      forUpdate,
      unionAll,
      offset,
    };
  }

  private selectItems(): SelectItem[] {
    return this.tokens.list((): SelectItem => {
      const { offset } = this.tokens.current;
      if (this.tokens.acceptSymbol('*')) {
        for (const word of ['EXCEPT', 'REPLACE']) this.tokens.refuse(`SELECT * ${word}`, word);
        return { kind: 'star', offset };
      }
      const expression = this.expressions.expression();
      return { kind: 'expression', expression, alias: this.alias(), offset };
    });
  }

  private alias(): string | undefined {
    if (this.tokens.acceptKeyword('AS') || this.tokens.isIdentifier) return this.tokens.identifier();
    return undefined;
  }

  private from(): TableReference {
    if (this.tokens.isSymbol('(')) throw unimplemented('a subquery');
    this.tokens.refuse('UNNEST in FROM', 'UNNEST');
    const table = this.table();
    if (this.tokens.isSymbol(',')) throw unimplemented('JOIN');
    if (this.tokens.isSymbol('(')) throw unimplemented('table-valued functions');
    for (const word of ['JOIN', 'INNER', 'CROSS', 'LEFT', 'RIGHT', 'FULL', 'NATURAL', 'HASH', 'LOOKUP']) {
      this.tokens.refuse('JOIN', word);
    }
    this.tokens.refuse('TABLESAMPLE', 'TABLESAMPLE');
    return table;
  }

  private table(): TableReference {
    const { offset } = this.tokens.current;
    const path = this.tokens.path();
    const hints = this.hints();
    const unknown = hints.find(({ name }) => name !== 'FORCE_INDEX');
    if (unknown) throw unimplemented(`the table hint ${unknown.name}`);
    return { path, hints, alias: this.alias(), offset };
  }

  private orderItem(): OrderItem {
    const expression = this.expressions.expression();
    this.tokens.refuse('COLLATE', 'COLLATE');
    const descending = this.tokens.acceptKeyword('DESC');
    if (!descending) this.tokens.acceptKeyword('ASC');
    this.tokens.refuse('NULLS FIRST and NULLS LAST', 'NULLS');
    return { expression, descending };
  }

  private insert(): Insert {
    const { offset } = this.tokens.current;
    this.tokens.expectKeyword('INSERT');
    let conflict: Insert['conflict'] = 'error';
    if (this.tokens.acceptKeyword('OR')) {
      if (this.tokens.acceptKeyword('IGNORE')) conflict = 'ignore';
      else {
        this.tokens.expectKeyword('UPDATE');
        conflict = 'update';
      }
    }
    this.tokens.acceptKeyword('INTO');
    const table = { path: this.tokens.path(), hints: [], offset: this.tokens.current.offset };
    if (this.tokens.isSymbol('@{')) throw unimplemented('hints in INSERT');
    const columns = this.tokens.parenthesized(() =>
      this.tokens.list(() => ({ offset: this.tokens.current.offset, name: this.tokens.identifier() })),
    );
    if (this.tokens.isSymbol('(')) throw unimplemented('parenthesized queries');
    const source = this.tokens.acceptKeyword('VALUES') ? this.values() : this.select(false);
    this.tokens.refuse('INSERT … ON CONFLICT', 'ON');
    this.tokens.refuse('ASSERT_ROWS_MODIFIED', 'ASSERT_ROWS_MODIFIED');
    return { kind: 'insert', conflict, table, columns, source, returning: this.returning(), offset };
  }

  private values(): Extract<Insert['source'], { kind: 'values' }> {
    const rows = this.tokens.list(() =>
      this.tokens.parenthesized(() =>
        this.tokens.list(() => {
          this.tokens.refuse('DEFAULT values', 'DEFAULT');
          return this.expressions.expression();
        }),
      ),
    );
    return { kind: 'values', rows };
  }

  private update(): Update {
    const { offset } = this.tokens.current;
    this.tokens.expectKeyword('UPDATE');
    const table = this.table();
    this.tokens.expectKeyword('SET');
    const assignments = this.tokens.list(() => {
      const at = this.tokens.current.offset;
      const path = this.tokens.path();
      this.tokens.expectSymbol('=');
      this.tokens.refuse('DEFAULT values', 'DEFAULT');
      return { offset: at, path, value: this.expressions.expression() };
    });
    this.tokens.refuse('UPDATE … FROM', 'FROM');
    return { kind: 'update', table, assignments, where: this.where('UPDATE'), returning: this.returning(), offset };
  }

  private delete(): Delete {
    const { offset } = this.tokens.current;
    this.tokens.expectKeyword('DELETE');
    this.tokens.acceptKeyword('FROM');
    return { kind: 'delete', table: this.table(), where: this.where('DELETE'), returning: this.returning(), offset };
  }

  private where(statement: string): Update['where'] {
    if (!this.tokens.acceptKeyword('WHERE')) {
      if (this.tokens.current.kind !== 'end') throw this.tokens.unexpected();
      throw invalidArgument(`${statement} must have a WHERE clause`);
    }
    const where = this.expressions.expression();
    this.tokens.refuse('ASSERT_ROWS_MODIFIED', 'ASSERT_ROWS_MODIFIED');
    return where;
  }

  private returning(): Returning | undefined {
    if (!this.tokens.acceptKeyword('THEN', 'RETURN')) return undefined;
    let action: string | undefined;
    if (this.tokens.acceptKeyword('WITH', 'ACTION')) {
      action = this.tokens.acceptKeyword('AS') ? this.tokens.identifier() : 'ACTION';
    }
    return { items: this.selectItems(), action };
  }
}
