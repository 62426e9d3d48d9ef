import { PGlite } from '@electric-sql/pglite';
import { sql } from 'drizzle-orm';
import { drizzle, type PgliteDatabase } from 'drizzle-orm/pglite';
import { backendConformance } from '../../testing/index.js';
import { postgres } from './index.js';
import { tableNames } from './options.js';
import { schemaDdl } from './schema.js';

let database: PGlite;

backendConformance({
  name: 'postgres by PGlite',
  createFactory: async () => {
    database = await PGlite.create();
    await database.exec(schemaDdl(tableNames({})).join(';'));
    await database.exec('CREATE TABLE invoice (id text PRIMARY KEY)');
    return postgres({ client: { query: (text, values) => database.query(text, values) } });
  },
  // A clock that went back by an hour looks the same as a last timestamp an hour ahead.
  setClockBack: async () => void (await database.exec('UPDATE hedge.hedge_clock SET last = last + 3600000000000')),
  applications: [
    {
      name: 'Drizzle',
      source: () => drizzle({ client: database }),
      table: {
        insert: (tx, id) => (tx as PgliteDatabase).execute(sql`INSERT INTO invoice VALUES (${id})`),
        has: async (id) => (await database.query('SELECT 1 FROM invoice WHERE id = $1', [id])).rows.length > 0,
      },
      begin: (work) => drizzle({ client: database }).transaction(work),
      outside: () => [database, drizzle({ client: database })],
    },
  ],
  cleanUp: () => database.close(),
});
