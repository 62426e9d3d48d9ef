import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { PostgresServer } from '../../../scripts/postgres-server.js';
import { startSpannerEmulator } from '../../../libs/spanner-emulator/src/index.js';
import { nestjsHedge } from './command-line.js';

/** The database that the pods of one demo share. */
export interface Database {
  /** Shown in the first line of the demo. */
  readonly name: string;
  /** Environment variables with which a pod uses this database. */
  readonly env: Readonly<Record<string, string>>;
  /** Removes all resources. Called when no pod runs any more. */
  close(): Promise<void>;
}

/** The databases, by the value of `--backend`. Each gets the value of `--url`. */
export const DATABASES: Readonly<Record<string, (url?: string) => Promise<Database>>> = {
  sqlite: async () => {
    const folder = await mkdtemp(join(tmpdir(), 'hedge-demo-'));
    const file = join(folder, 'hedge.db');
    return {
      name: `sqlite ${file}`,
      env: { HEDGE_SQLITE_FILE: file },
      close: () => rm(folder, { recursive: true, force: true }),
    };
  },
  postgres: (url) => (url === undefined ? ownPostgres() : lentPostgres(url)),
  spanner: async () => {
    const emulator = await startSpannerEmulator({ port: 0 });
    const { database } = emulator;
    // Google's client does not have to look for a cloud environment.
    const env = { SPANNER_EMULATOR_HOST: emulator.address, METADATA_SERVER_DETECTION: 'none' };
    await nestjsHedge(['schema', '--index', '--apply', '--database', database], env);
    return {
      name: `spanner ${database}, on an emulator at ${emulator.address}`,
      env: { ...env, HEDGE_BACKEND: 'spanner', HEDGE_SPANNER_DATABASE: database },
      close: async () => emulator.close(),
    };
  },
};

/** A server that the demo starts. */
async function ownPostgres(): Promise<Database> {
  const server = await PostgresServer.start();
  try {
    await nestjsHedge(['schema', '--dialect', 'postgres', '--apply', '--url', server.url()]);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return {
    name: `PostgreSQL 18 at ${server.url()}`,
    env: { HEDGE_BACKEND: 'postgres', DATABASE_URL: server.url() },
    close: () => server.stop(),
  };
}

/** A schema of the demo's own on somebody's server. */
async function lentPostgres(url: string): Promise<Database> {
  const schema = `hedge_demo_${randomUUID().slice(0, 8)}`;
  await nestjsHedge(['schema', '--dialect', 'postgres', '--schema', schema, '--apply', '--url', url]);
  return {
    name: `PostgreSQL, schema ${schema}`,
    env: { HEDGE_BACKEND: 'postgres', DATABASE_URL: url, HEDGE_SCHEMA: schema },
    close: async () => {
      const client = new Client({ connectionString: url });
      await client.connect();
      await client.query(`DROP SCHEMA "${schema}" CASCADE`);
      await client.end();
    },
  };
}
