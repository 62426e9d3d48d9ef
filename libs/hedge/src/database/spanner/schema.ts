import type { OperationAttempt } from './client/connection.js';
import type { Tables } from './options.js';
import { text, type Statement } from './client/values.js';

interface ColumnShape {
  readonly name: string;
  readonly type: 'STRING(MAX)' | 'TIMESTAMP';
  readonly notNull?: boolean;
}

interface TableShape {
  readonly name: string;
  readonly columns: readonly ColumnShape[];
  readonly primaryKey: readonly string[];
}

/** The two tables as found in the information_schema of a database. Names in lower case. */
export interface FoundSchema {
  /** The type of each `table.column`, as `STRING(MAX)`. */
  readonly columns: ReadonlyMap<string, string>;
  /** The columns that allow commit timestamps, as `table.column`. */
  readonly commitTimestamps: ReadonlySet<string>;
  /** By table. */
  readonly primaryKeys: ReadonlyMap<string, readonly string[]>;
  /** The index for the newest versions of a key, if it exists and is complete. */
  readonly latestIndex: string | undefined;
}

/** The two tables, as the Go library defines them. */
function tableShapes({ lockTable, logTable }: Tables): readonly TableShape[] {
  return [
    {
      name: lockTable,
      columns: [
        { name: 'name', type: 'STRING(MAX)', notNull: true },
        { name: 'heartbeat', type: 'TIMESTAMP' },
        { name: 'token', type: 'TIMESTAMP' },
        { name: 'writer', type: 'STRING(MAX)' },
      ],
      primaryKey: ['name'],
    },
    {
      name: logTable,
      columns: [
        { name: 'id', type: 'STRING(MAX)' },
        { name: 'key', type: 'STRING(MAX)' },
        { name: 'value', type: 'STRING(MAX)' },
        { name: 'leader', type: 'STRING(MAX)' },
        { name: 'timestamp', type: 'TIMESTAMP' },
      ],
      primaryKey: ['key', 'id'],
    },
  ];
}

/** The statements that create missing tables. They may run again. */
export function tableDdl(tables: Tables): string[] {
  return tableShapes(tables).map(createTable);
}

/** An index with which `latest` and the newest versions of a key have a cost that does not depend on the number of versions. */
export function indexDdl({ logTable }: Tables): string {
  return `CREATE INDEX IF NOT EXISTS \`${logTable}_latest\` ON \`${logTable}\` (key, timestamp DESC, id DESC)\n  STORING (value, leader)`;
}

/** A missing part of the schema as text, with the statement that creates it, unless that would lose data. */
export interface Lack {
  readonly what: string;
  readonly ddl?: string;
}

/** The parts of the schema that the driver needs and did not find. */
export function lacksOf(tables: Tables, found: FoundSchema): Lack[] {
  return tableShapes(tables).flatMap((table) => {
    const name = table.name.toLowerCase();
    const key = found.primaryKeys.get(name);
    if (key === undefined) return [{ what: `table ${table.name}`, ddl: createTable(table) }];
    const lacks = table.columns.flatMap((column) => columnLacks(table, column, found));
    if (key.join() === table.primaryKey.join()) return lacks;
    const what = `primary key (${table.primaryKey.join(', ')}) of table ${table.name}, which has (${key.join(', ')})`;
    return [...lacks, { what }];
  });
}

function columnLacks(table: TableShape, column: ColumnShape, found: FoundSchema): Lack[] {
  const name = `${table.name}.${column.name}`.toLowerCase();
  const alter = `ALTER TABLE \`${table.name}\``;
  const type = found.columns.get(name);
  if (type === undefined) {
    return [{ what: `column ${table.name}.${column.name}`, ddl: `${alter} ADD COLUMN ${columnDdl(column)}` }];
  }
  const [expected = ''] = column.type.split('(');
  if (!type.startsWith(expected)) {
    const what = `type ${column.type} of column ${table.name}.${column.name}, which has ${type}`;
    return [{ what }];
  }
  if (column.type !== 'TIMESTAMP' || found.commitTimestamps.has(name)) return [];
  const what = `commit timestamps in column ${table.name}.${column.name}`;
  return [{ what, ddl: `${alter} ALTER COLUMN ${column.name} SET OPTIONS (allow_commit_timestamp=true)` }];
}

function createTable({ name, columns, primaryKey }: TableShape): string {
  const lines = columns.map((column) => `  ${columnDdl(column)}`).join(',\n');
  return `CREATE TABLE IF NOT EXISTS \`${name}\` (\n${lines}\n) PRIMARY KEY (${primaryKey.join(', ')})`;
}

function columnDdl({ name, type, notNull }: ColumnShape): string {
  const options = type === 'TIMESTAMP' ? ' OPTIONS (allow_commit_timestamp=true)' : '';
  return `${name} ${type}${notNull ? ' NOT NULL' : ''}${options}`;
}

/** The error text of a database that lacks these parts. */
export function describeLacks(lacks: readonly Lack[], { lockTable, logTable }: Tables, database: string): string {
  const statements = lacks.flatMap(({ ddl }) => (ddl === undefined ? [] : [`${ddl};`]));
  const found = `lacks ${lacks.map(({ what }) => what).join(', ')}.`;
  if (statements.length < lacks.length) return `${found} Name other tables, or create these again.`;
  // The command creates missing tables, and does not change existing ones.
  const command = statements.every((statement) => statement.startsWith('CREATE TABLE'))
    ? `, or npx nestjs-hedge schema --lock-table ${lockTable} --log-table ${logTable} --apply --database ${database}`
    : '';
  return `${found} Run this${command}:\n${statements.join('\n')}`;
}

/** Reads the schema of the database. */
export async function findSchema(tables: Tables, attempt: OperationAttempt): Promise<FoundSchema> {
  const [columns, options, indexed, indexes] = await Promise.all([
    attempt.query(schemaSql(tables, 'columns', 'column_name, spanner_type')),
    attempt.query(schemaSql(tables, 'column_options', 'column_name, option_name, option_value')),
    attempt.query(
      schemaSql(tables, 'index_columns', 'index_name, column_name, column_ordering', 'index_name, ordinal_position'),
    ),
    attempt.query(schemaSql(tables, 'indexes', 'index_name, index_state')),
  ]);
  const parts = indexed.map(([table = '', index = '', column = '', order]) => ({
    table: String(table).toLowerCase(),
    index: String(index),
    column: `${String(column).toLowerCase()}${order === 'DESC' ? ' desc' : ''}`,
    stored: order === null,
  }));
  const primaryKeys = new Map<string, string[]>();
  for (const { table, index, column } of parts) {
    if (index === 'PRIMARY_KEY') primaryKeys.set(table, [...(primaryKeys.get(table) ?? []), column]);
  }
  const complete = indexes.filter(([, , state]) => state === 'READ_WRITE').map(([, name]) => name ?? '');
  return {
    columns: new Map(columns.map(([table, column, type]) => [`${table}.${column}`.toLowerCase(), type ?? ''])),
    commitTimestamps: new Set(
      options
        .filter(([, , option, value]) => option === 'allow_commit_timestamp' && value?.toUpperCase() === 'TRUE')
        .map(([table, column]) => `${table}.${column}`.toLowerCase()),
    ),
    primaryKeys,
    latestIndex: complete.find((name) => {
      const own = parts.filter(({ table, index }) => index === name && table === tables.logTable.toLowerCase());
      const key = own.filter(({ stored }) => !stored).map(({ column }) => column);
      const storing = own.filter(({ stored }) => stored).map(({ column }) => column);
      const isNewestFirst = key.join() === 'key,timestamp desc,id desc';
      return isNewestFirst && storing.includes('value') && storing.includes('leader') && /^\w+$/.test(name);
    }),
  };
}

function schemaSql({ lockTable, logTable }: Tables, view: string, columns: string, order?: string): Statement {
  return {
    sql: `SELECT table_name, ${columns} FROM information_schema.${view}
      WHERE table_schema = '' AND LOWER(table_name) IN (@lockTable, @logTable)${order ? ` ORDER BY ${order}` : ''}`,
    params: { lockTable: text(lockTable.toLowerCase()), logTable: text(logTable.toLowerCase()) },
  };
}
