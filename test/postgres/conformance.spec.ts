import { it } from '@jest/globals';
import { Pool } from 'pg';
import { postgres } from 'nestjs-hedge/postgres';
import { backendConformance } from 'nestjs-hedge/testing';
import type { PostgresServer } from '../../scripts/postgres-server.js';
import { pgApplication } from '../readme/conformance-application.js';
import { PGBOUNCER, PgBouncer } from './pgbouncer.js';
import { sql, startServer } from './target.js';

let server: PostgresServer;
let bouncer: PgBouncer | undefined;
let pool: Pool;

const INVOICE = 'CREATE TABLE invoice (id text PRIMARY KEY)';
/** Of both suites, on their `pool`. */
const applications = [pgApplication(() => pool)];

backendConformance({
  name: 'postgres with connections of its own',
  createFactory: async () => {
    server = await startServer();
    await sql(server.url(), INVOICE);
    pool = new Pool({ connectionString: server.url() });
    return postgres({ connectionString: server.url() });
  },
  applications,
  // A clock that went back by an hour looks the same as a last timestamp an hour ahead.
  setClockBack: async () => void (await sql(server.url(), 'UPDATE hedge.hedge_clock SET last = last + 3600000000000')),
  cleanUp: async () => {
    await pool.end();
    await server.stop();
  },
});

const isThere = PGBOUNCER !== undefined;

// Its leases run on a connection of the driver's own to PgBouncer, and the log on the pool.
backendConformance({
  name: `postgres with the application's pool, ${isThere ? 'through PgBouncer in transaction mode' : 'without PgBouncer'}`,
  createFactory: async () => {
    server = await startServer();
    await sql(server.url(), INVOICE);
    bouncer = isThere ? await PgBouncer.start(server.port) : undefined;
    pool = new Pool({ connectionString: bouncer?.url ?? server.url(), max: 3 });
    return postgres({ pool });
  },
  applications,
  cleanUp: async () => {
    await pool.end();
    await bouncer?.stop();
    await server.stop();
  },
});

if (!isThere) it.skip('PgBouncer is not installed here. Run: apt-get install pgbouncer', () => undefined);
