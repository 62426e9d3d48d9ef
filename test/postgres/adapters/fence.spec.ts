import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { postgres } from 'nestjs-hedge/postgres';
import type { Backend } from '../../../libs/hedge/src/database/backend.js';
import type { Fence } from '../../../libs/hedge/src/database/log-table.js';
import type { UserTransactions } from '../../../libs/hedge/src/database/user-transactions.js';
import type { PostgresServer } from '../../../scripts/postgres-server.js';
import { claimOf, rowOf } from '../../backend/rows.js';
import { sql, startServer } from '../target.js';
import { INVOICE_DDL, LIBRARIES, type OpenLibrary } from './libraries.js';

let server: PostgresServer;
let backend: Backend;
let transactions: UserTransactions;

beforeAll(async () => {
  server = await startServer();
  await sql(server.url(), INVOICE_DDL);
  backend = postgres({ connectionString: server.url() }).create({ timeoutMs: 10_000 });
  if (backend.transactions === undefined) throw new Error('the driver should fence transactions');
  transactions = backend.transactions;
});

afterAll(async () => {
  await backend.close();
  await server.stop();
});

/** Acquires a free lease, as another member each time. */
async function acquire(lease: string): Promise<Fence & { readonly release: () => Promise<unknown> }> {
  const claim = claimOf(lease);
  const result = await backend.lease.acquire(claim);
  if (!result.acquired) throw new Error('the lease should have been free');
  const { token } = result;
  return { lease, token, release: () => backend.lease.release({ ...claim, token }) };
}

/** The fence of a holder, and of its successor. */
async function succeeded(): Promise<readonly [stale: Fence, valid: Fence]> {
  const stale = await acquire(randomUUID());
  await stale.release();
  return [stale, await acquire(stale.lease)];
}

async function isCommitted(id: string): Promise<boolean> {
  return (await sql(server.url(), `SELECT FROM "Invoice" WHERE id = '${id}'`)).length > 0;
}

const lost = { code: 'LEASE_LOST' };
const refused = { code: 'INVALID_ARGUMENT', message: expect.stringContaining('Nothing was fenced') };

describe.each(Object.keys(LIBRARIES))('F1 %s', (name) => {
  let library: OpenLibrary;
  let id: string;

  beforeAll(async () => {
    library = await LIBRARIES[name]!(server.url());
  });
  beforeEach(() => {
    id = randomUUID();
  });
  afterAll(() => library.close());

  /** As `lock.transaction` does it. */
  function transaction<Result>(fence: Fence, work: (tx: unknown) => Promise<Result>): Promise<Result> {
    return transactions.run(library.source, work, (tx) => transactions.fence(tx, fence));
  }

  it('commits a transaction of the holder, and locks the row of the lease until then', async () => {
    const holder = await acquire(randomUUID());
    await holder.release();
    const successor = claimOf(holder.lease);
    await library.begin(async (tx) => {
      await library.insert(tx, id);
      await transactions.fence(tx, holder);
      const row = `SELECT FROM hedge.locktable WHERE name = '${holder.lease}' FOR UPDATE NOWAIT`;
      await expect(sql(server.url(), row)).rejects.toMatchObject({ code: '55P03' });
    });
    expect(await isCommitted(id)).toBe(true);
    await expect(backend.lease.acquire(successor)).resolves.toMatchObject({ acquired: true });
  });

  it('rolls back a transaction of a stale holder, also if it swallows the error', async () => {
    const [stale] = await succeeded();
    // Some libraries reject at the commit, others take its answer ROLLBACK for success.
    await Promise.allSettled([
      library.begin(async (tx) => {
        await library.insert(tx, id);
        await expect(transactions.fence(tx, stale)).rejects.toMatchObject(lost);
      }),
    ]);
    expect.assertions(2);
    expect(await isCommitted(id)).toBe(false);
  });

  it('passes LEASE_LOST through the transaction of the library', async () => {
    const [stale] = await succeeded();
    const begun = library.begin(async (tx) => {
      await library.insert(tx, id);
      await transactions.fence(tx, stale);
    });
    await expect(begun).rejects.toMatchObject(lost);
  });

  it('`transaction` commits the work of the holder, and returns its result', async () => {
    const holder = await acquire(randomUUID());
    await expect(transaction(holder, async (tx) => [await library.insert(tx, id), 'result'][1])).resolves.toBe(
      'result',
    );
    expect(await isCommitted(id)).toBe(true);
  });

  it('`transaction` leaves nothing of the work of a stale holder', async () => {
    const [stale] = await succeeded();
    await expect(transaction(stale, async (tx) => void (await library.insert(tx, id)))).rejects.toMatchObject(lost);
    expect(await isCommitted(id)).toBe(false);
  });

  it('`transaction` leaves nothing of work that fails, and passes its error unchanged', async () => {
    const holder = await acquire(randomUUID());
    const error = new Error('of the work');
    const work = transaction(holder, async (tx) => {
      await library.insert(tx, id);
      throw error;
    });
    await expect(work).rejects.toBe(error);
    expect(await isCommitted(id)).toBe(false);
  });

  it('commits a row of the log with the writes of the holder', async () => {
    const holder = await acquire(randomUUID());
    const row = rowOf(randomUUID(), 'a text with ?, $1, :name, \\ and "quotes"');
    await library.begin(async (tx) => {
      await library.insert(tx, id);
      await transactions.append(tx, row, holder);
    });
    expect(await isCommitted(id)).toBe(true);
    expect(await backend.log.latest(row.key)).toMatchObject(row);
  });

  it('refuses an object outside of a transaction', async () => {
    const holder = await acquire(randomUUID());
    for (const tx of library.outside) await expect(transactions.fence(tx, holder)).rejects.toMatchObject(refused);
  });

  it('refuses a savepoint and a transaction in a transaction', async () => {
    const holder = await acquire(randomUUID());
    const { nest } = library;
    await library.begin(async (tx) => {
      const inner = transactions.run(tx, (nested) => transactions.fence(nested, holder));
      await expect(inner).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
      if (nest === undefined) return;
      await nest(tx, async (nested) => expect(transactions.fence(nested, holder)).rejects.toMatchObject(refused));
    });
  });
});

describe('F1 another library', () => {
  it('is fenced by an object with query(text, values), which outside of a transaction is refused', async () => {
    const [stale, holder] = await succeeded();
    const client = new Client({ connectionString: server.url() });
    await client.connect();
    const tx = {
      query: async (text: string, values: unknown[]) => (await client.query(text, values)).rows as unknown[],
    };
    await expect(transactions.fence(tx, holder)).rejects.toMatchObject(refused);
    await client.query('BEGIN');
    await transactions.fence(tx, holder);
    await expect(transactions.fence(tx, stale)).rejects.toMatchObject(lost);
    await client.end();
  });

  it.each([undefined, null, 1, 'tx', {}, [], () => undefined])('%p is refused, with the supported ones', async (tx) => {
    const message = expect.stringMatching(
      /pg, TypeORM, Prisma, Drizzle, Kysely, Knex, MikroORM, or an object with query/,
    );
    const fence = { lease: randomUUID(), token: 1n };
    await expect(transactions.fence(tx, fence)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message });
    await expect(transactions.run(tx, async () => undefined)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});
