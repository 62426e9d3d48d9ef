import { Client } from 'pg';
import { PostgresServer } from '../../scripts/postgres-server.js';
import { tableNames } from '../../libs/hedge/src/database/postgres/options.js';
import { schemaDdl } from '../../libs/hedge/src/database/postgres/schema.js';

/** The schemas of the pods and of the floors. They are dropped afterwards. */
export const SCHEMA = { pods: 'hedge_bench', floor: 'hedge_bench_floor' };

/** The pause of a waiter that polls for a lock, in milliseconds. */
export const POLL_MS = 50;

/** As a server is installed: each commit waits for the disk. */
const SETTINGS = { fsync: 'on', shared_buffers: '128MB', max_connections: '100' };

/** Runs `use` with the connection string of a server that has the tables: the given one, or one of its own. */
export async function withPostgres<T>(url: string | undefined, use: (url: string) => Promise<T>): Promise<T> {
  if (url !== undefined) return withTables(url, use);
  const server = await PostgresServer.start({ settings: SETTINGS });
  try {
    return await withTables(server.url(), use);
  } finally {
    await server.stop();
  }
}

async function withTables<T>(url: string, use: (url: string) => Promise<T>): Promise<T> {
  const schemas = Object.values(SCHEMA);
  const drop = schemas.map((schema) => `DROP SCHEMA IF EXISTS ${schema} CASCADE`);
  const tables = schemas.flatMap((schema) => schemaDdl(tableNames({ schema })));
  const invoice = `CREATE TABLE ${SCHEMA.pods}.invoice (id bigserial PRIMARY KEY, note text NOT NULL)`;
  await run(url, [...drop, ...tables, invoice]);
  try {
    return await use(url);
  } finally {
    await run(url, drop);
  }
}

async function run(url: string, statements: readonly string[]): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}
