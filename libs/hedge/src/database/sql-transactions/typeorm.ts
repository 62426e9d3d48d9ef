import type { SqlLibrary, SqlRow, SqlTransaction } from './library.js';
import { inSavepoint, isObjectWith, notInTransaction } from './shapes.js';

interface TypeormRunner {
  query(text: string, values: unknown[]): Promise<SqlRow[]>;
  readonly isTransactionActive: boolean;
  /** 1 in a transaction, more in savepoints of it. Protected, so it may be missing in another version. */
  readonly transactionDepth?: number;
}

interface TypeormManager {
  /** Absent outside of a transaction. */
  readonly queryRunner?: TypeormRunner;
}

interface TypeormSource {
  transaction<Result>(work: (manager: unknown) => Promise<Result>): Promise<Result>;
}

/** The EntityManager of a transaction of a `DataSource` or an `EntityManager`. */
export type TypeormTransactionOf<Source> = Source extends {
  transaction(isolation: 'SERIALIZABLE', run: (manager: infer Manager) => Promise<unknown>): Promise<unknown>;
  getRepository: unknown;
}
  ? Manager
  : never;

/**
 * TypeORM: the EntityManager of `transaction`, and a QueryRunner after `startTransaction`, are transactions. A DataSource
 * and its EntityManager are sources of them.
 */
export const typeorm: SqlLibrary = {
  transaction(tx) {
    if (isSource(tx)) {
      const { queryRunner } = tx as TypeormManager;
      if (queryRunner === undefined) throw notInTransaction('a DataSource or EntityManager of TypeORM outside of one');
      return opened(queryRunner);
    }
    return isRunner(tx) ? opened(tx) : undefined;
  },

  source(source) {
    if (!isSource(source)) return undefined;
    return (work) => source.transaction(work);
  },
};

function opened(runner: TypeormRunner): SqlTransaction {
  if (!runner.isTransactionActive) throw notInTransaction('a QueryRunner of TypeORM before startTransaction()');
  if ((runner.transactionDepth ?? 1) > 1) throw inSavepoint();
  return { query: (text, values) => runner.query(text, [...values]) };
}

function isRunner(value: object): value is TypeormRunner {
  return isObjectWith(value, ['query', 'startTransaction', 'commitTransaction']) && 'isTransactionActive' in value;
}

function isSource(value: object): value is TypeormSource {
  return isObjectWith(value, ['transaction', 'getRepository', 'query']);
}
