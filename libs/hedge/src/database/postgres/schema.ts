import type { Query } from './client/calls.js';
import type { Row, Statement } from './client/client.js';
import type { Tables } from './options.js';
import { IS_SEMAPHORE, namesOf } from './sql.js';

interface IndexShape {
  readonly name: string;
  readonly unique: boolean;
  /** As PostgreSQL prints it. */
  readonly columns: string;
  readonly where?: string;
}

interface TableShape {
  readonly name: string;
  readonly columns: Readonly<Record<string, string>>;
  readonly primaryKey: string;
  readonly settings: string;
  readonly indexes: readonly IndexShape[];
  /** The rights that the pods need. */
  readonly rights: readonly string[];
}

/** Of the tables, as the table `hedge_schema` has it. A later version only adds to an earlier one. */
const VERSION = 1;

const TEXT = 'text COLLATE "C" NOT NULL';

/**
 * Renewals and writes of the log change a row each time. A page that is not full keeps the new version of a row beside
 * the old one, without work for the indexes (HOT), and vacuum comes often, since these tables are small.
 */
const CHANGES_OFTEN = 'autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500';

function tableShapes({ lockTable, logTable }: Tables): readonly TableShape[] {
  return [
    {
      name: lockTable,
      columns: {
        name: TEXT,
        heartbeat: 'timestamp with time zone',
        token: 'bigint NOT NULL',
        writer: 'text',
        renewals: 'bigint NOT NULL DEFAULT 0',
      },
      primaryKey: 'name',
      settings: `fillfactor = 50, ${CHANGES_OFTEN}`,
      // A fence locks (name, token) as a key: an acquisition waits for it, a renewal does not.
      indexes: [{ name: `${lockTable}_fence`, unique: true, columns: 'name, token' }],
      rights: ['SELECT', 'INSERT', 'UPDATE'],
    },
    {
      name: logTable,
      columns: { id: TEXT, key: TEXT, value: 'text NOT NULL', leader: 'text NOT NULL', timestamp: 'bigint NOT NULL' },
      primaryKey: 'key, id',
      settings: 'autovacuum_vacuum_scale_factor = 0.05',
      indexes: [
        { name: `${logTable}_latest`, unique: false, columns: 'key, "timestamp" DESC, id DESC' },
        // Watches read the rows behind a place in the order of commits.
        { name: `${logTable}_commits`, unique: false, columns: '"timestamp"' },
        { name: `${logTable}_semaphore`, unique: true, columns: 'key', where: IS_SEMAPHORE },
      ],
      rights: ['SELECT', 'INSERT', 'UPDATE', 'DELETE'],
    },
    {
      name: 'hedge_clock',
      columns: { one: 'integer NOT NULL', last: 'bigint NOT NULL' },
      primaryKey: 'one',
      settings: `fillfactor = 10, ${CHANGES_OFTEN}`,
      indexes: [],
      rights: ['SELECT', 'UPDATE'],
    },
  ];
}

/** The statements that make what is not there yet, for one transaction; they may be run again. */
export function schemaDdl(tables: Tables): string[] {
  const { schema, lockTable, logTable } = tables;
  const versions = `"${schema}"."hedge_schema"`;
  return [
    ...(schema === 'public' ? [] : [createSchema(tables)]),
    ...tableShapes(tables).flatMap((table) => [
      createTable(tables, table),
      ...table.indexes.map((index) => createIndex(tables, table, index)),
    ]),
    startClock(tables),
    `CREATE TABLE IF NOT EXISTS ${versions} (\n  lock_table text,\n  log_table text,\n  version integer NOT NULL,\n  PRIMARY KEY (lock_table, log_table)\n)`,
    `INSERT INTO ${versions} AS known VALUES ('${lockTable}', '${logTable}', ${VERSION})\n  ON CONFLICT (lock_table, log_table) DO UPDATE SET version = greatest(known.version, excluded.version)`,
  ];
}

function createSchema({ schema }: Tables): string {
  return `CREATE SCHEMA IF NOT EXISTS "${schema}"`;
}

function createTable({ schema }: Tables, { name, columns, primaryKey, settings }: TableShape): string {
  const lines = Object.entries(columns).map(([column, type]) => `  ${column} ${type},\n`);
  return `CREATE TABLE IF NOT EXISTS "${schema}"."${name}" (\n${lines.join('')}  PRIMARY KEY (${primaryKey})\n) WITH (${settings})`;
}

function createIndex({ schema }: Tables, table: TableShape, { name, unique, columns, where }: IndexShape): string {
  const kind = unique ? 'UNIQUE INDEX' : 'INDEX';
  const condition = where === undefined ? '' : ` WHERE ${where}`;
  return `CREATE ${kind} IF NOT EXISTS "${name}" ON "${schema}"."${table.name}" (${columns})${condition}`;
}

function startClock(tables: Tables): string {
  return `INSERT INTO ${namesOf(tables).clock} (one, last) VALUES (1, 0) ON CONFLICT (one) DO NOTHING`;
}

/** Something that the driver needs and the database does not have, with the statement that makes it unless that would cost data. */
export interface Lack {
  readonly what: string;
  readonly ddl?: string;
}

/** What a database has of the schema. */
export interface FoundSchema {
  readonly role: string;
  readonly encoding: string;
  readonly version: number;
  /** Whether the schema is there, and may be used. */
  readonly schema: 'missing' | 'forbidden' | 'usable';
  /** By `table.column`: its type, as `text COLLATE "C"`. */
  readonly columns: ReadonlyMap<string, string>;
  /** By table: definitions of its valid indexes. */
  readonly indexes: ReadonlyMap<string, readonly string[]>;
  /** `RIGHT table` that the role has. */
  readonly rights: ReadonlySet<string>;
}

/** @returns what is missing, in the order in which it can be made. */
export function lacksOf(tables: Tables, found: FoundSchema): Lack[] {
  if (found.version < 130_000) return [{ what: 'PostgreSQL 13 or later' }];
  if (found.encoding !== 'UTF8') return [{ what: `the encoding UTF8, since it has ${found.encoding}` }];
  const role = `"${found.role.replaceAll('"', '""')}"`;
  const makesSchema =
    found.schema === 'missing' ? [{ what: `schema ${tables.schema}`, ddl: createSchema(tables) }] : [];
  const usesSchema =
    found.schema === 'forbidden'
      ? [
          {
            what: `the right to use schema ${tables.schema}`,
            ddl: `GRANT USAGE ON SCHEMA "${tables.schema}" TO ${role}`,
          },
        ]
      : [];
  const lacks = tableShapes(tables).flatMap((table) => tableLacks(tables, table, found, role));
  return [...makesSchema, ...usesSchema, ...lacks];
}

function tableLacks(tables: Tables, table: TableShape, found: FoundSchema, role: string): Lack[] {
  const name = `"${tables.schema}"."${table.name}"`;
  const indexes = found.indexes.get(table.name);
  if (indexes === undefined) {
    const whole = { what: `table ${table.name}`, ddl: createTable(tables, table) };
    const own = table.indexes.map((index) => ({
      what: `index ${index.name}`,
      ddl: createIndex(tables, table, index),
    }));
    const clock = table.name === 'hedge_clock' ? [clockLack(tables)] : [];
    return [whole, ...own, ...clock];
  }
  const lacks: Lack[] = Object.entries(table.columns).flatMap(([column, type]) => {
    const has = found.columns.get(`${table.name}.${column}`);
    if (has === undefined) {
      return [{ what: `column ${table.name}.${column}`, ddl: `ALTER TABLE ${name} ADD COLUMN ${column} ${type}` }];
    }
    return type.replace(/ NOT NULL.*/, '') === has
      ? []
      : [{ what: `type ${type} of column ${table.name}.${column}, which has ${has}` }];
  });
  if (!indexes.some((index) => index.startsWith('CREATE UNIQUE') && index.endsWith(`(${table.primaryKey})`))) {
    lacks.push({
      what: `primary key (${table.primaryKey}) of table ${table.name}`,
      ddl: `ALTER TABLE ${name} ADD PRIMARY KEY (${table.primaryKey})`,
    });
  }
  for (const index of table.indexes) {
    if (indexes.some((one) => fits(index, one))) continue;
    lacks.push({ what: `index (${index.columns}) of table ${table.name}`, ddl: createIndex(tables, table, index) });
  }
  const rights = table.rights.filter((right) => !found.rights.has(`${right} ${table.name}`));
  if (rights.length > 0) {
    const list = rights.join(', ');
    lacks.push({ what: `the right ${list} on table ${table.name}`, ddl: `GRANT ${list} ON ${name} TO ${role}` });
  }
  return lacks;
}

function fits({ unique, columns, where }: IndexShape, definition: string): boolean {
  if (unique && !definition.startsWith('CREATE UNIQUE')) return false;
  return where === undefined ? definition.endsWith(`(${columns})`) : definition.includes(`(${columns}) WHERE`);
}

/** For the error of a database that lacks these. */
export function describeLacks(lacks: readonly Lack[], tables: Tables): string {
  const statements = lacks.flatMap(({ ddl }) => (ddl === undefined ? [] : [`${ddl};`]));
  const found = `lacks ${lacks.map(({ what }) => what).join(', ')}.`;
  if (statements.length < lacks.length) return `${found} Use another database, or other tables.`;
  const names = `--schema ${tables.schema} --lock-table ${tables.lockTable} --log-table ${tables.logTable}`;
  const command = statements.some((statement) => statement.startsWith('CREATE'))
    ? `, or npx nestjs-hedge schema --dialect postgres ${names} --apply --url postgres://…`
    : '';
  return `${found} Run this as the owner${command}:\n${statements.join('\n')}`;
}

/** The lack of the one row of the clock. */
export function clockLack(tables: Tables): Lack {
  return { what: 'the row of table hedge_clock', ddl: startClock(tables) };
}

export async function findSchema(tables: Tables, query: Query): Promise<FoundSchema> {
  const rows = await query(catalogSql(tables));
  const of = (kind: string) => rows.filter((row) => row['kind'] === kind);
  const [server] = of('server');
  const indexes = new Map<string, string[]>(of('table').map(({ a }) => [text(a), []]));
  for (const { a, b } of of('index')) indexes.get(text(a))?.push(text(b));
  const usable = of('schema')[0]?.['b'];
  return {
    role: text(server?.['a']),
    encoding: text(server?.['b']),
    version: Number(server?.['c']),
    schema: usable === undefined ? 'missing' : usable === 'true' ? 'usable' : 'forbidden',
    columns: new Map(of('column').map(({ a, b, c }) => [`${text(a)}.${text(b)}`, text(c)])),
    indexes,
    rights: new Set(of('right').map(({ a, b }) => `${text(b)} ${text(a)}`)),
  };
}

/** Reads the catalog alone, which every role may. */
function catalogSql({ schema, lockTable, logTable }: Tables): Statement {
  return {
    text: `WITH own AS (
      SELECT class.oid, class.relname FROM pg_catalog.pg_class AS class
      JOIN pg_catalog.pg_namespace AS space ON space.oid = class.relnamespace
      WHERE space.nspname = $1::text AND class.relname IN ($2::text, $3::text, 'hedge_clock')
        AND class.relkind IN ('r', 'p'))
    SELECT 'server' AS kind, current_user::text AS a, current_setting('server_encoding') AS b,
      current_setting('server_version_num') AS c, pg_is_in_recovery()::text AS standby
    UNION ALL
    SELECT 'schema', nspname::text, has_schema_privilege(oid, 'USAGE')::text, NULL, NULL
    FROM pg_catalog.pg_namespace WHERE nspname = $1::text
    UNION ALL
    SELECT 'table', relname::text, NULL, NULL, NULL FROM own
    UNION ALL
    SELECT 'column', own.relname::text, attname::text,
      format_type(atttypid, atttypmod) || coalesce(' COLLATE "' || nullif(collname, 'default') || '"', ''), NULL
    FROM own JOIN pg_catalog.pg_attribute ON attrelid = own.oid AND attnum > 0 AND NOT attisdropped
    LEFT JOIN pg_catalog.pg_collation AS collated ON collated.oid = attcollation
    UNION ALL
    SELECT 'index', own.relname::text, pg_get_indexdef(indexrelid), NULL, NULL
    FROM own JOIN pg_catalog.pg_index ON indrelid = own.oid AND indisvalid
    UNION ALL
    SELECT 'right', own.relname::text, kind, NULL, NULL
    FROM own, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS kind WHERE has_table_privilege(own.oid, kind)`,
    values: [schema, lockTable, logTable],
  };
}

function text(value: Row[string]): string {
  return value ?? '';
}
