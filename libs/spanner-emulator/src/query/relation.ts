import { invalidArgument, unimplemented } from '../common/status.js';
import type { TableReference } from '../sql/ast.js';
import { errorAt } from '../sql/lexer.js';
import type { Parameters } from '../sql/scope.js';
import type { Column, Row } from '../sql/types.js';
import { informationSchema } from './information-schema.js';
import type { Schema } from '../storage/schema.js';
import type { Table } from '../storage/table.js';

/** The context in which a statement is compiled. */
export interface StatementContext {
  readonly sql: string;
  readonly parameters: Parameters;
  readonly schema: Schema;
  readonly now: bigint;
  /** Columns that the transaction has written with its commit timestamp, which is not known yet. */
  readonly pending: (table: Table) => ReadonlySet<number> | undefined;
}

/** A relation in FROM: a stored table, or a view of the schema. */
export type Relation =
  | {
      readonly kind: 'table';
      readonly table: Table;
      readonly columns: readonly Column[];
      readonly names: readonly string[];
    }
  | {
      readonly kind: 'virtual';
      readonly rows: readonly Row[];
      readonly columns: readonly Column[];
      readonly names: readonly string[];
    };

export const resolveRelation = ({ sql, schema }: StatementContext, reference: TableReference): Relation => {
  const { path, alias, offset } = reference;
  const name = path.join('.');
  const names = [alias ?? path.at(-1)!];
  if (path.length === 1) {
    const table = schema.table(name);
    if (!table) throw errorAt(sql, offset, `Table not found: ${name}`);
    return { kind: 'table', table, columns: table.columns, names };
  }
  if (path.length !== 2 || path[0]!.toUpperCase() !== 'INFORMATION_SCHEMA') {
    if (/^SPANNER_SYS$/i.test(path[0]!)) throw unimplemented('SPANNER_SYS');
    throw errorAt(sql, offset, `Table not found: ${name}`);
  }
  return { kind: 'virtual', ...informationSchema(schema, path[1]!), names };
};

/** DML needs a stored table. */
export const resolveTable = (
  context: StatementContext,
  reference: TableReference,
): Extract<Relation, { kind: 'table' }> => {
  const relation = resolveRelation(context, reference);
  if (relation.kind === 'virtual') throw invalidArgument(`DML on ${reference.path.join('.')} is not allowed`);
  return relation;
};
