import { HedgeError } from '../common/errors.js';
import type { Fence, LogAppend } from './log-table.js';
import type { LastInTransaction } from './sql-transactions/library.js';

/** A condition of a transaction: the permit must still be held. */
export interface PermitFence {
  /** Name of the semaphore. */
  readonly semaphore: string;
  /** Id of the permit. */
  readonly id: string;
  /** The commit time of the write that granted it, in nanoseconds. */
  readonly token: bigint;
}

/**
 * What a driver does inside of a transaction that the user's own code began, by the user's own library.
 *
 * F1: when a transaction commits in which `fence` has resolved, no later acquisition of that lease was committed before
 * it. So commits happen in the order of tokens. (A rollback to a savepoint that is older than the fence undoes the fence.)
 *
 * An error of the user's library that has no meaning here passes unchanged, so that the user's code recognises a
 * serialization failure, and may repeat its transaction.
 */
export interface UserTransactions {
  /**
   * Makes the transaction fail unless the lease has this token, and keeps it so until the transaction ends: an acquisition
   * of the lease waits, a renewal does not. After LEASE_LOST the transaction cannot commit, also if the error is swallowed.
   * @returns no promise in a transaction of a synchronous library, which `run` began.
   * @throws HedgeError LEASE_LOST; INVALID_ARGUMENT when `tx` is no open transaction of a supported library.
   */
  fence(tx: unknown, fence: Fence): void | Promise<void>;

  /** As `fence`, for a permit: the write that frees the permit waits. @throws HedgeError as `fence` */
  fencePermit(tx: unknown, permit: PermitFence): void | Promise<void>;

  /**
   * Fences, and adds the row to the log in the same transaction. Its timestamp is the time of the call. So the order of
   * its key stays right only if the holder of the lease alone writes the key, one row after the other.
   * @throws HedgeError as `fence`; CONFLICT when the row is there, with any value: its transaction was committed before.
   *   Then this transaction cannot commit either.
   */
  append(tx: unknown, row: LogAppend, fence: Fence): void | Promise<void>;

  /**
   * Begins a transaction of a data source of the user, runs the work and then `last` in it, and commits it. When one of
   * them rejects, the transaction is rolled back, and `run` rejects with the same error.
   * @param last fences or appends
   * @throws HedgeError INVALID_ARGUMENT when `source` belongs to no supported library; the errors of that library.
   */
  run<Result>(
    source: unknown,
    work: (tx: unknown) => Result | Promise<Result>,
    last?: LastInTransaction,
  ): Promise<Result>;
}

/** The error of a fence of a lease. */
export function fenceLost({ lease, token }: Fence): HedgeError {
  return new HedgeError(
    'LEASE_LOST',
    `The transaction cannot commit: lease "${lease}" does not have token ${token} any more, because another member acquired it. Roll back, and leave the work to the new holder.`,
    { details: { lease, expected: String(token) } },
  );
}

/** The row to append is there. */
export function alreadyCommitted({ key, id }: LogAppend): HedgeError {
  return new HedgeError(
    'CONFLICT',
    `The transaction cannot commit: key "${key}" has a version with id "${id}" already, so an earlier transaction with it was committed. Roll back.`,
    { details: { key, id } },
  );
}

/** The error of a fence of a permit. */
export function permitFreed({ semaphore, id, token }: PermitFence): HedgeError {
  return new HedgeError(
    'LEASE_LOST',
    `The transaction cannot commit: permit ${id} of semaphore "${semaphore}" is not held any more. Roll back, and acquire a new permit.`,
    { details: { semaphore, id, expected: String(token) } },
  );
}
