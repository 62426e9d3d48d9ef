import { Kysely, sql, SqliteDialect, type Transaction } from 'kysely';
import Database from 'libsql';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { backendConformance } from '../../testing/conformance/index.js';
import { sqlite } from './index.js';

const folder = mkdtempSync(join(tmpdir(), 'hedge-conformance-'));
const file = join(folder, 'hedge.db');
const database = new Database(file);
database.exec('CREATE TABLE invoice (id TEXT PRIMARY KEY)');
const kysely = new Kysely<unknown>({ dialect: new SqliteDialect({ database: new Database(file) }) });
const has = async (id: string) => database.prepare('SELECT 1 FROM invoice WHERE id = ?').all(id).length > 0;

backendConformance({
  name: 'sqlite',
  createFactory: () => sqlite({ file }),
  setClockBack() {
    // The clock that went back by an hour looks the same as a last timestamp an hour ahead.
    database.exec('UPDATE hedge_clock SET last = last + 3600000000000');
  },
  applications: [
    {
      name: 'libsql',
      source: () => database,
      table: { insert: (_tx, id) => database.prepare('INSERT INTO invoice VALUES (?)').run(id), has },
      outside: () => [database],
    },
    {
      name: 'Kysely',
      source: () => kysely,
      table: { insert: (tx, id) => sql`INSERT INTO invoice VALUES (${id})`.execute(tx as Transaction<unknown>), has },
      begin: (work) => kysely.transaction().execute(work),
      outside: () => [kysely],
    },
  ],
  async cleanUp() {
    await kysely.destroy();
    database.close();
    rmSync(folder, { recursive: true });
  },
});
