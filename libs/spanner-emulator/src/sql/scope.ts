import { errorAt } from './lexer.js';
import type { Column, ExpressionValue, Row, SqlType, Value } from './types.js';
import { unimplemented, type SpannerError } from '../common/status.js';
import type { JsonValue } from './value-codec.js';

/** A bound parameter. Without a type, it has the type that its position in the statement requires. */
export interface Parameter {
  readonly type?: SqlType;
  readonly value: JsonValue;
}

export type Parameters = ReadonlyMap<string, Parameter>;

/** An aggregate over the rows that pass WHERE. */
export interface Aggregate {
  add(row: Row): void;
  result(): Value;
}

/**
 * A condition on one column, with which a plan can narrow its scan.
 * `in` with one value is equality; `prefix` is STARTS_WITH.
 */
export interface Bound {
  readonly column: number;
  readonly kind: 'in' | '<' | '<=' | '>' | '>=' | 'prefix' | 'isNull';
  readonly values: readonly Value[];
}

export type Evaluate = (row: Row, aggregates: readonly Value[]) => ExpressionValue;

/** An expression with its type, ready to run. */
export interface Typed {
  readonly type: SqlType;
  readonly evaluate: Evaluate;
  /** The same value for every row: it contains no column and no aggregate. */
  readonly constant: boolean;
  /** Literals and parameters coerce where other expressions do not. */
  readonly literal: boolean;
  /** Set for NULL and for parameters without a type: they coerce to any type. */
  readonly untyped?: { readonly json: JsonValue };
  /** Set for a plain column reference. */
  readonly column?: number;
  /** Conditions that must hold for this expression to be TRUE. */
  readonly bounds?: readonly Bound[];
}

/** The names that an expression may use, and facts that were found during its compilation. */
export class Scope {
  /** Positions of the columns that the compiled expressions read. */
  readonly used = new Set<number>();
  readonly aggregates: Aggregate[] = [];
  /** Positions of the columns that are read outside of an aggregate. */
  readonly bareColumns = new Set<number>();
  private aggregateDepth = 0;

  /**
   * @param sql the text of the statement, for positions in messages
   * @param now the value of CURRENT_TIMESTAMP in this statement
   * @param names the names of the table: its alias, or its name
   * @param aliases of the SELECT list, in lower case: in ORDER BY they come before columns, alone or in an expression
   */
  constructor(
    readonly sql: string,
    readonly parameters: Parameters,
    readonly now: bigint,
    readonly columns: readonly Column[] = [],
    private readonly names: readonly string[] = [],
    private readonly allowAggregates = false,
    private readonly aliases: ReadonlySet<string> = new Set(),
  ) {}

  column(path: readonly string[], offset: number): number {
    const known = path.length === 1 || (path.length === 2 && this.isTable(path[0]!));
    const name = path.at(-1)!.toLowerCase();
    if (path.length === 1 && this.aliases.has(name))
      throw unimplemented(`the alias ${name} in an expression of ORDER BY`);
    const index = known ? this.columns.findIndex((column) => column.name.toLowerCase() === name) : -1;
    if (index < 0) {
      const place =
        path.length > 1 && known
          ? `Name ${path[1]} not found inside ${path[0]}`
          : `Unrecognized name: ${path.join('.')}`;
      throw this.error(offset, place);
    }
    this.used.add(index);
    if (this.aggregateDepth === 0) this.bareColumns.add(index);
    return index;
  }

  parameter(name: string, offset: number): Parameter {
    // Parameter names are case-insensitive; the map is keyed by their lower case.
    const parameter = this.parameters.get(name.toLowerCase());
    if (!parameter) throw this.error(offset, `No parameter found for binding: ${name}`);
    return parameter;
  }

  /** Compiles the argument of an aggregate. */
  insideAggregate<T>(name: string, offset: number, compile: () => T): T {
    if (!this.allowAggregates) throw this.error(offset, `Aggregate function ${name} not allowed here`);
    if (this.aggregateDepth > 0) throw this.error(offset, 'Aggregations of aggregations are not allowed');
    this.aggregateDepth++;
    try {
      return compile();
    } finally {
      this.aggregateDepth--;
    }
  }

  error(offset: number, message: string): SpannerError {
    return errorAt(this.sql, offset, message);
  }

  private isTable(name: string): boolean {
    return this.names.some((candidate) => candidate.toLowerCase() === name.toLowerCase());
  }
}
