import type { SqlLibrary } from './library.js';
import { inSavepoint, isObjectWith, notInTransaction, rowsOf, type SqlResult } from './shapes.js';

interface DrizzleTransaction {
  /** 0 in a transaction, more in savepoints of it. */
  readonly nestedIndex: number;
  execute(query: object): Promise<SqlResult>;
}

interface DrizzleSource {
  transaction<Result>(work: (tx: unknown) => Promise<Result>): Promise<Result>;
}

/** The `PgTransaction` that `transaction` passes to the work. */
export type DrizzleTransactionOf<Source> = Source extends {
  $with: unknown;
  transaction(work: (tx: infer Tx) => Promise<unknown>, ...config: never): Promise<unknown>;
}
  ? Tx
  : never;

/** Drizzle on any of its drivers for PostgreSQL: a transaction has a depth, and the database that began it has none. */
export const drizzle: SqlLibrary = {
  transaction(tx) {
    if (!isDatabase(tx)) return undefined;
    if (!isTransaction(tx)) throw notInTransaction('a Drizzle database outside of one');
    if (tx.nestedIndex > 0) throw inSavepoint();
    return {
      async query(text, values) {
        // What `sql` makes, as far as `execute` uses it.
        const statement = { getSQL: () => ({ toQuery: () => ({ sql: text, params: [...values] }) }) };
        return rowsOf(await tx.execute(statement));
      },
    };
  },

  source(source) {
    if (!isDatabase(source)) return undefined;
    if (isTransaction(source)) throw inSavepoint();
    return (work) => source.transaction(work);
  },
};

function isDatabase(value: object): value is DrizzleSource {
  return isObjectWith(value, ['execute', 'transaction', 'selectDistinctOn', '$with']);
}

function isTransaction(value: object): value is DrizzleTransaction {
  return 'nestedIndex' in value;
}
