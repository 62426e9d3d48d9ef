import type { SqlLibrary } from './library.js';
import { inSavepoint, isObjectWith, notInTransaction, rowsOf, type SqlResult } from './shapes.js';

interface Knex {
  readonly isTransaction?: boolean;
  /** Of a transaction that is a savepoint of another one. */
  readonly parentTransaction?: unknown;
  raw(text: string, values: readonly unknown[]): Promise<SqlResult>;
  transaction<Result>(work: (tx: unknown) => Promise<Result>): Promise<Result>;
}

/** The `Knex.Transaction` that `transaction` passes to the work. */
export type KnexTransactionOf<Source> = Source extends {
  raw: unknown;
  migrate: unknown;
  transaction(work: (tx: infer Tx) => Promise<unknown>, ...options: never): Promise<unknown>;
}
  ? Tx
  : never;

/** Knex: a transaction is a function like the instance that began it. */
export const knex: SqlLibrary = {
  transaction(tx) {
    if (!isKnex(tx)) return undefined;
    if (tx.isTransaction !== true) throw notInTransaction('a Knex instance outside of one');
    if (tx.parentTransaction !== undefined) throw inSavepoint();
    return {
      query: async (text, values) => rowsOf(await tx.raw(...withQuestionMarks(text, values))),
    };
  },

  source(source) {
    if (!isKnex(source)) return undefined;
    if (source.isTransaction === true) throw inSavepoint();
    return (work) => source.transaction(work);
  },
};

/** Knex has `?` for each value, in the order of the text, so it repeats a value that stands there twice. */
function withQuestionMarks(
  text: string,
  values: readonly (string | null)[],
): [text: string, values: (string | null | undefined)[]] {
  const used: (string | null | undefined)[] = [];
  const marked = text.replaceAll('?', '\\?').replaceAll(/\$(\d+)/g, (_, place) => {
    used.push(values[Number(place) - 1]);
    return '?';
  });
  return used.length === 0 ? [text, [...values]] : [marked, used];
}

function isKnex(value: object): value is Knex {
  return typeof value === 'function' && isObjectWith(value, ['raw', 'transaction', 'queryBuilder']);
}
