import type { Fence } from '../log-table.js';
import { limitOfRowId, semaphoreRowId } from '../row-names.js';
import type { SemaphoreRow, SemaphoreWrite, SemaphoreWriteResult } from '../permit-table.js';
import { leaseLost } from '../checks.js';
import { HedgeError } from '../../common/errors.js';
import { timestampOf, type Column, type Row } from './client/values.js';

/** A row of a semaphore as stored. */
export interface StoredSemaphore extends SemaphoreRow {
  readonly id: string;
  readonly leader: Column;
}

/** The rows that a write of a semaphore reads in its transaction. */
export interface Found {
  /** The token of the lease; 0n when it was never acquired. */
  readonly token: bigint;
  /** The row of the semaphore: the newest, if another program has written more rows. */
  readonly row: StoredSemaphore | undefined;
  /** The ids of all its rows. */
  readonly ids: readonly string[];
}

/** @param rows the result of `fencedRowsSql`, in any order. */
export function toFound(rows: readonly Row[]): Found {
  const token = rows.find(([what]) => what === 'token')?.[4];
  const stored = rows.filter(([what]) => what === 'row').map(([, ...row]) => toSemaphore(row));
  const row = stored.reduce<StoredSemaphore | undefined>(
    (newest, next) => (newest === undefined || next.timestamp > newest.timestamp ? next : newest),
    undefined,
  );
  return { token: timestampOf(token), row, ids: stored.map(({ id }) => id) };
}

/** @param row a result of `historySql`. Rows of another program may have NULL instead of a text. */
export function toSemaphore([id, value, leader = null, at]: Row): StoredSemaphore {
  return { id: id ?? '', limit: limitOfRowId(id ?? ''), value: value ?? '', leader, timestamp: timestampOf(at) };
}

/**
 * Decides on a write before anything is written.
 *
 * @param mayRepeat whether an earlier attempt of this call may have been committed. An unchanged row shows that it was
 *   not, and never will be once this attempt commits, because it has read the same version. A changed row is the effect
 *   of the earlier attempt if it has the written values and the lease still has the caller's token: no other pod writes
 *   under that token, and a concurrent write of the caller has another value, or the same one.
 * @returns `commit` when the write must be committed.
 * @throws HedgeError LEASE_LOST
 * @throws HedgeError BACKEND_UNAVAILABLE when the earlier attempt may have happened, and another write came after it.
 */
export function decideWrite(
  write: SemaphoreWrite,
  fence: Fence,
  { token, row }: Found,
  mayRepeat: boolean,
): SemaphoreWriteResult | 'commit' {
  const changed = (row?.timestamp ?? 0n) !== write.follows;
  if (changed && mayRepeat) {
    if (row !== undefined && token === fence.token && isEffectOf(write, row)) {
      return { written: true, timestamp: row.timestamp };
    }
    throw inDoubt(write.name);
  }
  if (token !== fence.token) throw leaseLost(fence, token);
  if (!changed) return 'commit';
  return { written: false, row: row && toSemaphoreRow(row) };
}

/** Removes the fields that only the driver needs. */
export function toSemaphoreRow({ limit, value, timestamp }: StoredSemaphore): SemaphoreRow {
  return { limit, value, timestamp };
}

function isEffectOf(write: SemaphoreWrite, { id, value, leader }: StoredSemaphore): boolean {
  return id === semaphoreRowId(write.limit) && value === write.value && leader === write.leader;
}

function inDoubt(name: string): HedgeError {
  return new HedgeError(
    'BACKEND_UNAVAILABLE',
    `The outcome of a write to semaphore "${name}" is unknown: its answer was lost, and another write came after it. Read the row, and write what follows from it.`,
    { details: { semaphore: name } },
  );
}
