import { kysely } from './kysely.js';
import { knex } from './knex.js';
import type { SqlLibrary } from './library.js';
import { inSavepoint, isObjectWith, notInTransaction } from './shapes.js';

interface MikroOrm {
  isInTransaction(): boolean;
  /** Of Knex in version 6, and of Kysely in version 7. */
  getTransactionContext(): object;
  flush(): Promise<void>;
  transactional<Result>(work: (em: unknown) => Promise<Result>): Promise<Result>;
}

/** The forked EntityManager that `transactional` passes to the work. */
export type MikroOrmTransactionOf<Source> = Source extends { transactional: unknown; getTransactionContext: unknown }
  ? Source
  : never;

/**
 * MikroORM: an EntityManager in a transaction. It has the transaction of the library under it, Knex or Kysely. A flush
 * writes what the user has changed so far, so that the fence is the last statement.
 */
export const mikroOrm: SqlLibrary = {
  transaction(tx) {
    if (!isEntityManager(tx)) return undefined;
    if (!tx.isInTransaction()) throw notInTransaction('an EntityManager of MikroORM outside of one');
    const context = tx.getTransactionContext();
    if ('savepointName' in context) throw inSavepoint();
    const inner = knex.transaction(context) ?? kysely.transaction(context);
    return (
      inner && {
        async query(text, values) {
          await tx.flush();
          return inner.query(text, values);
        },
      }
    );
  },

  source(source) {
    if (!isEntityManager(source)) return undefined;
    if (source.isInTransaction()) throw inSavepoint();
    return (work) => source.transactional(work);
  },
};

function isEntityManager(value: object): value is MikroOrm {
  return isObjectWith(value, ['isInTransaction', 'getTransactionContext', 'transactional']);
}
