import { invalidArgument } from '../common/status.js';
import type { Delete, Dml, Expression, Insert, Returning, Update } from '../sql/ast.js';
import { compile, compileAs } from '../sql/compiler.js';
import { coerce, constant } from '../sql/coercion.js';
import { Scope, type Typed } from '../sql/scope.js';
import { PENDING, typeName, type Column, type Row, type Value } from '../sql/types.js';
import { checkNotNullColumns, describeKey, rowExists } from '../storage/row-checks.js';
import type { Table } from '../storage/table.js';
import type { Work } from '../storage/work.js';
import { planScan } from './planner.js';
import { resolveTable, type StatementContext } from './relation.js';
import { compileItems, prepareSelect, type Rows } from './select.js';

/** The outcome of a DML statement. `returned` is set only with THEN RETURN. */
export interface Modification {
  readonly count: number;
  readonly returned?: Rows;
}

export const runDml = (dml: Dml, context: StatementContext, work: Work): Modification => {
  switch (dml.kind) {
    case 'insert':
      return runInsert(dml, context, work);
    case 'update':
      return runUpdate(dml, context, work);
    case 'delete':
  }
  return runDelete(dml, context, work);
};

const scopeOf = (
  { sql, parameters, now }: StatementContext,
  columns: readonly Column[] = [],
  names: readonly string[] = [],
) => new Scope(sql, parameters, now, columns, names);

/** A value to write into a column: the only place where PENDING_COMMIT_TIMESTAMP() is allowed. */
const compileAssigned = (expression: Expression, column: Column, scope: Scope): Typed => {
  if (expression.kind === 'call' && expression.name === 'PENDING_COMMIT_TIMESTAMP' && column.type === 'TIMESTAMP') {
    return constant('TIMESTAMP', PENDING, false);
  }
  return compileAs(expression, column.type, scope, `Value for column ${column.name}`);
};

/** Compiles THEN RETURN. The result is called with each written or deleted row. */
const compileReturning = (
  returning: Returning | undefined,
  table: Table,
  scope: Scope,
): { columns: Column[]; evaluate: (row: Row, action: string) => Row } | undefined => {
  if (!returning) return undefined;
  const outputs = compileItems(returning.items, scope, table);
  const columns = outputs.map(({ name, typed }): Column => ({ name, type: typed.type as Column['type'] }));
  if (returning.action !== undefined) columns.push({ name: returning.action, type: 'STRING' });
  const evaluate = (row: Row, action: string): Row => {
    const values = outputs.map(({ typed }) => typed.evaluate(row, []) as Value);
    if (values.includes(PENDING)) {
      throw invalidArgument('A column that was set to PENDING_COMMIT_TIMESTAMP() cannot be read in THEN RETURN.');
    }
    return returning.action === undefined ? values : [...values, action];
  };
  return { columns, evaluate };
};

const runInsert = (insert: Insert, context: StatementContext, work: Work): Modification => {
  const { table, names } = resolveTable(context, insert.table);
  const targets = insert.columns.map(({ name, offset }) => {
    const at = table.columnIndex(name);
    if (at < 0) throw scopeOf(context).error(offset, `Column ${name} is not present in table ${table.name}`);
    return at;
  });
  if (new Set(targets).size < targets.length) throw invalidArgument('INSERT lists a column more than once');
  const returning = compileReturning(insert.returning, table, scopeOf(context, table.columns, names));
  const returned: Row[] = [];
  const affected = new Set<string>();
  let count = 0;
  for (const values of insertedValues(insert, targets, table, context, work)) {
    const fresh: Value[] = table.columns.map(() => null);
    for (const [i, target] of targets.entries()) fresh[target] = values[i]!;
    const key = table.keyOf(fresh);
    const old = work.current(table, key);
    if (old && insert.conflict === 'error') {
      work.lockRow(table, key);
      throw rowExists(table, fresh);
    }
    if (old && insert.conflict === 'ignore') {
      work.lockRow(table, key);
      continue;
    }
    if (insert.conflict === 'update' && affected.has(key)) {
      throw invalidArgument(`Cannot affect a row second time for key: ${describeKey(fresh, table.key)}`);
    }
    affected.add(key);
    // As with INSERT, also when the row exists already and is updated.
    if (old) checkNotNullColumns(table, targets);
    const row = old ? old.map((value, i) => (targets.includes(i) ? fresh[i]! : value)) : fresh;
    work.put(table, key, row, old ? targets : undefined);
    if (returning) returned.push(returning.evaluate(row, old ? 'UPDATE' : 'INSERT'));
    count++;
  }
  return { count, returned: returning && { columns: returning.columns, rows: returned } };
};

const insertedValues = (
  { source, offset }: Insert,
  targets: readonly number[],
  table: Table,
  context: StatementContext,
  work: Work,
): Row[] => {
  const scope = scopeOf(context);
  const checkCount = (count: number): void => {
    if (count !== targets.length) {
      throw scope.error(offset, `Inserted row has wrong column count; Has ${count}, expected ${targets.length}`);
    }
  };
  const columnAt = (place: number) => table.columns[targets[place]!];
  if (source.kind === 'values') {
    return source.rows.map((row) => {
      checkCount(row.length);
      return row.map((value, i) => compileAssigned(value, columnAt(i)!, scope).evaluate([], []) as Value);
    });
  }
  const query = prepareSelect(source, context, (expression, place, selectScope) => {
    const column = columnAt(place);
    return column && coerce(compile(expression, selectScope), column.type);
  });
  checkCount(query.columns.length);
  for (const [i, { type }] of query.columns.entries()) {
    const column = columnAt(i)!;
    if (type === column.type) continue;
    throw scope.error(
      offset,
      `Query column ${i + 1} has type ${type} which cannot be inserted into column ${column.name}, which has type ${typeName(column.type)}`,
    );
  }
  return query.run(work);
};

/** The rows that UPDATE or DELETE affects. */
const matching = (
  dml: Update | Delete,
  where: Typed,
  scope: Scope,
  table: Table,
  context: StatementContext,
  work: Work,
): Row[] => {
  const plan = planScan(table, where.bounds ?? [], [], dml.table.hints, context.pending(table));
  const rows = work.rows({ ...plan, table, columns: scope.used });
  return [...rows].filter((row) => where.evaluate(row, []) === true);
};

const runUpdate = (update: Update, context: StatementContext, work: Work): Modification => {
  const { table, names } = resolveTable(context, update.table);
  const scope = scopeOf(context, table.columns, names);
  const assignments = update.assignments.map(({ path, value, offset }) => {
    const target = table.columnIndex(path.at(-1)!);
    if (target < 0 || path.length > 2) throw scope.error(offset, `Unrecognized name: ${path.join('.')}`);
    if (table.key.some(({ column }) => column === target)) {
      throw scope.error(offset, `Cannot UPDATE value on primary key column \`${table.columns[target]!.name}\``);
    }
    return { target, value: compileAssigned(value, table.columns[target]!, scope) };
  });
  const targets = assignments.map(({ target }) => target);
  if (new Set(targets).size < targets.length) throw invalidArgument('UPDATE assigns a column more than once');
  const where = compileAs(update.where, 'BOOL', scope, 'WHERE clause');
  // THEN RETURN reads the new row, so assigned columns are not read before.
  const after = scopeOf(context, table.columns, names);
  const returning = compileReturning(update.returning, table, after);
  for (const column of after.used) if (!targets.includes(column)) scope.used.add(column);
  const returned: Row[] = [];
  const rows = matching(update, where, scope, table, context, work);
  for (const old of rows) {
    const row = [...old];
    for (const { target, value } of assignments) row[target] = value.evaluate(old, []) as Value;
    work.put(table, table.keyOf(old), row, targets);
    if (returning) returned.push(returning.evaluate(row, 'UPDATE'));
  }
  return { count: rows.length, returned: returning && { columns: returning.columns, rows: returned } };
};

const runDelete = (dml: Delete, context: StatementContext, work: Work): Modification => {
  const { table, names } = resolveTable(context, dml.table);
  const scope = scopeOf(context, table.columns, names);
  const where = compileAs(dml.where, 'BOOL', scope, 'WHERE clause');
  const returning = compileReturning(dml.returning, table, scope);
  const rows = matching(dml, where, scope, table, context, work);
  for (const row of rows) work.remove(table, table.keyOf(row));
  const returned = returning && {
    columns: returning.columns,
    rows: rows.map((row) => returning.evaluate(row, 'DELETE')),
  };
  return { count: rows.length, returned };
};
