import { PGlite } from '@electric-sql/pglite';
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
    return postgres({ client: { query: (text, values) => database.query(text, values) } });
  },
  // A clock that went back by an hour looks the same as a last timestamp an hour ahead.
  setClockBack: async () => void (await database.exec('UPDATE hedge.hedge_clock SET last = last + 3600000000000')),
  cleanUp: () => database.close(),
});
