import { it } from '@jest/globals';
import { postgres } from 'nestjs-hedge/postgres';
import { backendConformance } from 'nestjs-hedge/testing';
import type { PostgresServer } from '../../scripts/postgres-server.js';
import { PGBOUNCER, PgBouncer } from './pgbouncer.js';
import { startServer } from './target.js';

let server: PostgresServer;
let bouncer: PgBouncer;

if (PGBOUNCER === undefined) {
  it.skip('runs through PgBouncer: it is not installed here. Run: apt-get install pgbouncer', () => undefined);
} else {
  backendConformance({
    name: 'postgres through PgBouncer in transaction mode',
    createFactory: async () => {
      server = await startServer();
      bouncer = await PgBouncer.start(server.port);
      return postgres({ connectionString: bouncer.url });
    },
    cleanUp: async () => {
      await bouncer.stop();
      await server.stop();
    },
  });
}
