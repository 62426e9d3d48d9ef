import { HedgeError } from '../../common/errors.js';
import { shown } from '../../common/validation/shown.js';
import type { RunTransaction, SqlLibrary, SqlTransaction } from './library.js';
import { pg, type PgTransactionOf } from './pg.js';
import { typeorm, type TypeormTransactionOf } from './typeorm.js';

/** All supported libraries, one file each. Their shapes differ, so the order does not matter. */
const LIBRARIES: readonly SqlLibrary[] = [pg, typeorm];
const NAMES = 'pg and TypeORM';

/** The transaction that each library passes to the work. */
type KnownTransactionOf<Source> = PgTransactionOf<Source> | TypeormTransactionOf<Source>;

/** The type of the transaction that a data source begins; `unknown` for one that is not recognised by its type. */
export type TransactionOf<Source> = [KnownTransactionOf<Source>] extends [never] ? unknown : KnownTransactionOf<Source>;

/**
 * Recognises an open transaction of the user by its shape.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function toSqlTransaction(tx: unknown): SqlTransaction {
  const found = firstOf(tx, (library, value) => library.transaction(value));
  if (found !== undefined) return found;
  throw unknownObject('fenced', 'transaction', tx);
}

/**
 * Runs work in a new transaction of a data source of the user, and commits it when the work resolves.
 * @throws HedgeError INVALID_ARGUMENT for an unknown data source; the error of the library or of the work
 */
export async function runInTransaction<Result>(
  source: unknown,
  work: (tx: unknown) => Promise<Result>,
): Promise<Result> {
  const run = transactionsOf(source);
  if (run === undefined) throw unknownObject('run', 'data source', source);
  return run(work);
}

/** Undefined for an unknown data source. */
export function transactionsOf(source: unknown): RunTransaction | undefined {
  return firstOf(source, (library, value) => library.source(value));
}

function firstOf<Found>(
  value: unknown,
  find: (library: SqlLibrary, value: object) => Found | undefined,
): Found | undefined {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return undefined;
  for (const library of LIBRARIES) {
    const found = find(library, value);
    if (found !== undefined) return found;
  }
  return undefined;
}

function unknownObject(undone: string, kind: string, value: unknown): HedgeError {
  return new HedgeError(
    'INVALID_ARGUMENT',
    `Nothing was ${undone}: ${shown(value)} is no ${kind} of a supported library. Give one of ${NAMES}.`,
  );
}
