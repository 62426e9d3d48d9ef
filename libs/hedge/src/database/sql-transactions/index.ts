import { HedgeError } from '../../common/errors.js';
import { shown } from '../../common/validation/shown.js';
import { libsql, runSynchronously, syncDatabaseOf, type LibsqlTransactionOf } from './libsql.js';
import { drizzle, type DrizzleTransactionOf } from './drizzle.js';
import { knex, type KnexTransactionOf } from './knex.js';
import { kysely, type KyselyTransactionOf } from './kysely.js';
import {
  workThenLast,
  type LastInTransaction,
  type RunTransaction,
  type SqlLibrary,
  type SqlTransaction,
} from './library.js';
import { mikroOrm, type MikroOrmTransactionOf } from './mikro-orm.js';
import { pg, type PgTransactionOf } from './pg.js';
import { prisma, type PrismaTransactionOf } from './prisma.js';
import { statementRunner } from './statement-runner.js';
import { typeorm, type TypeormTransactionOf } from './typeorm.js';

/** One file each. The shapes of the libraries differ, so their order does not matter; an object that only has `query` is last. */
const LIBRARIES: readonly SqlLibrary[] = [
  pg,
  typeorm,
  prisma,
  libsql,
  drizzle,
  kysely,
  knex,
  mikroOrm,
  statementRunner,
];
const NAMES = 'pg, TypeORM, Prisma, Drizzle, Kysely, Knex, MikroORM';

/** The `Transaction` of a Database of `@google-cloud/spanner`. */
type SpannerTransactionOf<Source> = Source extends {
  runTransactionAsync(options: never, work: (tx: infer Tx) => Promise<never>): Promise<unknown>;
}
  ? Tx
  : never;

/** The transaction that each library passes to the work. */
type KnownTransactionOf<Source> =
  | PgTransactionOf<Source>
  | TypeormTransactionOf<Source>
  | PrismaTransactionOf<Source>
  | DrizzleTransactionOf<Source>
  | KyselyTransactionOf<Source>
  | KnexTransactionOf<Source>
  | MikroOrmTransactionOf<Source>
  | LibsqlTransactionOf<Source>
  | SpannerTransactionOf<Source>;

/** The type of the transaction that a data source begins; `unknown` for one that is not recognised by its type. */
export type TransactionOf<Source> = [KnownTransactionOf<Source>] extends [never] ? unknown : KnownTransactionOf<Source>;

/**
 * Recognises an open transaction of the user by its shape.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function toSqlTransaction(tx: unknown): SqlTransaction {
  const found = firstOf(tx, (library, value) => library.transaction(value));
  if (found !== undefined) return found;
  throw unknownObject(
    `fenced: ${shown(tx)} is no transaction`,
    'or an object with query(text, values), which runs a statement in the transaction and returns its rows',
  );
}

/**
 * Runs work, and then `last`, in a new transaction of a data source of the user, and commits it.
 * @throws HedgeError INVALID_ARGUMENT for an unknown data source; the error of the library or of the work
 */
export async function runInTransaction<Result>(
  source: unknown,
  work: (tx: unknown) => Result | Promise<Result>,
  last?: LastInTransaction,
): Promise<Result> {
  const database = isObject(source) ? syncDatabaseOf(source) : undefined;
  if (database !== undefined) return runSynchronously(database, source, work, last);
  const run = transactionsOf(source);
  if (run === undefined) {
    throw unknownObject(
      `run: ${shown(source)} is no data source`,
      'libsql on SQLite; or begin the transaction yourself, and call fence(tx) last in it',
    );
  }
  return run(workThenLast(work, last));
}

/** Undefined for an unknown data source. */
export function transactionsOf(source: unknown): RunTransaction | undefined {
  return firstOf(source, (library, value) => library.source(value));
}

function firstOf<Found>(
  value: unknown,
  find: (library: SqlLibrary, value: object) => Found | undefined,
): Found | undefined {
  if (!isObject(value)) return undefined;
  for (const library of LIBRARIES) {
    const found = find(library, value);
    if (found !== undefined) return found;
  }
  return undefined;
}

function isObject(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}

/**
 * @param undone what did not happen, and why
 * @param otherwise for a library that is not supported
 */
function unknownObject(undone: string, otherwise: string): HedgeError {
  return new HedgeError(
    'INVALID_ARGUMENT',
    `Nothing was ${undone} of a supported library. Give one of ${NAMES}, ${otherwise}.`,
  );
}
