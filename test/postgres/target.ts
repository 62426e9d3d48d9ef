import { Client } from 'pg';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import type { LeaseClaim } from '../../libs/hedge/src/database/lease-table.js';
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

/** Opens connections until the server refuses one more. @returns a callback that closes them. */
export async function fillConnections(url: string): Promise<() => Promise<void>> {
  const open: Client[] = [];
  for (;;) {
    const client = new Client({ connectionString: url });
    client.on('error', () => undefined);
    const isOpen = await client.connect().then(
      () => true,
      () => false,
    );
    if (!isOpen) break;
    open.push(client);
  }
  return async () => {
    for (const client of open) await client.end();
  };
}

/** Pids of the sessions of an application, from the oldest to the newest. */
export async function sessionsOf(server: PostgresServer, application: string): Promise<number[]> {
  const select = `SELECT pid FROM pg_stat_activity WHERE application_name = '${application}' ORDER BY backend_start`;
  return (await sql(server.url(), select)).map(({ pid }) => Number(pid));
}

export async function heldBy(backend: Backend, claim: LeaseClaim): Promise<LeaseClaim & { token: bigint }> {
  const result = await backend.lease.acquire(claim);
  if (!result.acquired) throw new Error('the lease should have been acquired');
  return { ...claim, token: result.token };
}

/** The timeout of the backends whose database fails. */
export const TIMEOUT_MS = 1_000;

/** The error of a call, and that it came in time. */
export async function failureOf(call: Promise<unknown>): Promise<unknown> {
  const start = performance.now();
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (performance.now() - start > TIMEOUT_MS * 3) throw new Error(`The call ended too late: ${String(error)}`);
  return error;
}

/** Repeats what a member repeats: until the database answers again. */
export async function eventually<T>(call: () => Promise<T>): Promise<T> {
  for (const end = performance.now() + 20_000; ;) {
    try {
      return await call();
    } catch (error) {
      if (performance.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

/** A server with the tables: of the version whose `bin` folder HEDGE_POSTGRES_BIN names, else of the package. */
export async function startServer(options: PostgresServerOptions = {}): Promise<PostgresServer> {
  const binaries = process.env['HEDGE_POSTGRES_BIN'];
  const server = await PostgresServer.start({ ...(binaries !== undefined && { binaries }), ...options });
  await sql(server.url(), ...schemaDdl(TABLES));
  return server;
}
