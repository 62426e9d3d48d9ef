import { randomUUID } from 'node:crypto';
import { credentials } from '@grpc/grpc-js';
import { Spanner, v1, type Database } from '@google-cloud/spanner';
import { startSpannerEmulator, type SpannerEmulator, type SpannerEmulatorOptions } from '../src/index.js';

// Tests use no metadata server and no metrics backend.
process.env['SPANNER_DISABLE_BUILTIN_METRICS'] = 'true';
process.env['METADATA_SERVER_DETECTION'] = 'none';

/** The tables of the library, and a table with a column of each type. */
export const TABLES = [
  `CREATE TABLE locktable (
    name STRING(MAX) NOT NULL,
    heartbeat TIMESTAMP OPTIONS (allow_commit_timestamp=true),
    token TIMESTAMP OPTIONS (allow_commit_timestamp=true),
    writer STRING(MAX)
  ) PRIMARY KEY (name)`,
  `CREATE TABLE logtable (
    id STRING(MAX),
    key STRING(MAX),
    value STRING(MAX),
    leader STRING(MAX),
    timestamp TIMESTAMP OPTIONS (allow_commit_timestamp=true)
  ) PRIMARY KEY (key, id)`,
  `CREATE TABLE types (
    k INT64 NOT NULL,
    s STRING(10),
    b BYTES(10),
    f FLOAT64,
    t TIMESTAMP,
    o BOOL,
    n INT64 NOT NULL
  ) PRIMARY KEY (k)`,
];

/** A fresh database on the server under test, and a client for it. */
export interface Target {
  readonly address: string;
  readonly spanner: Spanner;
  readonly database: Database;
  close(): Promise<void>;
}

/**
 * Tests of Spanner's behaviour run on the server in `SPANNER_EMULATOR_HOST`, or on this emulator when it is not set.
 */
export const openTarget = async (ddl: readonly string[] = TABLES): Promise<Target> => {
  const external = process.env['SPANNER_EMULATOR_HOST'];
  const emulator = external === undefined ? await startSpannerEmulator({ port: 0 }) : undefined;
  const target = await openDatabase(external ?? emulator!.address, ddl);
  return {
    ...target,
    close: async () => {
      await target.close();
      emulator?.close();
    },
  };
};

/** A fresh database on this server, in the instance `i` of the project `p`. */
export const openDatabase = async (address: string, ddl: readonly string[] = TABLES): Promise<Target> => {
  const [servicePath, port] = address.split(':');
  const { spanner } = connect(servicePath!, Number(port));
  const instance = spanner.instance('i');
  const [exists] = await instance.exists();
  if (!exists) {
    const [, operation] = await instance.create({ config: 'emulator-config', nodes: 1, displayName: 'test' });
    await operation.promise();
  }
  const name = `d${randomUUID().slice(0, 8)}`;
  const [database, operation] = await instance.createDatabase(name, { schema: [...ddl] });
  await operation.promise();
  return {
    address,
    spanner,
    database,
    close: async () => {
      await database.delete();
      await spanner.close();
    },
  };
};

const connect = (servicePath: string, port: number): { spanner: Spanner } => {
  const before = process.env['SPANNER_EMULATOR_HOST'];
  // The client reads the variable when it is created. Later tests must not use this server.
  process.env['SPANNER_EMULATOR_HOST'] = `${servicePath}:${port}`;
  try {
    return { spanner: new Spanner({ projectId: 'p' }) };
  } finally {
    if (before === undefined) delete process.env['SPANNER_EMULATOR_HOST'];
    else process.env['SPANNER_EMULATOR_HOST'] = before;
  }
};

/** The plain API without the retries and conveniences of the client, and a session for its calls. */
export const openSession = async (
  { address, database }: Pick<Target, 'address' | 'database'>,
  multiplexed = false,
): Promise<{ client: v1.SpannerClient; session: string }> => {
  const [servicePath, port] = address.split(':');
  const client = new v1.SpannerClient({
    servicePath: servicePath!,
    port: Number(port),
    sslCreds: credentials.createInsecure(),
  });
  const [session] = await client.createSession({ database: database.formattedName_, session: { multiplexed } });
  return { client, session: session.name! };
};

/** Runs a query and returns its rows as plain objects. */
export const query = async (
  database: Pick<Database, 'run'>,
  sql: string,
  params: Record<string, unknown> = {},
  types: Record<string, string> = {},
): Promise<Record<string, unknown>[]> => {
  const [rows] = await database.run({ sql, params, types });
  const options = { includeNameless: true };
  return rows.map((row) => (row as { toJSON(o: object): Record<string, unknown> }).toJSON(options));
};

/** The emulator itself, for tests of its own features. */
export const openEmulator = async (
  options: SpannerEmulatorOptions = {},
  ddl: readonly string[] = TABLES,
): Promise<Target & { readonly emulator: SpannerEmulator }> => {
  const emulator = await startSpannerEmulator({ ...options, port: 0 });
  const target = await openDatabase(emulator.address, ddl);
  return {
    ...target,
    emulator,
    close: async () => {
      emulator.faults.clear();
      await target.close();
      emulator.close();
    },
  };
};
