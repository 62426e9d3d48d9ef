import { unimplemented } from '../common/status.js';
import type { ColumnDefinition } from '../sql/ast.js';
import type { Column, Row, ScalarType, Value } from '../sql/types.js';
import type { Schema } from '../storage/schema.js';
import type { Index, Table } from '../storage/table.js';

/**
 * The views that clients and start-up checks read, for the user's tables; the views do not list themselves
 * (https://cloud.google.com/spanner/docs/information-schema).
 */
export const informationSchema = (
  schema: Schema,
  name: string,
): { columns: readonly Column[]; rows: readonly Row[] } => {
  const view = VIEWS[name.toUpperCase()];
  if (!view) throw unimplemented(`INFORMATION_SCHEMA.${name.toUpperCase()}`);
  return { columns: view.columns, rows: view.rows(schema) };
};

interface VirtualTable {
  readonly columns: readonly Column[];
  readonly rows: (schema: Schema) => Row[];
}

/** Columns from `NAME` or `NAME:INT64`; STRING is the rule. */
const columns = (names: string): Column[] =>
  names.split(' ').map((spec) => {
    const [name, type = 'STRING'] = spec.split(':');
    return { name: name!, type: type as ScalarType };
  });

const yesNo = (value: boolean): string => (value ? 'YES' : 'NO');

export const spannerType = ({ type, length }: ColumnDefinition): string =>
  type === 'STRING' || type === 'BYTES' ? `${type}(${length ?? 'MAX'})` : type;

const perTable = (rows: (table: Table) => Row[]) => (schema: Schema) => schema.allTables().flatMap(rows);

/** A table's indexes with the one that is its primary key. */
const indexRows = (table: Table): Row[] => {
  const row = (name: string, type: string): Row => [
    '',
    '',
    table.name,
    name,
    type,
    '',
    type === 'PRIMARY_KEY',
    false,
    'READ_WRITE',
    false,
  ];
  return [row('PRIMARY_KEY', 'PRIMARY_KEY'), ...table.indexes.map((index) => row(index.name, 'INDEX'))];
};

const indexColumnRows = (table: Table): Row[] => {
  const row = (index: string, column: number, place: number | null, descending?: boolean): Row => {
    const { name, notNull } = table.columns[column]!;
    const order = descending === undefined ? null : descending ? 'DESC' : 'ASC';
    const position: Value = place === null ? null : BigInt(place + 1);
    return [
      '',
      '',
      table.name,
      index,
      index === 'PRIMARY_KEY' ? 'PRIMARY_KEY' : 'INDEX',
      name,
      position,
      order,
      yesNo(!notNull),
      spannerType(table.columns[column]!),
    ];
  };
  const ofIndex = ({ name, key, declared, storing }: Index): Row[] => [
    ...key.slice(0, declared).map(({ column, descending }, i) => row(name, column, i, descending)),
    ...storing.map((column) => row(name, column, null)),
  ];
  const primary = table.key.map(({ column, descending }, i) => row('PRIMARY_KEY', column, i, descending));
  return [...primary, ...table.indexes.flatMap(ofIndex)];
};

const VIEWS: Readonly<Record<string, VirtualTable>> = {
  SCHEMATA: {
    columns: columns('CATALOG_NAME SCHEMA_NAME'),
    rows: () => [
      ['', ''],
      ['', 'INFORMATION_SCHEMA'],
    ],
  },
  DATABASE_OPTIONS: {
    columns: columns('CATALOG_NAME SCHEMA_NAME OPTION_NAME OPTION_TYPE OPTION_VALUE'),
    rows: () => [['', '', 'database_dialect', 'STRING', 'GOOGLE_STANDARD_SQL']],
  },
  TABLES: {
    columns: columns(
      'TABLE_CATALOG TABLE_SCHEMA TABLE_NAME TABLE_TYPE PARENT_TABLE_NAME ON_DELETE_ACTION SPANNER_STATE INTERLEAVE_TYPE ROW_DELETION_POLICY_EXPRESSION',
    ),
    rows: perTable((table) => [['', '', table.name, 'BASE TABLE', null, null, 'COMMITTED', null, null]]),
  },
  COLUMNS: {
    columns: columns(
      'TABLE_CATALOG TABLE_SCHEMA TABLE_NAME COLUMN_NAME ORDINAL_POSITION:INT64 COLUMN_DEFAULT DATA_TYPE IS_NULLABLE SPANNER_TYPE IS_GENERATED GENERATION_EXPRESSION IS_STORED SPANNER_STATE',
    ),
    rows: perTable((table) =>
      table.columns.map((column, i) => [
        '',
        '',
        table.name,
        column.name,
        BigInt(i + 1),
        null,
        null,
        yesNo(!column.notNull),
        spannerType(column),
        'NEVER',
        null,
        null,
        'COMMITTED',
      ]),
    ),
  },
  COLUMN_OPTIONS: {
    columns: columns('TABLE_CATALOG TABLE_SCHEMA TABLE_NAME COLUMN_NAME OPTION_NAME OPTION_TYPE OPTION_VALUE'),
    rows: perTable((table) =>
      table.columns
        .filter(({ allowCommitTimestamp }) => allowCommitTimestamp !== undefined)
        .map(({ name, allowCommitTimestamp }) => [
          '',
          '',
          table.name,
          name,
          'allow_commit_timestamp',
          'BOOL',
          String(allowCommitTimestamp).toUpperCase(),
        ]),
    ),
  },
  INDEXES: {
    columns: columns(
      'TABLE_CATALOG TABLE_SCHEMA TABLE_NAME INDEX_NAME INDEX_TYPE PARENT_TABLE_NAME IS_UNIQUE:BOOL IS_NULL_FILTERED:BOOL INDEX_STATE SPANNER_IS_MANAGED:BOOL',
    ),
    rows: perTable(indexRows),
  },
  INDEX_COLUMNS: {
    columns: columns(
      'TABLE_CATALOG TABLE_SCHEMA TABLE_NAME INDEX_NAME INDEX_TYPE COLUMN_NAME ORDINAL_POSITION:INT64 COLUMN_ORDERING IS_NULLABLE SPANNER_TYPE',
    ),
    rows: perTable(indexColumnRows),
  },
};
