import { HedgeError } from '../common/errors.js';
import { assertWork } from '../common/held.js';
import type { TransactionOf } from './sql-transactions/index.js';
import type { UserTransactions } from './user-transactions.js';

/**
 * Transactions of the user that commit only while a lock, a term of the leader or a permit is held. Both functions may be
 * destructured.
 *
 * F1: when such a transaction commits, no later acquisition of the lease was committed before it. So a holder that stood
 * still, and was replaced, cannot commit. It needs a backend in the database of the transaction.
 */
export interface FencedTransactions {
  /**
   * Makes your open transaction fail unless this is still held, and keeps it so until the transaction ends. Call it last
   * in the outermost transaction: the next holder waits for a fenced transaction that is open.
   * @param tx an open transaction: of TypeORM, Prisma, Drizzle, Kysely, Knex or MikroORM as the library passes it to your
   *   work, a client of `pg` after BEGIN, or an object with `query(text, values)` that runs a statement in the transaction
   * @throws HedgeError LEASE_LOST: the transaction cannot commit any more. INVALID_ARGUMENT for another object, or outside
   *   of a transaction. INVALID_OPTIONS when the backend cannot fence. Other errors of the library pass unchanged, as a
   *   serialization failure, after which you may repeat the transaction.
   *
   * @example
   * await dataSource.transaction(async (tx) => {
   *   await tx.insert(Invoice, invoice);
   *   await lock.fence(tx);
   * });
   */
  readonly fence: (tx: unknown) => Promise<void>;
  /**
   * Runs the work in a new transaction of the data source, fences it, and commits it. If one of these fails, the
   * transaction is rolled back.
   * @param source a data source: a DataSource of TypeORM, a PrismaClient, a database of Drizzle or Kysely, a Knex, an
   *   EntityManager of MikroORM, a `pg.Pool`, a Database of `libsql`
   * @param work receives the transaction. It must not be async when the library is synchronous, as `libsql`.
   * @throws HedgeError as `fence`; the errors of the work and of the library
   *
   * @example
   * await lock.transaction(dataSource, (tx) => tx.insert(Invoice, invoice));
   */
  readonly transaction: <Source, Result>(
    source: Source,
    work: (tx: TransactionOf<Source>) => Result,
  ) => Promise<Awaited<Result>>;
}

/** What is held: a lock, a term or a permit. */
export interface FencedHolding {
  /** For errors: `Lock "x"`. */
  readonly what: string;
  /** Absent when the driver has none. */
  readonly transactions: UserTransactions | undefined;
  /** Local, without a query: false when it is released or lost. */
  isHeld(): boolean;
  fence(transactions: UserTransactions, tx: unknown): void | Promise<void>;
}

export function fencedTransactions(holding: FencedHolding): FencedTransactions {
  const { what, transactions } = holding;
  const fence = (tx: unknown): void | Promise<void> => {
    if (transactions === undefined) throw cannotFence(what);
    return holding.isHeld() ? holding.fence(transactions, tx) : failTransaction(transactions, tx, notHeld(what));
  };
  return {
    fence: async (tx) => fence(tx),
    async transaction<Source, Result>(
      source: Source,
      work: (tx: TransactionOf<Source>) => Result,
    ): Promise<Awaited<Result>> {
      assertWork(`a transaction of ${what}`, work, 'transaction(dataSource, async (tx) => …)');
      if (transactions === undefined) throw cannotFence(what);
      if (!holding.isHeld()) throw notHeld(what);
      const run = (tx: unknown) => work(tx as TransactionOf<Source>) as Awaited<Result> | Promise<Awaited<Result>>;
      return transactions.run(source, run, fence);
    },
  };
}

/** A token that no lease has. */
const NO_LEASE = { lease: 'hedge/none', token: -1n };

/**
 * Rejects with the error, and makes sure that the transaction cannot commit, also if its code swallows the error.
 * @throws HedgeError INVALID_ARGUMENT, INVALID_OPTIONS when it is no open transaction in the database of the backend
 */
export function failTransaction(transactions: UserTransactions, tx: unknown, error: HedgeError): void | Promise<void> {
  const fail = (failure?: unknown): never => {
    const code = failure instanceof HedgeError ? failure.code : undefined;
    throw code === 'INVALID_ARGUMENT' || code === 'INVALID_OPTIONS' ? failure : error;
  };
  let fencing: void | Promise<void>;
  try {
    fencing = transactions.fence(tx, NO_LEASE);
  } catch (failure) {
    return fail(failure);
  }
  return fencing === undefined ? fail() : fencing.then(() => fail(), fail);
}

/** @param what is released or lost: `Lock "x"` */
function notHeld(what: string): HedgeError {
  return new HedgeError(
    'LEASE_LOST',
    `The transaction cannot commit: ${what} is released or lost. Roll back, and leave the work to the new holder.`,
  );
}

export function cannotFence(what: string): HedgeError {
  return new HedgeError(
    'INVALID_OPTIONS',
    `${what} cannot fence a transaction: the backend of this module takes part in no transaction of the application. Use a backend in the database of the transaction, as nestjs-hedge/postgres, or store fencingToken in your rows and compare it.`,
  );
}
