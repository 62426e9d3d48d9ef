import { randomUUID } from 'node:crypto';
import { HedgeError, messageOf } from '../../common/errors.js';
import { assertLeaseTexts } from '../checks.js';
import type { Fence, LogAppend } from '../log-table.js';
import { runInTransaction, toSqlTransaction } from '../sql-transactions/index.js';
import type { SqlRow, SqlTransaction } from '../sql-transactions/library.js';
import { notInTransaction } from '../sql-transactions/shapes.js';
import { assertTexts } from '../text.js';
import {
  alreadyCommitted,
  fenceLost,
  permitFreed,
  type PermitFence,
  type UserTransactions,
} from '../user-transactions.js';
import type { Calls } from './client/calls.js';
import { READ_ONLY, type Statement } from './client/client.js';
import { SERIALIZATION_FAILURE, sqlState, UNIQUE_VIOLATION } from './failures.js';
import type { Tables } from './options.js';
import {
  FENCE_LOST,
  inTransactionSql,
  namesOf,
  permitSql,
  tickSql,
  tokenSql,
  userAppendSql,
  userFenceSql,
  userPermitFenceSql,
  type Names,
} from './sql.js';

/** Fences in transactions of the user in the same database, by the user's own library and connection. */
export class PostgresUserTransactions implements UserTransactions {
  readonly run = runInTransaction;
  /**
   * PGlite: all other calls wait until the transaction has ended. So nothing is asked beside it. No other transaction
   * commits meanwhile, so the transaction sees the last state, and its row may get its timestamp within it.
   */
  oneConnection = false;
  readonly #names: Names;

  /**
   * @param calls see what other transactions have committed. On the connection for leases: the pool of the application
   *   may have no connection left beside that of the transaction.
   */
  constructor(
    private readonly calls: Calls,
    tables: Tables,
  ) {
    this.#names = namesOf(tables);
  }

  async fence(tx: unknown, fence: Fence): Promise<void> {
    assertLeaseTexts(fence.lease);
    await this.#fence(
      tx,
      (mark) => userFenceSql(this.#names, fence, mark),
      () => fenceLost(fence),
      async () => {
        const [row] = await this.calls.query('transactions.fence', tokenSql(this.#names, fence.lease));
        return BigInt(row?.['token'] ?? 0) === fence.token;
      },
    );
  }

  async fencePermit(tx: unknown, permit: PermitFence): Promise<void> {
    assertTexts({ semaphore: permit.semaphore, id: permit.id });
    await this.#fence(
      tx,
      (mark) => userPermitFenceSql(this.#names, permit, mark),
      () => permitFreed(permit),
      async () => {
        const [row] = await this.calls.query('transactions.fence', permitSql(this.#names, permit));
        return row?.['held'] === 'true';
      },
    );
  }

  async append(tx: unknown, row: LogAppend, fence: Fence): Promise<void> {
    const { key, id, value, leader } = row;
    assertTexts({ key, id, value, leader });
    const transaction = toSqlTransaction(tx);
    const tick = tickSql(this.#names);
    // Before the fence, which makes the commit durable again.
    let ticked = this.oneConnection ? await queryIn(transaction, tick) : undefined;
    await this.fence(tx, fence);
    ticked ??= await this.calls.query('transactions.append', tick);
    const statement = userAppendSql(this.#names, row, BigInt((ticked[0]?.['last'] as string | undefined) ?? 0));
    try {
      await queryIn(transaction, statement);
    } catch (error) {
      const code = sqlState(error);
      if (code === UNIQUE_VIOLATION) throw alreadyCommitted(row);
      throw code === NO_RIGHT ? mayNotAppend(error) : error;
    }
  }

  /**
   * @param statement receives the mark of this fence
   * @param lost the error for a fence that does not hold
   * @param holds whether it does, as other transactions see it
   * @throws HedgeError `lost`, INVALID_ARGUMENT, of `ADVICE`; else the error of the library
   */
  async #fence(
    tx: unknown,
    statement: (mark: string) => Statement,
    lost: () => HedgeError,
    holds: () => Promise<boolean>,
  ): Promise<void> {
    const transaction = toSqlTransaction(tx);
    const mark = randomUUID();
    let found: SqlRow | undefined;
    try {
      [found] = await queryIn(transaction, statement(mark));
    } catch (error) {
      const code = sqlState(error);
      if (code === FENCE_LOST && this.oneConnection) throw lost();
      // The rows that the transaction sees may be older than the acquisition.
      if (code === FENCE_LOST) throw (await holds().catch(() => false)) ? begunTooEarly(error) : lost();
      // A transaction above READ COMMITTED sees the rows as of its begin. The server says only that the row has changed
      // since, or that the transaction conflicts with another one.
      if (code === SERIALIZATION_FAILURE && !(await holds().catch(() => true))) throw lost();
      throw this.#advised(error, code);
    }
    if (typeof found?.['wrote'] === 'string') return;
    const [row] = await queryIn(transaction, inTransactionSql(mark));
    if (row?.['same'] !== 'true') throw notInTransaction('a connection outside of one');
  }

  #advised(error: unknown, code = ''): unknown {
    const advice = ADVICE[code];
    if (advice === undefined) return error;
    const [kind, text] = advice;
    return new HedgeError(kind, `Nothing was fenced: ${messageOf(error).replace(/\.$/, '')}. ${text}`, {
      details: { database: this.calls.database, sqlState: code },
      cause: error,
      // A repetition helps only after a failover, when the transaction runs on another server.
      retryable: code === READ_ONLY,
    });
  }
}

/** SQLSTATE: insufficient_privilege */
const NO_RIGHT = '42501';

/** By SQLSTATE: errors of a fence that the user's code does not expect of its own statements. */
const ADVICE: Readonly<
  Record<string, readonly ['BACKEND_UNAVAILABLE' | 'INVALID_OPTIONS' | 'INVALID_ARGUMENT', string]>
> = {
  [READ_ONLY]: [
    'BACKEND_UNAVAILABLE',
    'A fence needs a transaction that may write. Begin it without READ ONLY, on the primary server.',
  ],
  '25P02': [
    'INVALID_ARGUMENT',
    'An earlier statement of the transaction has failed, so it cannot commit. Let the work reject with the error of that statement, and roll back.',
  ],
  [NO_RIGHT]: [
    'INVALID_OPTIONS',
    'Give the role of your transactions the rights of docs/fencing.md: SELECT, and UPDATE of one column.',
  ],
  '42P01': ['INVALID_OPTIONS', 'Run the transaction in the database of the backend, with the same tables.'],
};

/** The lease or the permit is held, and the transaction does not see that. */
function begunTooEarly(cause: unknown): HedgeError {
  return new HedgeError(
    'INVALID_ARGUMENT',
    'The transaction cannot commit: it does not see the acquisition, although it holds. With REPEATABLE READ or SERIALIZABLE, a transaction sees the rows as of its first statement. Roll back. Acquire first, then begin the transaction, in the database of the backend.',
    { cause },
  );
}

function mayNotAppend(cause: unknown): HedgeError {
  return new HedgeError(
    'INVALID_OPTIONS',
    `The transaction cannot commit: ${messageOf(cause)}. A transactional job adds its record to the log table of the backend. Give the role of your transactions INSERT on that table, as docs/fencing.md says.`,
    { details: { sqlState: NO_RIGHT }, cause },
  );
}

function queryIn(transaction: SqlTransaction, { text, values }: Statement): Promise<readonly SqlRow[]> {
  return transaction.query(text, values);
}
