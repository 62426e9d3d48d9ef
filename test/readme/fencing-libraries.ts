import type { Database as SpannerDatabase } from '@google-cloud/spanner';
import type { EntityManager } from '@mikro-orm/postgresql';
import { drizzle } from 'drizzle-orm/node-postgres';
import { integer, pgTable, text } from 'drizzle-orm/pg-core';
import type { Kysely } from 'kysely';
import type { Knex } from 'knex';
import type { Database } from 'libsql';
import type { Lock } from 'nestjs-hedge';
import type { PrismaClient } from '../../examples/prisma/generated/client.js';

// Compiled against the types of each library, which give `tx` its type.

const invoices = pgTable('Invoice', { id: text().primaryKey(), cents: integer().notNull() });
const db = drizzle('postgres://localhost/app');
declare class Invoice {
  id: string;
  cents: number;
}

export async function byPrisma(lock: Lock, prisma: PrismaClient, id: string) {
  // #region prisma
  await lock.transaction(prisma, async (tx) => {
    await tx.invoice.create({ data: { id, cents: 100 } });
  });
  // #endregion
}

export async function byDrizzle(lock: Lock, id: string) {
  // #region drizzle
  await lock.transaction(db, async (tx) => {
    await tx.insert(invoices).values({ id, cents: 100 });
  });
  // #endregion
}

export async function byKysely(lock: Lock, db: Kysely<{ Invoice: { id: string; cents: number } }>, id: string) {
  // #region kysely
  await lock.transaction(db, async (tx) => {
    await tx.insertInto('Invoice').values({ id, cents: 100 }).execute();
  });
  // #endregion
}

export async function byKnex(lock: Lock, knex: Knex, id: string) {
  // #region knex
  await lock.transaction(knex, async (tx) => {
    await tx('Invoice').insert({ id, cents: 100 });
  });
  // #endregion
}

export async function byMikroOrm(lock: Lock, em: EntityManager, id: string) {
  // #region mikro-orm
  await lock.transaction(em, async (tx) => {
    tx.create(Invoice, { id, cents: 100 }); // written before the fence, which flushes
  });
  // #endregion
}

export async function byAnother(lock: Lock, client: { query(text: string, values: unknown[]): Promise<object[]> }) {
  // #region another
  const tx = { query: (text: string, values: unknown[]) => client.query(text, values) }; // returns the rows
  await lock.fence(tx); // as the last statement of your transaction
  // #endregion
}

export async function byLibsql(lock: Lock, database: Database, id: string) {
  // #region libsql
  await lock.transaction(database, (tx) => {
    tx.prepare('INSERT INTO invoice (id, cents) VALUES (?, 100)').run(id); // not async
  });
  // #endregion
}

export async function bySpanner(lock: Lock, database: SpannerDatabase, id: string) {
  // #region spanner
  await lock.transaction(database, async (tx) => {
    tx.insert('invoice', { id, cents: 100 });
  }); // the client repeats the work when the transaction was ABORTED
  // #endregion
}
