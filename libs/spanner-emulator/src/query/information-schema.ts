import { unimplemented } from '../common/status.js';
import type { ColumnDefinition } from '../sql/ast.js';
import type { Column, Row, ScalarType, Value } from '../sql/types.js';
import type { Schema } from '../storage/schema.js';
import type { Index, Table } from '../storage/table.js';

/** The views that clients and start-up checks read (https://cloud.google.com/spanner/docs/information-schema). */
export const informationSchema = (
  schema: Schema,
  name: string,
): { columns: readonly Column[]; rows: readonly Row[] } => {
  const view = VIEWS[name.toUpperCase()];
  if (!view) throw unimplemented(`INFORMATION_SCHEMA.${name.toUpperCase()}`);
  return { columns: view.columns, rows: view.rows(schema) };
};

interface VirtualTable {
  readonly columns: readonly ViewColumn[];
  /** The number of first columns that form the primary key. */
  readonly keyColumns: number;
  readonly rows: (schema: Schema) => Row[];
}

interface ViewColumn extends Column {
  readonly nullable: boolean;
  readonly length?: string;
}

const THE_SCHEMA = 'INFORMATION_SCHEMA';

/** Columns from `NAME`, `NAME:INT64` or `NAME:STRING(32)`, with `?` at the end if it may be NULL. Default: STRING. */
const columns = (names: string): ViewColumn[] =>
  names.split(' ').map((spec) => {
    const [, name, type = 'STRING', length, nullable] = /^(\w+)(?::(\w+)(?:\((\d+)\))?)?(\??)$/.exec(spec)!;
    return { name: name!, type: type as ScalarType, length, nullable: nullable !== '' };
  });

const yesNo = (value: boolean): string => (value ? 'YES' : 'NO');

export const spannerType = ({ type, length }: ColumnDefinition): string =>
  type === 'STRING' || type === 'BYTES' ? `${type}(${length ?? 'MAX'})` : type;

const viewType = ({ type, length }: ViewColumn): string => (type === 'STRING' ? `STRING(${length ?? 'MAX'})` : type);

/** Rows for the views themselves, which Spanner lists together with the tables. */
const perView = (rows: (name: string, view: VirtualTable) => Row[]): Row[] =>
  Object.entries(VIEWS).flatMap(([name, view]) => rows(name, view));

const perTable = (rows: (table: Table) => Row[]) => (schema: Schema) => schema.allTables().flatMap(rows);

/** The indexes of a table, including its primary key. */
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
    // Only an index that is filled after its creation has a state.
    type === 'PRIMARY_KEY' ? null : 'READ_WRITE',
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

const columnRow = (names: Row, place: number, nullable: boolean, type: string, state: string | null): Row => [
  '',
  ...names,
  BigInt(place + 1),
  null,
  null,
  yesNo(nullable),
  type,
  'NEVER',
  null,
  null,
  state,
];

const VIEWS: Readonly<Record<string, VirtualTable>> = {
  SCHEMATA: {
    columns: columns('CATALOG_NAME SCHEMA_NAME'),
    keyColumns: 2,
    rows: () => [
      ['', ''],
      ['', THE_SCHEMA],
    ],
  },
  DATABASE_OPTIONS: {
    columns: columns('CATALOG_NAME SCHEMA_NAME OPTION_NAME OPTION_TYPE OPTION_VALUE'),
    keyColumns: 3,
    rows: () => [['', '', 'database_dialect', 'STRING', 'GOOGLE_STANDARD_SQL']],
  },
  TABLES: {
    columns: columns(
      'TABLE_CATALOG TABLE_SCHEMA TABLE_NAME TABLE_TYPE:STRING(32) PARENT_TABLE_NAME? ON_DELETE_ACTION? SPANNER_STATE? INTERLEAVE_TYPE? ROW_DELETION_POLICY_EXPRESSION?',
    ),
    keyColumns: 3,
    rows: (schema) => [
      ...perView((name) => [['', THE_SCHEMA, name, 'VIEW', null, null, null, null, null]]),
      ...perTable((table) => [['', '', table.name, 'BASE TABLE', null, null, 'COMMITTED', null, null]])(schema),
    ],
  },
  COLUMNS: {
    columns: columns(
      'TABLE_CATALOG TABLE_SCHEMA TABLE_NAME COLUMN_NAME ORDINAL_POSITION:INT64 COLUMN_DEFAULT? DATA_TYPE? IS_NULLABLE? SPANNER_TYPE? IS_GENERATED GENERATION_EXPRESSION? IS_STORED? SPANNER_STATE?',
    ),
    keyColumns: 4,
    rows: (schema) => [
      ...perView((name, view) =>
        view.columns.map((column, i) =>
          columnRow([THE_SCHEMA, name, column.name], i, column.nullable, viewType(column), null),
        ),
      ),
      ...perTable((table) =>
        table.columns.map((column, i) =>
          columnRow(['', table.name, column.name], i, !column.notNull, spannerType(column), 'COMMITTED'),
        ),
      )(schema),
    ],
  },
  COLUMN_OPTIONS: {
    columns: columns('TABLE_CATALOG TABLE_SCHEMA TABLE_NAME COLUMN_NAME OPTION_NAME OPTION_TYPE OPTION_VALUE'),
    keyColumns: 5,
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
      'TABLE_CATALOG TABLE_SCHEMA TABLE_NAME INDEX_NAME INDEX_TYPE PARENT_TABLE_NAME IS_UNIQUE:BOOL IS_NULL_FILTERED:BOOL INDEX_STATE:STRING(100) SPANNER_IS_MANAGED:BOOL',
    ),
    keyColumns: 5,
    rows: (schema) => [
      ...perView((name) => [['', THE_SCHEMA, name, 'PRIMARY_KEY', 'PRIMARY_KEY', '', true, false, null, false]]),
      ...perTable(indexRows)(schema),
    ],
  },
  INDEX_COLUMNS: {
    columns: columns(
      'TABLE_CATALOG TABLE_SCHEMA TABLE_NAME INDEX_NAME INDEX_TYPE COLUMN_NAME ORDINAL_POSITION:INT64? COLUMN_ORDERING? IS_NULLABLE? SPANNER_TYPE?',
    ),
    keyColumns: 6,
    rows: (schema) => [
      ...perView((name, view) =>
        view.columns
          .slice(0, view.keyColumns)
          .map((column, i) => [
            '',
            THE_SCHEMA,
            name,
            'PRIMARY_KEY',
            'PRIMARY_KEY',
            column.name,
            BigInt(i + 1),
            'ASC',
            yesNo(column.nullable),
            viewType(column),
          ]),
      ),
      ...perTable(indexColumnRows)(schema),
    ],
  },
};
