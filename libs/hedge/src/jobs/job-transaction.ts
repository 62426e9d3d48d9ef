import { assertWork } from '../common/held.js';
import { onAbort } from '../common/async/on-abort.js';
import { HedgeError } from '../common/errors.js';
import type { FencedTransactions } from '../database/fenced-transactions.js';
import type { TransactionOf } from '../database/sql-transactions/index.js';
import type { LastInTransaction } from '../database/sql-transactions/library.js';
import type { UserTransactions } from '../database/user-transactions.js';

/**
 * The transaction of one run of a transactional job. Its last statement adds the `done` row of the run. There is one at
 * most: after a commit with an unknown outcome, a second one could commit the same work again.
 */
export class JobTransaction {
  #first: Promise<unknown> | undefined;
  #ended = false;

  constructor(
    /** For errors: `Job x of 2026-01-01T03:00:00.000Z`. */
    private readonly run: string,
    private readonly transactions: UserTransactions,
    private readonly addDone: LastInTransaction,
    /** Aborts when the term is over. */
    private readonly signal: AbortSignal,
  ) {}

  /** `TransactionalJobRun.transaction` */
  readonly begin = async <Source, Result>(
    source: Source,
    work: (tx: TransactionOf<Source>) => Result,
  ): Promise<Awaited<Result>> => {
    assertWork(`the transaction of ${this.run}`, work, 'run.transaction(dataSource, async (tx) => …)');
    if (this.#ended || this.#first !== undefined) throw refused(this.run, this.#ended);
    const run = (tx: unknown) => work(tx as TransactionOf<Source>) as Awaited<Result> | Promise<Awaited<Result>>;
    const ran = this.#run(source, run);
    this.#first = ran;
    return ran;
  };

  /**
   * Resolves when the transaction is committed. Once the term is over and the work has ended, it waits no longer: the
   * answer to a COMMIT may never arrive, and the next term reads from the ledger whether there was a commit.
   */
  async #run<Result>(source: unknown, work: (tx: unknown) => Result | Promise<Result>): Promise<Result> {
    const { signal } = this;
    signal.throwIfAborted();
    let working: unknown;
    const over = new Promise<void>((resolve) => onAbort(signal, resolve));
    const begin = (tx: unknown): Result | Promise<Result> => {
      signal.throwIfAborted();
      const result = work(tx);
      working = result;
      return result;
    };
    const left = over.then(() => working).then(() => Promise.reject(unanswered(this.run)));
    return Promise.race([this.transactions.run(source, begin, this.addDone), left]);
  }

  /**
   * To call when the method has ended. Resolves when the transaction is committed.
   * @throws the error of the transaction; HedgeError INVALID_ARGUMENT when the method began none, OUTCOME_UNKNOWN when
   *   the term ended before the transaction
   */
  async end(): Promise<void> {
    this.#ended = true;
    if (this.#first === undefined) throw unused(this.run);
    await this.#first;
  }
}

/** `transaction` of a run whose job is not transactional. Its type has none, but a method may declare the other type. */
export const refuseTransaction: FencedTransactions['transaction'] = async () => {
  throw new HedgeError(
    'INVALID_OPTIONS',
    'run.transaction needs a transactional job. Add the option to the decorator of the method: { transactional: true }.',
  );
};

function refused(run: string, ended: boolean): HedgeError {
  const why = ended
    ? 'after its method had ended. Await it in the method'
    : 'a second time. Put all writes of the run into one transaction';
  return new HedgeError('INVALID_ARGUMENT', `${run} called run.transaction ${why}. Nothing was run.`);
}

function unanswered(run: string): HedgeError {
  return new HedgeError(
    'OUTCOME_UNKNOWN',
    `${run} is left without an answer of its transaction, because its leader lost the lease meanwhile. The ledger says whether the transaction was committed. If not, the next leader runs the firing again.`,
  );
}

function unused(run: string): HedgeError {
  return new HedgeError(
    'INVALID_ARGUMENT',
    `${run} ended without run.transaction, so the firing is not done. Call it once in each run, also when there is nothing to write, or remove { transactional: true }.`,
  );
}
