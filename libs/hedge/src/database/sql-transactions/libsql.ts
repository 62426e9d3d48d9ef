import { setTimeout as sleep } from 'node:timers/promises';
import { HedgeError } from '../../common/errors.js';
import type { LastInTransaction, SqlLibrary, SqlRow } from './library.js';
import { inSavepoint, isObjectWith } from './shapes.js';

/** A connection of `libsql` or `better-sqlite3`. */
interface SyncDatabase {
  readonly inTransaction: boolean;
  exec(text: string): unknown;
  prepare(text: string): { all(...values: unknown[]): readonly SqlRow[] };
}

/** The database itself: its statements run in the transaction that is open. */
export type LibsqlTransactionOf<Source> = Source extends { readonly inTransaction: boolean; exec: unknown }
  ? Source
  : never;

/** Databases whose transaction this file began. It ends before any other code runs. */
const running = new WeakSet<SyncDatabase>();

/** How long a transaction waits for the write lock of another one before it begins, in milliseconds. */
const BUSY_MS = 5_000;

/**
 * Libraries with the synchronous API of `better-sqlite3`, and Drizzle on them. Their transactions end before a promise can
 * settle. So they are fenced only by `transaction(database, work)`, and never by `fence`.
 */
export const libsql: SqlLibrary = {
  transaction(tx) {
    const database = syncDatabaseOf(tx);
    if (database === undefined) return undefined;
    if (!running.has(database)) {
      // Code that does not await the fence would commit before it sees the rejection. Now its commit fails.
      if (database.inTransaction) database.exec('ROLLBACK');
      throw new HedgeError(
        'INVALID_ARGUMENT',
        'Nothing was fenced: a synchronous database cannot wait for a fence. If a transaction was open, it was rolled back. Call transaction(database, (tx) => …) with synchronous work instead.',
      );
    }
    const run = (text: string, values: readonly (string | null)[]) => database.prepare(text).all(...values);
    return { query: async (text, values) => run(text, values), run };
  },

  source: () => undefined,
};

/** The connection of a synchronous library; undefined for an object of another one. */
export function syncDatabaseOf(value: object): SyncDatabase | undefined {
  if (isSyncDatabase(value)) return value;
  const { resultKind, session } = value as { resultKind?: unknown; session?: { client?: object } };
  return resultKind === 'sync' && session?.client !== undefined ? syncDatabaseOf(session.client) : undefined;
}

/**
 * Runs work, and `last`, in one transaction. No other code runs between its begin and its end, so that no other code can
 * use the connection in the middle of it.
 * @param source what the work receives
 */
export async function runSynchronously<Result>(
  database: SyncDatabase,
  source: unknown,
  work: (tx: unknown) => Result | Promise<Result>,
  last: LastInTransaction | undefined,
): Promise<Result> {
  if (database.inTransaction) throw inSavepoint();
  for (const end = performance.now() + BUSY_MS; ;) {
    try {
      database.exec('BEGIN IMMEDIATE');
      break;
    } catch (error) {
      if (!isBusy(error) || performance.now() > end) throw error;
    }
    await sleep(1 + Math.random() * 10);
  }
  running.add(database);
  try {
    const result = now(work(source));
    now(last?.(source));
    database.exec('COMMIT');
    return result;
  } catch (error) {
    if (database.inTransaction) database.exec('ROLLBACK');
    throw error;
  } finally {
    running.delete(database);
  }
}

/** @throws HedgeError INVALID_ARGUMENT for a promise, and for a query of Drizzle that was not run */
function now<Value>(value: Value | Promise<Value>): Value {
  if (typeof (value as Partial<Promise<Value>> | undefined)?.then !== 'function') return value as Value;
  // Only a promise: a query of Drizzle would run when its `then` is called.
  if (value instanceof Promise) value.catch(() => undefined);
  throw new HedgeError(
    'INVALID_ARGUMENT',
    'The transaction was rolled back: its work returned a promise, but its database is synchronous. Give work that is not async, and await nothing in it.',
  );
}

function isBusy(error: unknown): boolean {
  return String((error as { code?: unknown }).code).startsWith('SQLITE_BUSY');
}

function isSyncDatabase(value: object): value is SyncDatabase {
  return isObjectWith(value, ['prepare', 'exec', 'transaction']) && 'inTransaction' in value;
}
