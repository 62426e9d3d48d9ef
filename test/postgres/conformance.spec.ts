import { Pool } from 'pg';
import { postgres } from 'nestjs-hedge/postgres';
import { backendConformance } from 'nestjs-hedge/testing';
import type { PostgresServer } from '../../scripts/postgres-server.js';
import { sql, startServer } from './target.js';

let server: PostgresServer;
let pool: Pool;

backendConformance({
  name: 'postgres with connections of its own',
  createFactory: async () => {
    server = await startServer();
    return postgres({ connectionString: server.url() });
  },
  // A clock that went back by an hour looks the same as a last timestamp an hour ahead.
  setClockBack: async () => void (await sql(server.url(), 'UPDATE hedge.hedge_clock SET last = last + 3600000000000')),
  cleanUp: () => server.stop(),
});

backendConformance({
  name: "postgres with the application's pool",
  createFactory: async () => {
    server = await startServer();
    pool = new Pool({ connectionString: server.url(), max: 3 });
    return postgres({ pool });
  },
  cleanUp: async () => {
    await pool.end();
    await server.stop();
  },
});
