import type { ScalarType, Value } from './types.js';

/** A position in the SQL text, for messages. */
export interface Node {
  readonly offset: number;
}

export type ComparisonOperator = '=' | '!=' | '<' | '<=' | '>' | '>=';
export type BinaryOperator = ComparisonOperator | 'AND' | 'OR' | '+' | '-' | '*' | '/' | '||' | 'LIKE';
export type DatePart = 'NANOSECOND' | 'MICROSECOND' | 'MILLISECOND' | 'SECOND' | 'MINUTE' | 'HOUR' | 'DAY';

export type Expression = Node &
  (
    | { readonly kind: 'literal'; readonly type: ScalarType; readonly value: Value }
    | { readonly kind: 'null' }
    | { readonly kind: 'parameter'; readonly name: string }
    | { readonly kind: 'column'; readonly path: readonly string[] }
    | { readonly kind: 'not' | 'negate'; readonly operand: Expression }
    | {
        readonly kind: 'binary';
        readonly operator: BinaryOperator;
        readonly left: Expression;
        readonly right: Expression;
      }
    | { readonly kind: 'isNull'; readonly operand: Expression }
    | { readonly kind: 'isBool'; readonly operand: Expression; readonly value: boolean }
    | { readonly kind: 'in'; readonly operand: Expression; readonly list: readonly Expression[] }
    | { readonly kind: 'inUnnest'; readonly operand: Expression; readonly array: Expression }
    | { readonly kind: 'array'; readonly elements: readonly Expression[] }
    | { readonly kind: 'call'; readonly name: string; readonly args: readonly Expression[]; readonly star: boolean }
    | { readonly kind: 'interval'; readonly amount: Expression; readonly part: DatePart }
    | { readonly kind: 'datePart'; readonly part: DatePart }
    | { readonly kind: 'cast'; readonly operand: Expression; readonly type: ScalarType }
  );

export interface Hint {
  readonly name: string;
  readonly value: string;
}

export interface TableReference extends Node {
  /** One part, or two for `INFORMATION_SCHEMA.x`. */
  readonly path: readonly string[];
  readonly alias?: string;
  readonly hints: readonly Hint[];
}

export type SelectItem = Node &
  (
    | { readonly kind: 'star' }
    | { readonly kind: 'expression'; readonly expression: Expression; readonly alias?: string }
  );

export interface OrderItem {
  readonly expression: Expression;
  readonly descending: boolean;
}

export interface Select extends Node {
  readonly kind: 'select';
  readonly distinct: boolean;
  readonly items: readonly SelectItem[];
  readonly from?: TableReference;
  readonly where?: Expression;
  readonly groupBy: readonly Expression[];
  readonly orderBy: readonly OrderItem[];
  readonly limit?: Expression;
  readonly offsetRows?: Expression;
  /** `FOR UPDATE`, or the hint for exclusive locks on scanned rows. */
  readonly forUpdate: boolean;
  /** The query after `UNION ALL`. ORDER BY and LIMIT are those of this query alone. */
  readonly unionAll?: Select;
}

export interface Returning {
  readonly items: readonly SelectItem[];
  /** The alias of the column that names the action, for `THEN RETURN WITH ACTION`. */
  readonly action?: string;
}

export interface Insert extends Node {
  readonly kind: 'insert';
  readonly conflict: 'error' | 'update' | 'ignore';
  readonly table: TableReference;
  readonly columns: readonly (Node & { readonly name: string })[];
  readonly source: { readonly kind: 'values'; readonly rows: readonly (readonly Expression[])[] } | Select;
  readonly returning?: Returning;
}

export interface Update extends Node {
  readonly kind: 'update';
  readonly table: TableReference;
  readonly assignments: readonly (Node & { readonly path: readonly string[]; readonly value: Expression })[];
  readonly where: Expression;
  readonly returning?: Returning;
}

export interface Delete extends Node {
  readonly kind: 'delete';
  readonly table: TableReference;
  readonly where: Expression;
  readonly returning?: Returning;
}

export type Dml = Insert | Update | Delete;
export type Statement = Select | Dml;

export interface ColumnDefinition {
  readonly name: string;
  readonly type: ScalarType;
  /** Characters or bytes, for STRING and BYTES; undefined for MAX. */
  readonly length?: number;
  readonly notNull: boolean;
  /** Undefined when the option was not given. */
  readonly allowCommitTimestamp?: boolean;
}

export interface KeyPart {
  readonly column: string;
  readonly descending: boolean;
}

export type Ddl =
  | {
      readonly kind: 'createTable';
      readonly name: string;
      readonly ifNotExists: boolean;
      readonly columns: readonly ColumnDefinition[];
      readonly primaryKey: readonly KeyPart[];
    }
  | { readonly kind: 'dropTable' | 'dropIndex'; readonly name: string; readonly ifExists: boolean }
  | {
      readonly kind: 'createIndex';
      readonly name: string;
      readonly ifNotExists: boolean;
      readonly table: string;
      readonly key: readonly KeyPart[];
      readonly storing: readonly string[];
    }
  | { readonly kind: 'createDatabase'; readonly name: string };
