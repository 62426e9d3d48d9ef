import { Client } from 'pg';
import { PostgresServer, type PostgresServerOptions } from '../../scripts/postgres-server.js';
import { tableNames } from '../../libs/hedge/src/database/postgres/options.js';
import { schemaDdl } from '../../libs/hedge/src/database/postgres/schema.js';

/** The default names. */
export const TABLES = tableNames({});

/** Runs statements, one after the other, on a connection of their own. */
export async function sql(url: string, ...statements: string[]): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    let rows: Record<string, unknown>[] = [];
    for (const statement of statements) ({ rows } = await client.query(statement));
    return rows;
  } finally {
    await client.end();
  }
}

/** A server with the tables: of the version whose `bin` folder HEDGE_POSTGRES_BIN names, else of the package. */
export async function startServer(options: PostgresServerOptions = {}): Promise<PostgresServer> {
  const binaries = process.env['HEDGE_POSTGRES_BIN'];
  const server = await PostgresServer.start({ ...(binaries !== undefined && { binaries }), ...options });
  await sql(server.url(), ...schemaDdl(TABLES));
  return server;
}
