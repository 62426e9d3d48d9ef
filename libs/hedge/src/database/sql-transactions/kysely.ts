import type { SqlLibrary, SqlRow } from './library.js';
import { inSavepoint, isObjectWith, notInTransaction } from './shapes.js';

interface KyselyExecutor {
  readonly isTransaction: boolean;
  executeQuery(query: object): Promise<{ readonly rows: readonly SqlRow[] }>;
}

interface KyselySource extends KyselyExecutor {
  transaction(): { execute<Result>(work: (tx: unknown) => Promise<Result>): Promise<Result> };
}

/** The `Transaction` of `transaction().execute(work)`. */
export type KyselyTransactionOf<Source> = Source extends {
  readonly isTransaction: boolean;
  transaction(): { execute(work: (tx: infer Tx) => Promise<unknown>): Promise<unknown> };
}
  ? Tx
  : never;

/**
 * Kysely: a `Transaction`, or a `ControlledTransaction` until it ends. A `Kysely` outside of them is a source. (A savepoint
 * of a `ControlledTransaction` does not show, so a rollback to one that is older than the fence is not noticed.)
 */
export const kysely: SqlLibrary = {
  transaction(tx) {
    if (!isExecutor(tx)) return undefined;
    if (!tx.isTransaction) throw notInTransaction('a Kysely outside of one');
    return {
      async query(text, parameters) {
        // As `CompiledQuery.raw` makes it.
        const query = { kind: 'RawNode', sqlFragments: [text], parameters: [] };
        const { rows } = await tx.executeQuery({ sql: text, parameters, query, queryId: { queryId: 'hedge' } });
        return rows;
      },
    };
  },

  source(source) {
    if (!isExecutor(source)) return undefined;
    if (source.isTransaction) throw inSavepoint();
    return (work) => (source as KyselySource).transaction().execute(work);
  },
};

function isExecutor(value: object): value is KyselyExecutor {
  return isObjectWith(value, ['executeQuery', 'getExecutor', 'transaction']) && 'isTransaction' in value;
}
