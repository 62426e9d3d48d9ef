import { HedgeError } from '../../common/errors.js';
import type { SqlRow } from './library.js';

/** Whether the object has these methods, own or inherited. */
export function isObjectWith(value: object, methods: readonly string[]): boolean {
  return methods.every((method) => typeof (value as Record<string, unknown>)[method] === 'function');
}

/** The rows of a library that returns them, or an object with them. */
export type SqlResult = readonly SqlRow[] | { readonly rows: readonly SqlRow[] };

export function rowsOf(result: SqlResult): readonly SqlRow[] {
  return 'rows' in result ? result.rows : result;
}

const ADVICE = 'Give the transaction that your work runs in, or call transaction(dataSource, work)';

/** @param given what the caller gave instead of a transaction */
export function notInTransaction(given: string): HedgeError {
  return new HedgeError(
    'INVALID_ARGUMENT',
    `Nothing was fenced: a fence needs an open transaction, and was given ${given}. ${ADVICE}.`,
  );
}

/** A rollback to a savepoint would undo the fence, and the transaction could still commit. */
export function inSavepoint(): HedgeError {
  return new HedgeError(
    'INVALID_ARGUMENT',
    'Nothing was fenced: this transaction is nested in another one, and a rollback to its savepoint would undo the fence. Fence the outermost transaction, as its last statement.',
  );
}
