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

/** What a write of a semaphore finds in its transaction. */
export interface Found {
  /** The lease's token, 0n when it was never taken. */
  readonly token: bigint;
  /** The semaphore's row: the newest, if someone else wrote others. */
  readonly row: StoredSemaphore | undefined;
  /** Ids of all its rows. */
  readonly ids: readonly string[];
}

/** @param rows of `fencedRowsSql`, in any order. */
export function toFound(rows: readonly Row[]): Found {
  const token = rows.find(([what]) => what === 'token')?.[4];
  const stored = rows.filter(([what]) => what === 'row').map(([, ...row]) => toSemaphore(row));
  const row = stored.reduce<StoredSemaphore | undefined>(
    (newest, next) => (newest === undefined || next.timestamp > newest.timestamp ? next : newest),
    undefined,
  );
  return { token: timestampOf(token), row, ids: stored.map(({ id }) => id) };
}

/** @param row of `historySql`. Someone else's rows may have NULL where ours have a text. */
export function toSemaphore([id, value, leader = null, at]: Row): StoredSemaphore {
  return { id: id ?? '', limit: limitOfRowId(id ?? ''), value: value ?? '', leader, timestamp: timestampOf(at) };
}

/**
 * What comes of a write, before anything is written.
 *
 * @param mayRepeat whether an earlier try of this very call may have been committed. A row that has not changed
 *   says that it was not, and never will be once this try commits: it has read the same version. A changed one is
 *   that try's effect when it holds what it wrote under a lease that is still the caller's: nobody else writes
 *   under that token, and what the caller itself writes at once is another value, or the same one.
 * @returns `commit` when it is to be written.
 * @throws HedgeError LEASE_LOST
 * @throws HedgeError BACKEND_UNAVAILABLE when the earlier try may have happened and another write since.
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

/** Without what only the driver wants to know. */
export function toSemaphoreRow({ limit, value, timestamp }: StoredSemaphore): SemaphoreRow {
  return { limit, value, timestamp };
}

function isEffectOf(write: SemaphoreWrite, { id, value, leader }: StoredSemaphore): boolean {
  return id === semaphoreRowId(write.limit) && value === write.value && leader === write.leader;
}

function inDoubt(name: string): HedgeError {
  return new HedgeError(
    'BACKEND_UNAVAILABLE',
    `Whether the write to semaphore "${name}" happened is not known: an answer got lost, and another write came since. Read the row, and write what follows from it.`,
    { details: { semaphore: name } },
  );
}
