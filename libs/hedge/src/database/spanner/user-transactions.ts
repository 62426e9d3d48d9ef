import { HedgeError } from '../../common/errors.js';
import { assertLeaseTexts } from '../checks.js';
import type { Fence, LogAppend } from '../log-table.js';
import { permitKey, semaphoreKey } from '../row-names.js';
import { workThenLast, type LastInTransaction } from '../sql-transactions/library.js';
import { isObjectWith, notInTransaction } from '../sql-transactions/shapes.js';
import { assertTexts } from '../text.js';
import {
  alreadyCommitted,
  fenceLost,
  permitFreed,
  type PermitFence,
  type UserTransactions,
} from '../user-transactions.js';
import { formatTimestamp } from './client/values.js';
import type { Tables } from './options.js';

/** A `Transaction` of `@google-cloud/spanner`, as far as this driver uses it. */
interface SpannerTransaction {
  run(statement: {
    readonly sql: string;
    readonly params: Readonly<Record<string, string>>;
    readonly types: Readonly<Record<string, string>>;
  }): Promise<readonly [rows: readonly unknown[], ...unknown[]]>;
  insert(table: string, row: object): void;
  commit(): Promise<unknown>;
  rollback(): Promise<unknown>;
  readonly ended?: boolean;
  readonly _options?: { readonly isolationLevel?: unknown };
}

/** A `Database` of `@google-cloud/spanner`. */
interface SpannerSource {
  runTransactionAsync<Result>(options: object, work: (tx: SpannerTransaction) => Promise<Result>): Promise<Result>;
}

/** google.spanner.v1.TransactionOptions.IsolationLevel */
const SERIALIZABLE = 1;
const REPEATABLE_READ = 2;

/**
 * Fences in read-write transactions of the user in the same database, by the user's own client.
 *
 * Why F1 holds: the fence reads the column of the token, and a serializable transaction commits only if what it has read
 * is unchanged at its commit. With pessimistic concurrency the read locks the column, and with optimistic concurrency the
 * commit checks it: then it is ABORTED, and the work runs again. Renewals do not write that column. REPEATABLE_READ
 * checks no reads, so it is refused.
 */
export class SpannerUserTransactions implements UserTransactions {
  constructor(private readonly tables: Tables) {}

  async fence(tx: unknown, { lease, token }: Fence): Promise<void> {
    assertLeaseTexts(lease);
    const sql = `SELECT 1 FROM \`${this.tables.lockTable}\` WHERE name = @name AND token = @token`;
    const found = await exists(transactionOf(tx), sql, { name: lease }, token);
    if (!found) await fail(tx, fenceLost({ lease, token }));
  }

  async fencePermit(tx: unknown, permit: PermitFence): Promise<void> {
    const { semaphore, id, token } = permit;
    assertTexts({ semaphore, id });
    const sql = `SELECT 1 FROM \`${this.tables.logTable}\` WHERE key = @key AND id = @id AND timestamp = @token`;
    const found = await exists(transactionOf(tx), sql, { key: permitKey(id), id: semaphoreKey(semaphore) }, token);
    if (!found) await fail(tx, permitFreed(permit));
  }

  async append(tx: unknown, row: LogAppend, fence: Fence): Promise<void> {
    const { key, id, value, leader } = row;
    assertTexts({ key, id, value, leader });
    await this.fence(tx, fence);
    const { logTable } = this.tables;
    const transaction = transactionOf(tx);
    const found = await exists(transaction, `SELECT 1 FROM \`${logTable}\` WHERE key = @key AND id = @id`, { key, id });
    if (found) await fail(tx, alreadyCommitted(row));
    // The time of the commit, as of all rows of the log.
    transaction.insert(logTable, { key, id, value, leader, timestamp: 'spanner.commit_timestamp()' });
  }

  /** The client repeats a transaction that was ABORTED, and `work` with it. */
  async run<Result>(
    source: unknown,
    work: (tx: unknown) => Result | Promise<Result>,
    last?: LastInTransaction,
  ): Promise<Result> {
    if (!isSource(source)) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        'Nothing was run: transaction() needs a Database of @google-cloud/spanner. Give instance.database(name) of your client.',
      );
    }
    const all = workThenLast(work, last);
    return source.runTransactionAsync({ isolationLevel: SERIALIZABLE }, async (tx) => {
      try {
        const result = await all(tx);
        await tx.commit();
        return result;
      } catch (error) {
        await tx.rollback().catch(() => undefined);
        throw error;
      }
    });
  }
}

async function exists(
  transaction: SpannerTransaction,
  sql: string,
  texts: Readonly<Record<string, string>>,
  token?: bigint,
): Promise<boolean> {
  const types = Object.fromEntries(Object.keys(texts).map((name) => [name, 'string']));
  const [rows] = await transaction.run(
    token === undefined
      ? { sql, params: texts, types }
      : { sql, params: { ...texts, token: formatTimestamp(token) }, types: { ...types, token: 'timestamp' } },
  );
  return rows.length > 0;
}

/** The transaction must not commit, also when the user swallows the error: Spanner refuses the commit after a rollback. */
async function fail(tx: unknown, error: HedgeError): Promise<never> {
  await transactionOf(tx)
    .rollback()
    .catch(() => undefined);
  throw error;
}

/** @throws HedgeError INVALID_ARGUMENT */
function transactionOf(tx: unknown): SpannerTransaction {
  if (typeof tx !== 'object' || tx === null) throw notInTransaction(String(tx));
  if (isSource(tx)) throw notInTransaction('a Database of @google-cloud/spanner');
  if (!isObjectWith(tx, ['run', 'insert', 'commit', 'rollback'])) {
    throw notInTransaction('another object than a read-write Transaction of @google-cloud/spanner');
  }
  const transaction = tx as SpannerTransaction;
  if (transaction.ended === true) throw notInTransaction('a Transaction of @google-cloud/spanner that has ended');
  const level = transaction._options?.isolationLevel;
  if (level === REPEATABLE_READ || level === 'REPEATABLE_READ') {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      'Nothing was fenced: a transaction with REPEATABLE_READ commits although another one changed what it has read. Begin it with SERIALIZABLE, the default of Spanner.',
    );
  }
  return transaction;
}

function isSource(value: unknown): value is SpannerSource {
  return typeof value === 'object' && value !== null && isObjectWith(value, ['runTransactionAsync']);
}
