import { HedgeError, messageOf } from '../../common/errors.js';
import { backoffMs } from '../../common/backoff.js';
import { Closed, NoAnswer, NotSent, READ_ONLY } from './client/client.js';

/** The operations of this driver, as errors name them. */
export type OperationName =
  | 'open'
  | 'facts'
  | `lease.${'read' | 'list' | 'acquire' | 'renew' | 'renewAll' | 'release'}`
  | `log.${'append' | 'appendIf' | 'overwrite' | 'latest' | 'history' | 'trim' | 'trimmable' | 'keys' | 'changes' | 'lastTimestamp'}`
  | `permits.${'read' | 'write'}`
  | `transactions.${'fence' | 'append'}`;

/** Operations that a database may refuse for good because of the rows that they write. */
const WRITES_ROWS = new Set<OperationName>(['log.append', 'log.appendIf', 'log.overwrite', 'permits.write']);

/** https://www.postgresql.org/docs/current/errcodes-appendix.html */
export const SERIALIZATION_FAILURE = '40001';
const DEADLOCK_DETECTED = '40P01';
export const LOCK_NOT_AVAILABLE = '55P03';
/** Also of the index on (name, token), for two first acquisitions of a lease in the same microsecond. */
export const UNIQUE_VIOLATION = '23505';
/** Another transaction was in the way. The whole operation may be repeated. */
const CONFLICTS = [SERIALIZATION_FAILURE, DEADLOCK_DETECTED, LOCK_NOT_AVAILABLE, UNIQUE_VIOLATION];

/**
 * Whether the connection must not be used again: it is broken, or leads to a server that cannot serve a leader. An
 * error of a statement leaves its connection whole, and so does a statement that was not sent; every other error is
 * taken for the end of it.
 */
export function breaksConnection(error: unknown): boolean {
  if (error instanceof NotSent) return false;
  const code = sqlState(error);
  if (code === undefined) return true;
  return isFatal(error) || code === READ_ONLY || code === '53300' || /^(08|57P|58|XX)/.test(code);
}

/** @returns how long to wait before the whole operation is repeated, in milliseconds; undefined when that does not help. */
export function repeatDelayMs(error: unknown, attempt: number, random: number): number | undefined {
  return CONFLICTS.includes(sqlState(error) ?? '') ? backoffMs(attempt, 5, 200, random) : undefined;
}

/** The statement had no effect: it was not sent, or the server answered with an error and rolled it back. */
export function surelyWithoutEffect(error: unknown): boolean {
  if (error instanceof NotSent || error instanceof Closed) return true;
  const code = sqlState(error);
  return code !== undefined && !isFatal(error) && !/^(08|57P|40003|XX)/.test(code);
}

/** The meaning of a failure for the caller, by the contracts in `database/`. */
export function toHedgeError(database: string, operation: OperationName, failure: unknown): HedgeError {
  if (failure instanceof HedgeError) return failure;
  const message = (messageOf(failure) || 'no connection').replace(/\.$/, '');
  const code = sqlState(failure);
  const init = { details: { database, sqlState: code ?? null }, cause: failure };
  const advice = operation === 'open' ? ADVICE_FOR_GOOD[code ?? ''] : undefined;
  if (advice !== undefined) {
    return new HedgeError('INVALID_OPTIONS', `${database} cannot be used: ${message}. ${advice}`, init);
  }
  if (operation === 'log.overwrite' && !surelyWithoutEffect(failure)) {
    return new HedgeError(
      'OUTCOME_UNKNOWN',
      `Whether the overwrite in ${database} happened is unknown: ${message}. Read the key before you write it again.`,
      init,
    );
  }
  if (WRITES_ROWS.has(operation) && code !== undefined && /^(22|54)/.test(code)) {
    return new HedgeError(
      'INVALID_ARGUMENT',
      `${database} refuses these rows: ${message}. Nothing was written. Write less at once, smaller values, or shorter keys.`,
      init,
    );
  }
  if (failure instanceof NotSent && isUnreachable(failure.cause)) {
    return new HedgeError(
      'BACKEND_UNAVAILABLE',
      `${database} cannot be reached for ${operation}: ${message}. Start the server, or correct the host and the port.`,
      init,
    );
  }
  return new HedgeError(
    'BACKEND_UNAVAILABLE',
    `${database} failed ${operation}: ${message}. ${adviceForNow(failure)}`,
    {
      ...init,
      ...(failure instanceof Closed && { retryable: false }),
    },
  );
}

/** No connection: the errors of the network that Node reports by a code. A host with several addresses has one for each. */
function isUnreachable(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.every(isUnreachable);
  const { code } = (error ?? {}) as { code?: unknown };
  return /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT)$/.test(String(code));
}

/** By SQLSTATE, for errors at the start that waiting does not help. */
const ADVICE_FOR_GOOD: Readonly<Record<string, string>> = {
  '28P01': 'Correct the user and the password.',
  '28000': 'Correct the user, the password and pg_hba.conf.',
  '3D000': 'Create the database, or name another one.',
  '42501': 'Grant the right to the role of the pods.',
  '42883': 'Use PostgreSQL 13 or later.',
};

const CONFLICT_ADVICE = 'Other transactions lock the same rows all the time. End transactions that stay open for long.';
const SCHEMA_ADVICE = 'Restart the pod: its start names the statement that mends this.';

/** By SQLSTATE. */
const ADVICE_FOR_NOW: Readonly<Record<string, string>> = {
  [READ_ONLY]: 'The driver dials anew. If it stays so, let the connection string name the primary.',
  '53300': 'All connections of the server are in use. Raise max_connections, or put a pooler in front of it.',
  '53100': 'Free disk space on the server.',
  [SERIALIZATION_FAILURE]: CONFLICT_ADVICE,
  [DEADLOCK_DETECTED]: CONFLICT_ADVICE,
  [LOCK_NOT_AVAILABLE]: CONFLICT_ADVICE,
  '42P01': SCHEMA_ADVICE,
  '42703': SCHEMA_ADVICE,
  '42501': SCHEMA_ADVICE,
};

function adviceForNow(failure: unknown): string {
  if (failure instanceof Closed) return 'The application is stopping.';
  if (failure instanceof NoAnswer) return 'Look at the server, its locks and the network. The driver dials anew.';
  return ADVICE_FOR_NOW[sqlState(failure) ?? ''] ?? 'Try again. If it stays so, look at the server and the network.';
}

/**
 * Libraries over `pg` wrap its errors: in `cause` (Drizzle, this driver), `driverError` (TypeORM), `meta` (Prisma 6) or
 * `meta.driverAdapterError.cause`, which calls the code `originalCode` (Prisma 7).
 */
function databaseError(error: unknown, depth = 4): { code: string; severity?: unknown } | undefined {
  if (typeof error !== 'object' || error === null || depth === 0) return undefined;
  const { code, originalCode, severity, cause, driverError, meta, driverAdapterError } = error as Record<
    string,
    unknown
  >;
  for (const found of [originalCode, code]) {
    if (typeof found === 'string' && isSqlState(found)) return { code: found, severity };
  }
  for (const inner of [cause, driverError, meta, driverAdapterError]) {
    const found = databaseError(inner, depth - 1);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Five characters, as the codes of Node (`EPIPE`) and Prisma (`P2010`) can have too. */
function isSqlState(code: string): boolean {
  return /^[0-9A-Z]{5}$/.test(code) && !/^(E[A-Z]{4}|P[1-9]\d{3})$/.test(code);
}

export function sqlState(error: unknown): string | undefined {
  return databaseError(error)?.code;
}

function isFatal(error: unknown): boolean {
  return /^(FATAL|PANIC)$/.test(String(databaseError(error)?.severity));
}
