import type { SqlLibrary, SqlRow } from './library.js';
import { inSavepoint, isObjectWith, notInTransaction } from './shapes.js';

interface PrismaTransaction {
  $queryRawUnsafe(text: string, ...values: unknown[]): Promise<readonly SqlRow[]>;
  readonly [SCOPE]?: { readonly scopeState?: { readonly stack?: readonly unknown[] } };
}

interface PrismaSource {
  $transaction<Result>(work: (tx: unknown) => Promise<Result>): Promise<Result>;
}

/** The client that `$transaction` passes to its callback. */
export type PrismaTransactionOf<Source> = Source extends {
  $transaction(work: (tx: infer Tx) => Promise<unknown>, ...options: never): Promise<unknown>;
}
  ? Tx
  : never;

/** Prisma keeps the open savepoints of a transaction under it. Versions that have no nested transactions lack it. */
const SCOPE = Symbol.for('prisma.client.transaction.scope_context');

/** Prisma: the client of an interactive transaction, which cannot connect, and the PrismaClient, which can. */
export const prisma: SqlLibrary = {
  transaction(tx) {
    if (isSource(tx)) throw notInTransaction('a PrismaClient outside of one');
    if (!isTransaction(tx)) return undefined;
    if ((tx[SCOPE]?.scopeState?.stack?.length ?? 1) > 1) throw inSavepoint();
    return { query: (text, values) => tx.$queryRawUnsafe(text, ...values) };
  },

  source(source) {
    if (isSource(source)) return (work) => source.$transaction(work);
    if (isTransaction(source)) throw inSavepoint();
    return undefined;
  },
};

function isTransaction(value: object): value is PrismaTransaction {
  return isObjectWith(value, ['$queryRawUnsafe', '$executeRawUnsafe']);
}

function isSource(value: object): value is PrismaSource {
  return isObjectWith(value, ['$transaction', '$connect', '$queryRawUnsafe']);
}
