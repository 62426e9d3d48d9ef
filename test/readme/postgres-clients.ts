import type { MikroORM } from '@mikro-orm/postgresql';
import type { NodePgDatabase } from 'drizzle-orm/node-postgres';
import { CompiledQuery, type Kysely } from 'kysely';
import type { Knex } from 'knex';
import type { Pool } from 'pg';
import type { DataSource } from 'typeorm';
import { postgres } from 'nestjs-hedge/postgres';
import type { PrismaClient } from '../../examples/prisma/generated/client.js';

/** The driver on the connections of each library. */
export const LENT = {
  TypeORM(dataSource: DataSource) {
    // #region typeorm
    // TypeORM
    return postgres({ client: { query: (text, values) => dataSource.query(text, values) } });
    // #endregion
  },

  Prisma(prisma: PrismaClient) {
    // #region prisma
    // Prisma, with the adapter @prisma/adapter-pg
    return postgres({ client: { query: (text, values) => prisma.$queryRawUnsafe(text, ...values) } });
    // #endregion
  },

  Drizzle(db: NodePgDatabase & { readonly $client: Pool }) {
    // #region drizzle
    // Drizzle on node-postgres: its pg.Pool
    return postgres({ pool: db.$client });
    // #endregion
  },

  Kysely(db: Kysely<unknown>) {
    // #region kysely
    // Kysely
    return postgres({ client: { query: (text, values) => db.executeQuery(CompiledQuery.raw(text, values)) } });
    // #endregion
  },

  Knex(knex: Pick<Knex, 'client'>) {
    // #region knex
    // Knex, on its connections: raw() has ? where the driver gives $1
    return postgres({
      client: {
        async query(text, values) {
          const connection = await knex.client.acquireConnection();
          try {
            return await connection.query(text, values);
          } finally {
            await knex.client.releaseConnection(connection);
          }
        },
      },
    });
    // #endregion
  },

  MikroORM(orm: MikroORM) {
    // #region mikro-orm
    // MikroORM 6: as Knex. MikroORM 7: as Kysely, with orm.em.getKysely()
    const knex = orm.em.getKnex();
    // #endregion
    return LENT.Knex(knex);
  },
};
