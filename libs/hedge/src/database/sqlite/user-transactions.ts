import { createRequire } from 'node:module';
import { HedgeError, messageOf } from '../../common/errors.js';
import { assertLeaseTexts } from '../checks.js';
import type { Fence, LogAppend } from '../log-table.js';
import { permitKey, semaphoreKey } from '../row-names.js';
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
import type { WorkerConfig } from './protocol.js';

interface Statement {
  /** With `?` for each value. */
  readonly text: string;
  readonly values?: readonly string[];
}

/** Statements, each of which receives the rows of the one before; so that a synchronous library runs them at once. */
type Steps = Generator<Statement, void, readonly SqlRow[]>;

/**
 * Fences in transactions of the user in the same file, by a connection of the user.
 *
 * Why F1 holds: a fence writes the row of the lease, without a change. So from the fence to its end the transaction has
 * the write lock of the file, without which no other connection acquires a lease. A transaction of a write-ahead log that
 * has only read before gets the lock only if it has read the last commit: SQLite refuses it with SQLITE_BUSY_SNAPSHOT
 * otherwise, and the user repeats it. One that has written before has the lock since then, and reads the row as it is. In
 * a file with a rollback journal, nobody commits while another one reads, and the same statement fails with SQLITE_BUSY.
 * (https://www.sqlite.org/isolation.html, https://www.sqlite.org/rescode.html#busy_snapshot)
 *
 * The locks of SQLite on POSIX belong to the process: two copies of SQLite in one process do not see those of each other,
 * and corrupt the file. So the connection must be one of the copy that this driver uses.
 */
export class SqliteUserTransactions implements UserTransactions {
  readonly run = runInTransaction;

  constructor(private readonly config: WorkerConfig) {}

  fence(tx: unknown, fence: Fence): void | Promise<void> {
    assertLeaseTexts(fence.lease);
    return this.#perform(tx, this.#fence(fence));
  }

  fencePermit(tx: unknown, permit: PermitFence): void | Promise<void> {
    const { semaphore, id, token } = permit;
    assertTexts({ semaphore, id });
    const text = `UPDATE ${this.config.logTable} SET timestamp = timestamp
      WHERE key = ? AND id = ? AND timestamp = CAST(? AS INTEGER) RETURNING id`;
    const values = [permitKey(id), semaphoreKey(semaphore), String(token)];
    return this.#perform(
      tx,
      requireRow({ text, values }, () => permitFreed(permit)),
    );
  }

  append(tx: unknown, row: LogAppend, fence: Fence): void | Promise<void> {
    const { key, id, value, leader } = row;
    assertTexts({ key, id, value, leader });
    return this.#perform(tx, this.#append(row, fence));
  }

  #fence(fence: Fence): Steps {
    const text = `UPDATE ${this.config.lockTable} SET token = token
      WHERE name = ? AND token = CAST(? AS INTEGER) RETURNING name`;
    return requireRow({ text, values: [fence.lease, String(fence.token)] }, () => fenceLost(fence));
  }

  *#append(row: LogAppend, fence: Fence): Steps {
    const { logTable } = this.config;
    const { key, id, value, leader } = row;
    yield* this.#fence(fence);
    const stored = yield { text: `SELECT 1 FROM ${logTable} WHERE key = ? AND id = ?`, values: [key, id] };
    if (stored.length > 0) {
      yield* startAgain();
      throw alreadyCommitted(row);
    }
    const wall = `${Date.now()}000000`;
    yield { text: 'UPDATE hedge_clock SET last = max(last + 1, CAST(? AS INTEGER))', values: [wall] };
    yield {
      text: `INSERT INTO ${logTable} (id, key, value, leader, timestamp) SELECT ?, ?, ?, ?, last FROM hedge_clock`,
      values: [id, key, value, leader],
    };
  }

  #perform(tx: unknown, steps: Steps): void | Promise<void> {
    const transaction = toSqlTransaction(tx);
    try {
      if (transaction.run === undefined) return this.#performLater(transaction, steps);
      const run = transaction.run;
      assertOwnLibrary(run(LIBRARY, []));
      for (let step = steps.next(); !step.done;) step = steps.next(run(step.value.text, step.value.values ?? []));
    } catch (error) {
      throw this.#advised(error);
    }
  }

  async #performLater(transaction: SqlTransaction, steps: Steps): Promise<void> {
    try {
      if (transaction.mayBeNone === true) await assertOpen(transaction);
      assertOwnLibrary(await transaction.query(LIBRARY, []));
      for (let step = steps.next(); !step.done;) {
        step = steps.next(await transaction.query(step.value.text, step.value.values ?? []));
      }
    } catch (error) {
      throw this.#advised(error);
    }
  }

  #advised(error: unknown): unknown {
    const { file } = this.config;
    const message = messageOf(error);
    if (!message.includes('no such table')) return error;
    return new HedgeError(
      'INVALID_OPTIONS',
      `Nothing was fenced: ${message}. Run the transaction on a connection to the file of the backend, ${file}.`,
      { details: { file }, cause: error },
    );
  }
}

/** A statement that finds no row fails the transaction. */
function* requireRow(statement: Statement, lost: () => HedgeError): Steps {
  const rows = yield statement;
  if (rows.length > 0) return;
  yield* startAgain();
  throw lost();
}

/**
 * Undoes all that the transaction has written. SQLite cannot make a later COMMIT fail, so another one begins: the code of
 * the user ends it, and commits nothing of what was before, also if it swallows the error.
 */
function* startAgain(): Steps {
  yield { text: 'ROLLBACK' };
  yield { text: 'BEGIN' };
}

/** Outside of a transaction BEGIN succeeds. */
async function assertOpen(transaction: SqlTransaction): Promise<void> {
  try {
    await transaction.query('BEGIN', []);
  } catch (error) {
    if (messageOf(error).includes('within a transaction')) return;
    throw error;
  }
  await transaction.query('ROLLBACK', []);
  throw notInTransaction('a connection outside of one');
}

/** It names the build of SQLite. */
const LIBRARY = 'SELECT sqlite_source_id() AS id';
let ownLibrary: unknown;

/** @throws HedgeError INVALID_ARGUMENT */
function assertOwnLibrary(rows: readonly SqlRow[]): void {
  ownLibrary ??= libraryOfDriver();
  if (rows[0]?.['id'] === ownLibrary) return;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    'Nothing was fenced: the transaction uses another copy of SQLite than the backend, in the same process. Two copies ignore the locks of each other and corrupt the file. Open the file with the package libsql, which has the API of better-sqlite3, or give it to your library as its driver.',
  );
}

function libraryOfDriver(): unknown {
  const Libsql = createRequire(import.meta.url)('libsql') as new (file: string) => {
    prepare(text: string): { get(): SqlRow };
    close(): void;
  };
  const database = new Libsql(':memory:');
  const { id } = database.prepare(LIBRARY).get();
  database.close();
  return id;
}
