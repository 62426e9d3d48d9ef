import { invalidArgument } from '../common/status.js';
import type { Expression, Select, SelectItem } from '../sql/ast.js';
import { compile, compileAs } from '../sql/compiler.js';
import { settle } from '../sql/coercion.js';
import { Scope, type Evaluate, type Typed } from '../sql/scope.js';
import { compareNullable, isArrayType, type Column, type Row, type Value } from '../sql/types.js';
import { unimplemented } from '../common/status.js';
import type { View } from '../storage/access.js';
import { planScan, type SortColumn } from './planner.js';
import { resolveRelation, type Relation, type StatementContext } from './relation.js';

/** Rows with the names and types of their columns. An unnamed column has the empty name. */
export interface Rows {
  readonly columns: readonly Column[];
  readonly rows: Row[];
}

/** A compiled query. It can run several times. */
export interface Query {
  readonly columns: readonly Column[];
  run(view: View): Row[];
}

interface Output {
  readonly name: string;
  readonly typed: Typed;
}

/** @param assigned compiles an item itself where INSERT … SELECT puts it into a column, to give it the column's type */
export const prepareSelect = (
  select: Select,
  context: StatementContext,
  assigned?: (expression: Expression, place: number, scope: Scope) => Typed | undefined,
): Query => {
  const first = prepareOne(select, context, assigned);
  if (!select.unionAll) return first;
  if (assigned) throw unimplemented('INSERT … SELECT … UNION ALL');
  const others = prepareSelect(select.unionAll, context);
  assertSameColumns(first.columns, others.columns);
  return { columns: first.columns, run: (view) => [...first.run(view), ...others.run(view)] };
};

const assertSameColumns = (first: readonly Column[], second: readonly Column[]): void => {
  if (first.length !== second.length) {
    throw invalidArgument(
      `Queries in UNION ALL have mismatched column count; query 1 has ${first.length} columns, query 2 has ${second.length} columns`,
    );
  }
  if (first.some(({ type }, i) => type !== second[i]?.type)) throw unimplemented('UNION ALL of columns of other types');
};

const prepareOne = (
  select: Select,
  context: StatementContext,
  assigned?: (expression: Expression, place: number, scope: Scope) => Typed | undefined,
): Query => {
  const relation = select.from && resolveRelation(context, select.from);
  const { sql, parameters, now } = context;
  const names = relation?.names ?? [];
  const scope = new Scope(sql, parameters, now, relation?.columns, names, true);
  const outputs = compileItems(select.items, scope, relation, assigned);
  if (!relation && select.where) throw invalidArgument('Query without FROM clause cannot have a WHERE clause');
  // WHERE sees rows before they are aggregated.
  const rowScope = new Scope(sql, parameters, now, relation?.columns, names);
  const where = select.where && compileAs(select.where, 'BOOL', rowScope, 'WHERE clause');
  const orderScope = new Scope(sql, parameters, now, relation?.columns, names, false, aliasesOf(outputs, scope));
  const order = select.orderBy.map((item) => sortKey(item.expression, item.descending, outputs, orderScope));
  const grouped = select.groupBy.map((expression) => {
    const { column } = compile(expression, rowScope);
    if (column === undefined) throw unimplemented('GROUP BY of an expression');
    return column;
  });
  const aggregated = grouped.length > 0 || scope.aggregates.length > 0;
  if (aggregated && [...scope.bareColumns].some((column) => !grouped.includes(column))) {
    throw invalidArgument('SELECT list expression references a column which is neither grouped nor aggregated');
  }
  if (aggregated && order.some(({ column }) => column === undefined || !grouped.includes(column))) {
    throw unimplemented('ORDER BY beside an aggregate');
  }
  if (grouped.length > 0 && select.distinct) throw unimplemented('SELECT DISTINCT beside GROUP BY');
  const limit = rowCount(select.limit, rowScope, 'LIMIT');
  const skip = rowCount(select.offsetRows, rowScope, 'OFFSET') ?? 0;
  const columns = outputs.map(({ name, typed: { type } }) => {
    if (isArrayType(type)) throw unimplemented('ARRAY columns in a result');
    return { name, type };
  });
  if (select.distinct && order.some(({ isOutput }) => !isOutput)) {
    throw unimplemented('ORDER BY of what SELECT DISTINCT does not name');
  }
  const project = (row: Row): Row => outputs.map(({ typed }) => typed.evaluate(row, []) as Value);

  const run = (view: View): Row[] => {
    const used = [scope, rowScope, orderScope].flatMap((one) => [...one.used]);
    const { source, ordered } = scanOf(select, context, relation, where, order, used);
    const passing = filter(source(view), where?.evaluate);
    const wanted = limit === undefined ? Infinity : skip + limit;
    const sorted = ordered ? passing : [...passing].sort(comparator(order));
    if (aggregated) {
      const groups = grouped.length > 0 ? groupsOf(sorted, grouped) : [[...sorted]];
      return groups.slice(skip, wanted).map((rows) => {
        // Aggregates have state, so each group has its own.
        const groupScope = new Scope(sql, parameters, now, relation?.columns, names, true);
        const own = compileItems(select.items, groupScope, relation, assigned);
        for (const row of rows) for (const aggregate of groupScope.aggregates) aggregate.add(row);
        const results = groupScope.aggregates.map((aggregate) => aggregate.result());
        return own.map(({ typed }) => typed.evaluate(rows[0] ?? [], results) as Value);
      });
    }
    const results = select.distinct ? unlike(map(sorted, project)) : undefined;
    if (results) return take(results, wanted).slice(skip);
    return take(sorted, wanted).slice(skip).map(project);
  };
  return { columns, run };
};

interface SortKey {
  readonly evaluate: Evaluate;
  readonly descending: boolean;
  readonly column?: number;
  readonly isOutput: boolean;
}

const scanOf = (
  select: Select,
  context: StatementContext,
  relation: Relation | undefined,
  where: Typed | undefined,
  order: readonly SortKey[],
  columns: readonly number[],
): { source: (view: View) => Iterable<Row>; ordered: boolean } => {
  if (!relation) return { source: () => [[]], ordered: true };
  if (relation.kind === 'virtual') return { source: () => relation.rows, ordered: order.length === 0 };
  const { table } = relation;
  const plain = order.every(({ column }) => column !== undefined);
  const sort = plain ? order.map(({ column, descending }): SortColumn => ({ column: column!, descending })) : undefined;
  const plan = planScan(table, where?.bounds ?? [], sort, select.from!.hints, context.pending(table));
  const access = { ...plan, table, columns, exclusive: select.forUpdate };
  return { source: (view) => view.rows(access), ordered: plan.ordered };
};

function* filter(rows: Iterable<Row>, where: Evaluate | undefined): Generator<Row> {
  for (const row of rows) if (!where || where(row, []) === true) yield row;
}

function* map(rows: Iterable<Row>, change: (row: Row) => Row): Generator<Row> {
  for (const row of rows) yield change(row);
}

/** Distinct rows. Here NULL equals NULL, and NaN equals NaN. */
function* unlike(rows: Iterable<Row>): Generator<Row> {
  const seen = new Set<string>();
  for (const row of rows) {
    const name = nameOf(row);
    if (seen.has(name)) continue;
    seen.add(name);
    yield row;
  }
}

/** Rows with equal columns, in the order of the first of each. */
const groupsOf = (rows: Iterable<Row>, columns: readonly number[]): Row[][] => {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const name = nameOf(columns.map((column) => row[column]!));
    const group = groups.get(name);
    if (group) group.push(row);
    else groups.set(name, [row]);
  }
  return [...groups.values()];
};

const nameOf = (row: Row): string =>
  JSON.stringify(row, (_, value: unknown) => (isPlain(value) ? value : String(value)));

/** Whether JSON distinguishes the value from all others of its type. */
const isPlain = (value: unknown): boolean =>
  typeof value === 'number' ? Number.isFinite(value) : typeof value !== 'bigint';

const take = (rows: Iterable<Row>, count: number): Row[] => {
  const taken: Row[] = [];
  if (count === 0) return taken;
  for (const row of rows) {
    taken.push(row);
    if (taken.length >= count) break;
  }
  return taken;
};

const comparator =
  (order: readonly SortKey[]) =>
  (left: Row, right: Row): number => {
    for (const { evaluate, descending } of order) {
      const result = compareNullable(evaluate(left, []) as Value, evaluate(right, []) as Value);
      if (result !== 0) return descending ? -result : result;
    }
    return 0;
  };

/** Output names, in lower case, that differ from the column with the same name. */
const aliasesOf = (outputs: readonly Output[], { columns }: Scope): ReadonlySet<string> => {
  const lower = outputs.map(({ name, typed }) => ({ name: name.toLowerCase(), column: typed.column }));
  const aliases = lower.filter(
    ({ name, column }) => name !== '' && (column === undefined || columns[column]!.name.toLowerCase() !== name),
  );
  return new Set(aliases.map(({ name }) => name));
};

/** ORDER BY may name an output by its alias or its number. */
const sortKey = (expression: Expression, descending: boolean, outputs: readonly Output[], scope: Scope): SortKey => {
  if (expression.kind === 'literal' && expression.type === 'INT64') {
    const output = outputs[Number(expression.value) - 1];
    if (!output) throw scope.error(expression.offset, 'ORDER BY is out of SELECT column number range');
    return { ...output.typed, descending, isOutput: true };
  }
  const name =
    expression.kind === 'column' && expression.path.length === 1 ? expression.path[0]!.toLowerCase() : undefined;
  const [output, ...others] = outputs.filter((candidate) => candidate.name.toLowerCase() === name);
  if (others.some(({ typed }) => typed.column === undefined || typed.column !== output?.typed.column)) {
    throw scope.error(expression.offset, `Column name ${output!.name} is ambiguous`);
  }
  const typed = output?.typed ?? settle(compile(expression, scope));
  return { ...typed, descending, isOutput: output !== undefined };
};

const rowCount = (expression: Expression | undefined, scope: Scope, clause: string): number | undefined => {
  if (!expression) return undefined;
  const { kind } = expression.kind === 'cast' ? expression.operand : expression;
  if (kind !== 'literal' && kind !== 'parameter') {
    throw scope.error(expression.offset, `${clause} expects a non-negative integer literal or parameter`);
  }
  const typed = compileAs(expression, 'INT64', scope, clause);
  const count = typed.constant ? (typed.evaluate([], []) as bigint | null) : null;
  if (count === null || count < 0n)
    throw scope.error(expression.offset, `${clause} expects a non-negative integer literal or parameter`);
  return Number(count);
};

/** The outputs of SELECT or THEN RETURN. */
export const compileItems = (
  items: readonly SelectItem[],
  scope: Scope,
  relation: Pick<Relation, 'columns'> | undefined,
  assigned?: (expression: Expression, place: number, scope: Scope) => Typed | undefined,
): Output[] => {
  const outputs: Output[] = [];
  for (const item of items) {
    if (item.kind === 'star') {
      if (!relation) throw scope.error(item.offset, 'SELECT * must have a FROM clause');
      for (const { name } of relation.columns) {
        outputs.push({ name, typed: compile({ kind: 'column', path: [name], offset: item.offset }, scope) });
      }
      continue;
    }
    const { expression, alias } = item;
    const name = alias ?? (expression.kind === 'column' ? expression.path.at(-1)! : '');
    outputs.push({ name, typed: assigned?.(expression, outputs.length, scope) ?? settle(compile(expression, scope)) });
  }
  return outputs;
};
