import { EntitySchema as MikroSchema, MikroORM, type SqlEntityManager } from '@mikro-orm/postgresql';
import { PrismaPg } from '@prisma/adapter-pg';
import { drizzle } from 'drizzle-orm/node-postgres';
import { integer, pgTable, text } from 'drizzle-orm/pg-core';
import { Kysely, PostgresDialect, type Transaction } from 'kysely';
import makeKnex, { type Knex } from 'knex';
import { Client, Pool, type PoolClient } from 'pg';
import { DataSource, EntitySchema, type EntityManager } from 'typeorm';
import { PrismaClient } from '../../../examples/prisma/generated/client.js';

/** The table that the transactions of these tests write to. */
export const INVOICE_DDL = 'CREATE TABLE "Invoice" (id text PRIMARY KEY, cents integer NOT NULL, "sentAt" timestamp)';

/** A library, connected to a server, as an application uses it. */
export interface OpenLibrary<Tx = unknown> {
  /** What `transaction` takes. */
  readonly source: object;
  /** Runs work in a transaction by means of the library alone. */
  readonly begin: (work: (tx: Tx) => Promise<void>) => Promise<unknown>;
  readonly insert: (tx: Tx, id: string) => unknown;
  /** Runs work in a savepoint of a transaction; absent where it does not show. */
  readonly nest?: (tx: Tx, work: (nested: Tx) => Promise<void>) => Promise<unknown>;
  /** Objects of the library that are no open transaction. */
  readonly outside: readonly unknown[];
  readonly close: () => Promise<unknown>;
}

/** Each is connected to the database of a URL. */
export const LIBRARIES: Readonly<Record<string, (url: string) => Promise<OpenLibrary>>> = {
  pg: typed<PoolClient>(async (url) => {
    const pool = new Pool({ connectionString: url });
    const client = new Client({ connectionString: url });
    await client.connect();
    return {
      source: pool,
      async begin(work) {
        const client = await pool.connect();
        try {
          await client.query('BEGIN');
          await work(client);
          await client.query('COMMIT');
        } catch (error) {
          await client.query('ROLLBACK');
          throw error;
        } finally {
          client.release();
        }
      },
      insert: (tx, id) => tx.query('INSERT INTO "Invoice" (id, cents) VALUES ($1, 100)', [id]),
      outside: [pool, client],
      close: () => Promise.all([pool.end(), client.end()]),
    };
  }),

  TypeORM: typed<EntityManager>(async (url) => {
    const invoices = new EntitySchema<{ id: string; cents: number }>({
      name: 'Invoice',
      tableName: 'Invoice',
      columns: { id: { type: 'text', primary: true }, cents: { type: 'integer' } },
    });
    const source = await new DataSource({ type: 'postgres', url, entities: [invoices] }).initialize();
    const runner = source.createQueryRunner();
    return {
      source,
      begin: (work) => source.transaction(work),
      insert: (tx, id) => tx.insert(invoices, { id, cents: 100 }),
      nest: (tx, work) => tx.transaction(work),
      outside: [source, source.manager, runner],
      async close() {
        await runner.release();
        await source.destroy();
      },
    };
  }),

  Prisma: typed<Parameters<Parameters<PrismaClient['$transaction']>[0]>[0]>(async (url) => {
    const source = new PrismaClient({ adapter: new PrismaPg({ connectionString: url }) });
    const extended = source.$extends({ model: { invoice: { tableName: () => 'Invoice' } } });
    return {
      source,
      begin: (work) => source.$transaction(work),
      insert: (tx, id) => tx.invoice.create({ data: { id, cents: 100 } }),
      nest: (tx, work) => (tx as unknown as typeof source).$transaction(work),
      outside: [source, extended],
      close: () => source.$disconnect(),
    };
  }),

  Drizzle: typed<Parameters<Parameters<ReturnType<typeof drizzle>['transaction']>[0]>[0]>(async (url) => {
    const invoices = pgTable('Invoice', { id: text().primaryKey(), cents: integer().notNull() });
    const source = drizzle(url);
    return {
      source,
      begin: (work) => source.transaction(work),
      insert: (tx, id) => tx.insert(invoices).values({ id, cents: 100 }),
      nest: (tx, work) => tx.transaction(work),
      outside: [source],
      close: () => source.$client.end(),
    };
  }),

  Kysely: typed<Transaction<Tables>>(async (url) => {
    const source = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: new Pool({ connectionString: url }) }) });
    return {
      source,
      begin: (work) => source.transaction().execute(work),
      insert: (tx, id) => tx.insertInto('Invoice').values({ id, cents: 100 }).execute(),
      outside: [source],
      close: () => source.destroy(),
    };
  }),

  Knex: typed<Knex.Transaction>(async (url) => {
    const source = makeKnex({ client: 'pg', connection: url });
    return {
      source,
      begin: (work) => source.transaction(work),
      insert: (tx, id) => tx('Invoice').insert({ id, cents: 100 }),
      nest: (tx, work) => tx.transaction(work),
      outside: [source],
      close: () => source.destroy(),
    };
  }),

  MikroORM: typed<SqlEntityManager>(async (url) => {
    const invoices = new MikroSchema<{ id: string; cents: number }>({
      name: 'Invoice',
      tableName: 'Invoice',
      properties: { id: { type: 'text', primary: true }, cents: { type: 'integer' } },
    });
    const orm = await MikroORM.init({ clientUrl: url, entities: [invoices] });
    const source = orm.em.fork();
    return {
      source,
      begin: (work) => source.transactional(work),
      // Written by the next flush.
      insert: (tx, id) => tx.persist(tx.create(invoices, { id, cents: 100 })),
      nest: (tx, work) => tx.transactional(work),
      outside: [source],
      close: () => orm.close(),
    };
  }),
};

interface Tables {
  readonly Invoice: { readonly id: string; readonly cents: number };
}

/** The tests take the transaction of each library as `unknown`, as the fence does. */
function typed<Tx>(open: (url: string) => Promise<OpenLibrary<Tx>>): (url: string) => Promise<OpenLibrary> {
  return open as (url: string) => Promise<OpenLibrary>;
}
