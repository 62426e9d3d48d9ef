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
   * @param tx a transaction of a supported library: a client of `pg` after BEGIN, an EntityManager or QueryRunner of
   *   TypeORM
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
   * @param source a data source of a supported library: a `pg.Pool`, a DataSource or EntityManager of TypeORM
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
  /** Local, without a query. @throws HedgeError LEASE_LOST when it is released or lost */
  assertHeld(): void;
  fence(transactions: UserTransactions, tx: unknown): Promise<void>;
}

export function fencedTransactions(holding: FencedHolding): FencedTransactions {
  const { what, transactions } = holding;
  const fence = async (tx: unknown): Promise<void> => {
    if (transactions === undefined) throw cannotFence(what);
    holding.assertHeld();
    await holding.fence(transactions, tx);
  };
  return {
    fence,
    async transaction<Source, Result>(
      source: Source,
      work: (tx: TransactionOf<Source>) => Result,
    ): Promise<Awaited<Result>> {
      assertWork(`a transaction of ${what}`, work, 'transaction(dataSource, async (tx) => …)');
      if (transactions === undefined) throw cannotFence(what);
      holding.assertHeld();
      const fencedWork = async (tx: unknown): Promise<Awaited<Result>> => {
        const result = await work(tx as TransactionOf<Source>);
        await fence(tx);
        return result;
      };
      return transactions.run(source, fencedWork);
    },
  };
}

/** @param what is released or lost: `Lock "x"` */
export function notHeld(what: string): HedgeError {
  return new HedgeError(
    'LEASE_LOST',
    `Nothing was fenced: ${what} is released or lost. Roll back, and leave the work to the new holder.`,
  );
}

function cannotFence(what: string): HedgeError {
  return new HedgeError(
    'INVALID_OPTIONS',
    `${what} cannot fence a transaction: the backend of this module takes part in no transaction of the application. Use a backend in the database of the transaction, as nestjs-hedge/postgres, or store fencingToken in your rows and compare it.`,
  );
}
