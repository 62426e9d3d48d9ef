import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import makeKnex, { type Knex } from 'knex';
import { Kysely, SqliteDialect, type Transaction } from 'kysely';
import Database from 'libsql';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataSource, type EntityManager } from 'typeorm';
import { sqlite } from 'nestjs-hedge/sqlite';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import type { Fence } from '../../libs/hedge/src/database/log-table.js';
import type { UserTransactions } from '../../libs/hedge/src/database/user-transactions.js';
import { acquireFence, claimOf, rowOf, staleFence } from './rows.js';

let folder: string;
let file: string;
let backend: Backend;
let transactions: UserTransactions;
/** A connection of the application. */
let database: Database.Database;
let id: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'hedge-fence-'));
  file = join(folder, 'app.db');
  backend = sqlite({ file }).create({ timeoutMs: 30_000 });
  await backend.open();
  if (backend.transactions === undefined) throw new Error('the driver should fence transactions');
  transactions = backend.transactions;
  database = new Database(file);
  database.exec('CREATE TABLE invoice (id TEXT PRIMARY KEY, cents INTEGER NOT NULL)');
});

beforeEach(() => {
  id = randomUUID();
});

afterAll(async () => {
  database.close();
  await backend.close();
  rmSync(folder, { recursive: true });
});

const acquire = (lease?: string) => acquireFence(backend, lease);
const stale = () => staleFence(backend);
const isCommitted = (row = id) => database.prepare('SELECT 1 FROM invoice WHERE id = ?').all(row).length > 0;
const insert = (row = id) => database.prepare('INSERT INTO invoice VALUES (?, 100)').run(row);

/** As `Lock.fence` calls it: at once, with an error as a rejection. */
async function attempt(fence: () => void | Promise<void>): Promise<void> {
  return fence();
}

const lost = { code: 'LEASE_LOST' };
const refused = { code: 'INVALID_ARGUMENT' };

const fenced = (fence: Fence) => (tx: unknown) => transactions.fence(tx, fence);

describe('F1 a synchronous connection of libsql', () => {
  it('commits the work of a holder, and returns its result', async () => {
    const holder = await acquire();
    await expect(transactions.run(database, () => [insert(), 7][1], fenced(holder))).resolves.toBe(7);
    expect(isCommitted()).toBe(true);
  });

  it('leaves nothing of the work of a stale holder', async () => {
    await expect(transactions.run(database, () => insert(), fenced(await stale()))).rejects.toMatchObject(lost);
    expect([isCommitted(), database.inTransaction]).toEqual([false, false]);
  });

  it('leaves nothing of work that fails, and passes its error unchanged', async () => {
    const error = new Error('of the work');
    const work = () => {
      insert();
      throw error;
    };
    await expect(transactions.run(database, work, fenced(await acquire()))).rejects.toBe(error);
    expect([isCommitted(), database.inTransaction]).toEqual([false, false]);
  });

  it('refuses asynchronous work, and leaves nothing of it', async () => {
    const holder = await acquire();
    await expect(transactions.run(database, async () => insert(), fenced(holder))).rejects.toMatchObject(refused);
    const late = async () => fenced(holder)(database);
    await expect(transactions.run(database, () => insert(), late)).rejects.toMatchObject(refused);
    expect([isCommitted(), database.inTransaction]).toEqual([false, false]);
  });

  it('runs transactions at the same time, each alone', async () => {
    const holder = await acquire();
    const ids = Array.from({ length: 5 }, () => randomUUID());
    await Promise.all(ids.map((one) => transactions.run(database, () => insert(one), fenced(holder))));
    expect(ids.every((one) => isCommitted(one))).toBe(true);
  });

  it('waits for the transaction of another connection, and lets the event loop run', async () => {
    const holder = await acquire();
    const other = new Database(file);
    other.exec('BEGIN IMMEDIATE');
    const run = transactions.run(database, () => insert(), fenced(holder));
    await new Promise((resolve) => setTimeout(resolve, 20));
    other.exec('COMMIT');
    other.close();
    await run;
    expect(isCommitted()).toBe(true);
  });

  it('is rolled back by `fence`, which its transaction could not await', async () => {
    const holder = await acquire();
    let rejection: unknown;
    const transaction = database.transaction(() => {
      insert();
      rejection = expect(attempt(() => transactions.fence(database, holder))).rejects.toMatchObject(refused);
    });
    expect(() => transaction()).toThrow(/no transaction is active/);
    await rejection;
    expect(isCommitted()).toBe(false);
  });

  it('refuses a transaction within a transaction', async () => {
    const holder = await acquire();
    database.exec('BEGIN');
    await expect(transactions.run(database, () => insert(), fenced(holder))).rejects.toMatchObject(refused);
    database.exec('ROLLBACK');
  });

  it('commits a row of the log, and none that is there', async () => {
    const holder = await acquire();
    const row = rowOf(randomUUID());
    const append = (tx: unknown) => transactions.append(tx, row, holder);
    await transactions.run(database, () => insert(), append);
    const [entry] = await backend.log.history(row.key, { limit: 2, order: 'newest-first' });
    expect(entry).toMatchObject(row);
    await expect(transactions.run(database, () => insert(randomUUID()), append)).rejects.toMatchObject({
      code: 'CONFLICT',
    });
    const [next] = await backend.log.append([rowOf(row.key)]);
    expect(next).toMatchObject({ timestamp: expect.any(BigInt) });
    expect((next as { timestamp: bigint }).timestamp).toBeGreaterThan(entry!.timestamp);
  });

  it('fences by a permit, until it is freed', async () => {
    const { lease, token } = await acquire();
    const fence = { lease, token };
    const name = randomUUID();
    const permit = randomUUID();
    const write = { name, follows: 0n, limit: 1, value: permit, holders: [], leader: '' };
    const granted = await backend.permits.write({ ...write, permits: [{ id: permit, permitMs: 60_000 }] }, fence);
    if (!granted.written) throw new Error('the permit should have been granted');
    const last = (tx: unknown) =>
      transactions.fencePermit(tx, { semaphore: name, id: permit, token: granted.timestamp });
    await transactions.run(database, () => insert(), last);
    await backend.permits.write({ ...write, follows: granted.timestamp, value: '', permits: [{ id: permit }] }, fence);
    await expect(transactions.run(database, () => insert(randomUUID()), last)).rejects.toMatchObject(lost);
    expect(isCommitted()).toBe(true);
  });

  it('also serves Drizzle', async () => {
    const invoices = sqliteTable('invoice', { id: text().primaryKey(), cents: integer().notNull() });
    // As the alias `"better-sqlite3": "npm:libsql"` of an application: Drizzle imports the package.
    jest.unstable_mockModule('better-sqlite3', () => ({ default: Database }), { virtual: true });
    const { drizzle } = await import('drizzle-orm/better-sqlite3');
    const db = drizzle({ client: database });
    const work = (row: string) => (tx: unknown) =>
      (tx as typeof db).insert(invoices).values({ id: row, cents: 1 }).run();
    const holder = await acquire();
    await transactions.run(db, work(id), fenced(holder));
    const other = randomUUID();
    await expect(transactions.run(db, work(other), fenced(await stale()))).rejects.toMatchObject(lost);
    expect([isCommitted(), isCommitted(other)]).toEqual([true, false]);
    const forgotten = (tx: unknown) => (tx as typeof db).insert(invoices).values({ id: other, cents: 1 });
    await expect(transactions.run(db, forgotten, fenced(holder))).rejects.toMatchObject(refused);
    expect(isCommitted(other)).toBe(false);
    let rejection: unknown;
    const begun = () =>
      db.transaction((tx) => {
        work(other)(tx);
        rejection = expect(attempt(() => transactions.fence(tx, holder))).rejects.toMatchObject(refused);
      });
    expect(begun).toThrow(/no transaction is active/);
    await rejection;
    expect(isCommitted(other)).toBe(false);
  });
});

interface OpenLibrary<Tx = unknown> {
  readonly source: object;
  readonly begin: (work: (tx: Tx) => Promise<void>) => Promise<unknown>;
  readonly query: (tx: Tx, text: string, values: string[]) => Promise<unknown>;
  readonly close: () => Promise<unknown>;
}

interface Tables {
  readonly invoice: { readonly id: string; readonly cents: number };
}

/** Asynchronous libraries, on connections of libsql. */
const LIBRARIES: Readonly<Record<string, () => Promise<OpenLibrary>>> = {
  TypeORM: typed<EntityManager>(async () => {
    const options = { type: 'better-sqlite3', driver: Database, database: file } as const;
    const source = await new DataSource(options).initialize();
    return {
      source,
      begin: (work) => source.transaction(work),
      query: (tx, text, values) => tx.query(text, values),
      close: () => source.destroy(),
    };
  }),
  Kysely: typed<Transaction<Tables>>(async () => {
    const source = new Kysely<Tables>({ dialect: new SqliteDialect({ database: new Database(file) }) });
    return {
      source,
      begin: (work) => source.transaction().execute(work),
      query: (tx, text, parameters) =>
        tx.executeQuery({
          sql: text,
          parameters,
          query: { kind: 'RawNode', sqlFragments: [text], parameters: [] },
          queryId: { queryId: '' },
        }),
      close: () => source.destroy(),
    };
  }),
  Knex: typed<Knex.Transaction>(async () => {
    const require = createRequire(import.meta.url);
    class Libsql extends (require('knex/lib/dialects/better-sqlite3/index.js') as typeof Knex.Client) {
      _driver() {
        return Database;
      }
    }
    const source = makeKnex({ client: Libsql, connection: { filename: file }, useNullAsDefault: true });
    return {
      source,
      begin: (work) => source.transaction(work),
      query: (tx, text, values) => tx.raw(text, values),
      close: () => source.destroy(),
    };
  }),
};

function typed<Tx>(open: () => Promise<OpenLibrary<Tx>>): () => Promise<OpenLibrary> {
  return open as () => Promise<OpenLibrary>;
}

describe.each(Object.keys(LIBRARIES))('F1 %s on SQLite', (name) => {
  let library: OpenLibrary;

  beforeAll(async () => {
    library = await LIBRARIES[name]!();
  });
  afterAll(() => library.close());

  const insertBy = (tx: unknown) => library.query(tx, 'INSERT INTO invoice VALUES (?, 100)', [id]);

  it('commits a transaction of the holder, and has the write lock of the file until then', async () => {
    const holder = await acquire();
    await holder.release();
    const successor = claimOf(holder.lease);
    await library.begin(async (tx) => {
      await transactions.fence(tx, holder);
      await insertBy(tx);
      expect(() => database.exec('BEGIN IMMEDIATE')).toThrow(/locked/);
    });
    expect(isCommitted()).toBe(true);
    await expect(backend.lease.acquire(successor)).resolves.toMatchObject({ acquired: true });
  });

  it('commits nothing of a stale holder, also if it swallows the error', async () => {
    const fence = await stale();
    await library.begin(async (tx) => {
      await insertBy(tx);
      await expect(transactions.fence(tx, fence)).rejects.toMatchObject(lost);
    });
    expect(isCommitted()).toBe(false);
  });

  it('passes LEASE_LOST through the transaction of the library', async () => {
    const fence = await stale();
    await expect(library.begin(async (tx) => transactions.fence(tx, fence))).rejects.toMatchObject(lost);
  });

  it('`transaction` commits the work of the holder, and nothing of a stale one', async () => {
    const holder = await acquire();
    await transactions.run(library.source, insertBy, (tx) => transactions.fence(tx, holder));
    expect(isCommitted()).toBe(true);
    id = randomUUID();
    const fence = await stale();
    const run = transactions.run(library.source, insertBy, (tx) => transactions.fence(tx, fence));
    await expect(run).rejects.toMatchObject(lost);
    expect(isCommitted()).toBe(false);
  });

  it('fails after a successor acquired the lease, when it has only read before', async () => {
    const holder = await acquire();
    // libsql keeps a connection at its old commit when a prepared statement has failed with SQLITE_BUSY_SNAPSHOT.
    const another = await LIBRARIES[name]!();
    const begun = another.begin(async (tx) => {
      await another.query(tx, 'SELECT * FROM invoice', []);
      await holder.release();
      await acquire(holder.lease);
      await transactions.fence(tx, holder);
    });
    // The transaction sees the lease as of its first read, and may not write after that.
    await expect(begun).rejects.toMatchObject({ message: expect.stringMatching(/locked|BUSY/) });
    await another.close();
  });

  it('commits a row of the log with the writes of the holder', async () => {
    const holder = await acquire();
    const row = rowOf(randomUUID());
    await transactions.run(library.source, insertBy, (tx) => transactions.append(tx, row, holder));
    expect(await backend.log.latest(row.key)).toMatchObject(row);
    expect(isCommitted()).toBe(true);
  });

  it('refuses the library outside of a transaction', async () => {
    const holder = await acquire();
    await expect(attempt(() => transactions.fence(library.source, holder))).rejects.toMatchObject(refused);
  });
});

describe('F1 an object with query on SQLite', () => {
  const tx = {
    query: async (text: string, values: string[]) => {
      if (text === 'ROLLBACK' || text === 'BEGIN') return [void database.exec(text)];
      return database.prepare(text).all(...values);
    },
  };

  afterEach(() => {
    if (database.inTransaction) database.exec('ROLLBACK');
  });

  it('fences within a transaction, and is refused outside of one', async () => {
    const holder = await acquire();
    const former = await stale();
    await expect(transactions.fence(tx, holder)).rejects.toMatchObject(refused);
    expect(database.inTransaction).toBe(false);
    database.exec('BEGIN');
    await transactions.fence(tx, holder);
    await expect(transactions.fence(tx, former)).rejects.toMatchObject(lost);
  });

  it('is refused when it uses another copy of SQLite in this process', async () => {
    const other = {
      query: async (text: string, values: string[]) =>
        text.includes('sqlite_source_id') ? [{ id: '2026-01-01 another' }] : tx.query(text, values),
    };
    const holder = await acquire();
    database.exec('BEGIN');
    await expect(transactions.fence(other, holder)).rejects.toMatchObject({
      ...refused,
      message: expect.stringContaining('another copy of SQLite'),
    });
  });

  it('is refused on another file', async () => {
    const other = new Database(':memory:');
    other.exec('BEGIN');
    const elsewhere = {
      query: async (text: string, values: string[]) => other.prepare(text).all(...values),
    };
    await expect(transactions.fence(elsewhere, await acquire())).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining(file),
    });
    other.close();
  });
});
