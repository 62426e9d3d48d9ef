import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openTarget, query, TABLES, type Target } from './target.js';

const names = (count: number): string => Array.from({ length: count }, (_, i) => `c${i + 1}`).join(', ');
const columns = (count: number): string => names(count).replaceAll(/c\d+/g, '$& INT64');
const WIDE = `CREATE TABLE wide (k INT64, ${columns(16)}) PRIMARY KEY (k)`;

describe('schemas', () => {
  let target: Target;

  beforeAll(async () => {
    target = await openTarget([...TABLES, WIDE]);
  });
  afterAll(() => target.close());

  const apply = async (...statements: string[]): Promise<void> => {
    const [operation] = await target.database.updateSchema(statements);
    await operation.promise();
  };
  const ddl = async (): Promise<string[]> => (await target.database.getSchema())[0];

  it('tables: CREATE and DROP accept IF NOT EXISTS and IF EXISTS, and names ignore case', async () => {
    const create = 'CREATE TABLE IF NOT EXISTS Things (id INT64, PRIMARY KEY (id))';
    await apply(create, create);
    await target.database.table('THINGS').insert({ ID: 1 });
    expect(await query(target.database, 'SELECT id FROM things')).toEqual([{ id: 1 }]);
    await apply('DROP TABLE things', 'DROP TABLE IF EXISTS things');
    await expect(target.database.run('SELECT * FROM things')).rejects.toMatchObject({ code: 3 });
  });

  it('indexes: CREATE and DROP work with rows present, DESC and STORING', async () => {
    await target.database.table('types').insert([1, 2].map((k) => ({ k, n: 10 - k, s: `s${k}` })));
    await apply('CREATE INDEX IF NOT EXISTS by_n ON types (n DESC) STORING (s)');
    const sql = 'SELECT k, s FROM types@{FORCE_INDEX=by_n} WHERE n < 10 ORDER BY n DESC';
    expect(await query(target.database, sql)).toEqual([
      { k: 1, s: 's1' },
      { k: 2, s: 's2' },
    ]);
    await expect(apply('DROP TABLE types')).rejects.toMatchObject({ code: 9 });
    await apply('DROP INDEX by_n', 'DROP INDEX IF EXISTS by_n');
    await expect(target.database.run(sql)).rejects.toMatchObject({ code: 3 });
  });

  it('GetDatabaseDdl prints statements that create the same schema', async () => {
    await apply('CREATE INDEX by_key ON logtable (key, timestamp DESC, id DESC) STORING (value, leader)');
    const printed = await ddl();
    expect(printed.join('\n')).toMatch(/timestamp TIMESTAMP OPTIONS \(\s*allow_commit_timestamp = true\s*\)/);
    const copy = target.spanner.instance('i').database(`d${randomUUID().slice(0, 8)}`);
    const [, operation] = await copy.create({ schema: printed });
    await operation.promise();
    expect((await copy.getSchema())[0]).toEqual(printed);
    await copy.delete();
    await apply('DROP INDEX by_key');
  });

  it.each([
    ['a syntax error', 'CREATE TABLE (', 3, /Syntax error|Error parsing/],
    ['a name that exists', TABLES[0]!, 9, /Duplicate name in schema: locktable/],
    ['a column twice', 'CREATE TABLE x (a INT64, A INT64) PRIMARY KEY (a)', 9, /Duplicate column name/],
    ['an unknown key column', 'CREATE TABLE x (a INT64) PRIMARY KEY (b)', 3, /b/],
    ['a key column twice', 'CREATE TABLE x (a INT64) PRIMARY KEY (a, A)', 3, /more than once/],
    ['more than 1,024 columns', `CREATE TABLE x (${columns(1025)}) PRIMARY KEY (c1)`, 9, /too many columns/],
    [
      'more than 16 key columns',
      `CREATE TABLE x (${columns(17)}) PRIMARY KEY (${names(17)})`,
      3,
      /too many keys \(17\)/,
    ],
    [
      'more than 16 columns in the key of an index and of its table',
      `CREATE INDEX x ON wide (${names(16)})`,
      3,
      /too many keys/,
    ],
    ['an index without columns', 'CREATE INDEX x ON types ()', 3, /does not specify any key columns/],
    ['an index with the name of the primary key', 'CREATE INDEX Primary_Key ON types (n)', 3, /reserved name/],
    [
      'a table name of 129 characters',
      `CREATE TABLE ${'t'.repeat(129)} (a INT64) PRIMARY KEY (a)`,
      3,
      /Table name not valid/,
    ],
    [
      'a column name of 129 characters',
      `CREATE TABLE x (${'t'.repeat(129)} INT64) PRIMARY KEY ()`,
      3,
      /Column name not valid/,
    ],
    ['an index name of 129 characters', `CREATE INDEX ${'t'.repeat(129)} ON types (n)`, 3, /Index name not valid/],
    [
      'a table name that begins with an underscore',
      'CREATE TABLE _x (a INT64) PRIMARY KEY (a)',
      3,
      /Table name not valid/,
    ],
    ['a column name with a hyphen', 'CREATE TABLE x (`a-b` INT64) PRIMARY KEY ()', 3, /Column name not valid/],
    ['an index on an unknown table', 'CREATE INDEX x ON nothing (a)', 5, /nothing/],
    ['a drop of an unknown table', 'DROP TABLE nothing', 5, /Table not found: nothing/],
    [
      'a commit timestamp option on another type',
      'CREATE TABLE x (a INT64 OPTIONS (allow_commit_timestamp=true)) PRIMARY KEY (a)',
      9,
      /TIMESTAMP/,
    ],
    [
      'a commit timestamp option that is neither true nor false',
      'CREATE TABLE x (a TIMESTAMP OPTIONS (allow_commit_timestamp=1)) PRIMARY KEY (a)',
      3,
      /true, false/,
    ],
  ])('%s is an error', async (_name, statement, code, message) => {
    await expect(apply(statement)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('tables: 1,024 columns, 16 key columns and names of 128 characters are accepted', async () => {
    const name = 'n'.repeat(128);
    await apply(
      `CREATE TABLE ${name} (${columns(1023)}, ${'m'.repeat(128)} INT64) PRIMARY KEY (${names(15)})`,
      `CREATE INDEX i${name.slice(1)} ON ${name} (c16)`,
      `DROP INDEX i${name.slice(1)}`,
      `DROP TABLE ${name}`,
    );
  });

  it('indexes: CREATE fails when a row has a key that is too large', async () => {
    await target.database.table('logtable').insert({ key: 'a', id: '1', value: 'x'.repeat(9_000) });
    await expect(apply('CREATE INDEX large ON logtable (value)')).rejects.toMatchObject({ code: 3 });
    await target.database.table('logtable').deleteRows([['a', '1']]);
    await apply('CREATE INDEX large ON logtable (value)', 'DROP INDEX large');
  });

  it('a schema change that fails midway fails its operation, and keeps the earlier statements', async () => {
    const [operation] = await target.database.updateSchema([
      'CREATE TABLE before (a INT64) PRIMARY KEY (a)',
      'DROP TABLE nothing',
    ]);
    await expect(operation.promise()).rejects.toMatchObject({ code: 5 });
    expect((await ddl()).some((statement) => statement.startsWith('CREATE TABLE before'))).toBe(true);
    await apply('DROP TABLE before');
  });
});

describe('information_schema', () => {
  let target: Target;

  beforeAll(async () => {
    target = await openTarget([...TABLES, 'CREATE INDEX by_key ON logtable (key, timestamp DESC) STORING (value)']);
  });
  afterAll(() => target.close());

  it('TABLES lists the tables', async () => {
    const sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = '' ORDER BY table_name";
    expect(await query(target.database, sql)).toEqual([
      { table_name: 'locktable' },
      { table_name: 'logtable' },
      { table_name: 'types' },
    ]);
  });

  it('COLUMNS lists columns with their types', async () => {
    const sql = `SELECT column_name, spanner_type, is_nullable FROM INFORMATION_SCHEMA.COLUMNS
                 WHERE table_name = 'types' AND ordinal_position <= 3 ORDER BY ordinal_position`;
    expect(await query(target.database, sql)).toEqual([
      { column_name: 'k', spanner_type: 'INT64', is_nullable: 'NO' },
      { column_name: 's', spanner_type: 'STRING(10)', is_nullable: 'YES' },
      { column_name: 'b', spanner_type: 'BYTES(10)', is_nullable: 'YES' },
    ]);
  });

  it('COLUMN_OPTIONS lists allow_commit_timestamp', async () => {
    const sql = `SELECT column_name, option_name, option_value FROM information_schema.column_options
                 WHERE table_name = 'locktable' ORDER BY column_name`;
    expect(await query(target.database, sql)).toEqual(
      ['heartbeat', 'token'].map((column_name) => ({
        column_name,
        option_name: 'allow_commit_timestamp',
        option_value: 'TRUE',
      })),
    );
  });

  it('INDEXES and INDEX_COLUMNS list indexes with their columns', async () => {
    const indexes =
      "SELECT index_name, index_type, is_unique, index_state FROM information_schema.indexes WHERE table_name = 'logtable' ORDER BY index_name";
    expect(await query(target.database, indexes)).toEqual([
      { index_name: 'PRIMARY_KEY', index_type: 'PRIMARY_KEY', is_unique: true, index_state: null },
      { index_name: 'by_key', index_type: 'INDEX', is_unique: false, index_state: 'READ_WRITE' },
    ]);
    const columns = `SELECT column_name, ordinal_position, column_ordering FROM information_schema.index_columns
                     WHERE index_name = 'by_key' ORDER BY ordinal_position`;
    expect(await query(target.database, columns)).toEqual([
      { column_name: 'value', ordinal_position: null, column_ordering: null },
      { column_name: 'key', ordinal_position: 1, column_ordering: 'ASC' },
      { column_name: 'timestamp', ordinal_position: 2, column_ordering: 'DESC' },
    ]);
  });

  it('lists its own views with their columns and keys', async () => {
    const views =
      "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'INFORMATION_SCHEMA'";
    const found = await query(target.database, views);
    expect(found).toContainEqual({ table_name: 'TABLES', table_type: 'VIEW' });
    for (const { table_name } of found) {
      const all = (await target.database.run(`SELECT * FROM information_schema.${table_name as string} LIMIT 1`))[0];
      const sql = `SELECT column_name FROM information_schema.columns
                   WHERE table_schema = 'INFORMATION_SCHEMA' AND table_name = @table_name ORDER BY ordinal_position`;
      const listed = (await query(target.database, sql, { table_name })).map(({ column_name }) => column_name);
      if (all.length > 0) expect(listed).toEqual(expect.arrayContaining(Object.keys(all[0]!.toJSON())));
      const index = `SELECT index_name FROM information_schema.indexes
                     WHERE table_schema = 'INFORMATION_SCHEMA' AND table_name = @table_name`;
      expect(await query(target.database, index, { table_name })).toEqual([{ index_name: 'PRIMARY_KEY' }]);
    }
    const key = `SELECT column_name, is_nullable, spanner_type FROM information_schema.index_columns
                 WHERE table_schema = 'INFORMATION_SCHEMA' AND table_name = 'TABLES' ORDER BY ordinal_position`;
    expect(await query(target.database, key)).toEqual(
      ['TABLE_CATALOG', 'TABLE_SCHEMA', 'TABLE_NAME'].map((column_name) => ({
        column_name,
        is_nullable: 'NO',
        spanner_type: 'STRING(MAX)',
      })),
    );
  });

  it('SCHEMATA and DATABASE_OPTIONS list the schemas and the dialect', async () => {
    const dialect =
      "SELECT option_value FROM information_schema.database_options WHERE option_name = 'database_dialect'";
    expect(await query(target.database, dialect)).toEqual([{ option_value: 'GOOGLE_STANDARD_SQL' }]);
    const schemata = "SELECT schema_name FROM information_schema.schemata WHERE schema_name = ''";
    expect(await query(target.database, schemata)).toEqual([{ schema_name: '' }]);
  });
});

describe('instances and databases', () => {
  let target: Target;

  beforeAll(async () => {
    target = await openTarget();
  });
  afterAll(() => target.close());

  it('an instance can be created, read, listed and deleted', async () => {
    const id = `i${randomUUID().slice(0, 8)}`;
    const instance = target.spanner.instance(id);
    const [, operation] = await instance.create({ config: 'emulator-config', nodes: 1, displayName: 'x' });
    await operation.promise();
    expect((await instance.getMetadata())[0]).toMatchObject({ displayName: 'x', nodeCount: 1 });
    expect((await target.spanner.getInstances())[0].map((one) => one.id)).toContain(id);
    await instance.delete();
    await expect(instance.getMetadata()).rejects.toMatchObject({ code: 5 });
  });

  it('instance configs are listed', async () => {
    const [configs] = await target.spanner.getInstanceConfigs();
    expect(configs.map(({ name }) => name)).toContain('projects/p/instanceConfigs/emulator-config');
  });

  it('a database can be created, read, listed and dropped', async () => {
    const name = target.database.formattedName_;
    expect((await target.database.getMetadata())[0]).toMatchObject({ name, state: 'READY' });
    const [databases] = await target.spanner.instance('i').getDatabases();
    expect(databases.map(({ formattedName_ }) => formattedName_)).toContain(name);
    expect((await target.database.getDatabaseDialect()) as unknown).toBe('GOOGLE_STANDARD_SQL');
    const twice = target.spanner.instance('i').createDatabase(name.split('/').at(-1)!);
    await expect(twice).rejects.toMatchObject({ code: 6 });
    const missing = target.spanner.instance('i').database('nothing');
    await expect(missing.getMetadata()).rejects.toMatchObject({
      code: 5,
      message: expect.stringContaining('Database not found'),
    });
  });

  it.each(['Upper', 'x', '1abc', 'abc-', 'a'.repeat(31)])('the database name %s is refused', async (name) => {
    const create = target.spanner.instance('i').createDatabase(name);
    await expect(create).rejects.toMatchObject({ code: 3, message: expect.stringMatching(/Invalid|not valid/) });
  });

  it.each(['Upper', 'x', 'a_b', 'abc-', 'a'.repeat(65)])('the instance name %s is refused', async (name) => {
    const create = target.spanner.instance(name).create({ config: 'emulator-config', nodes: 1, displayName: 'x' });
    await expect(create).rejects.toMatchObject({ code: 3 });
  });

  it('lists come in pages', async () => {
    const other = target.spanner.instance('i').database(`d${randomUUID().slice(0, 8)}`);
    const [, operation] = await other.create();
    await operation.promise();
    const seen: string[] = [];
    let pageToken = '';
    do {
      const options = { gaxOptions: { autoPaginate: false }, pageSize: 1, pageToken };
      const [page, next] = await target.spanner.instance('i').getDatabases(options);
      expect(page).toHaveLength(1);
      seen.push(...page.map(({ formattedName_ }) => formattedName_));
      pageToken = next && 'pageToken' in next ? String(next.pageToken) : '';
    } while (pageToken);
    expect(seen).toEqual(expect.arrayContaining([target.database.formattedName_, other.formattedName_]));
    await other.delete();
  });

  it('long-running operations can be listed and read again', async () => {
    const [operations] = await target.spanner.instance('i').getDatabaseOperations();
    const prefix = `${target.database.formattedName_}/operations/`;
    expect(operations.filter(({ name }) => name!.startsWith(prefix))).toMatchObject([{ done: true }]);
  });
});
