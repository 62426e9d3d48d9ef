import type { Fence } from './log-table.js';

/** The one row that arbitrates a semaphore: key `__hedge/semaphore/{name}`, id `limit={n}` in the log table. */
export interface SemaphoreRow {
  readonly limit: number;
  /** Who holds which permits, as text that the semaphore makes and reads; for the driver it has no meaning. */
  readonly value: string;
  /** Commit time of the last write in nanoseconds: the row's version. */
  readonly timestamp: bigint;
}

/** What one member holds of a semaphore, for people to query: key `__caller={address}`, id `__hedge/semaphore/{name}`. */
export interface HolderRow {
  readonly address: string;
  /** Absent when it holds nothing any more: the row is deleted, if it is there. */
  readonly value?: string | undefined;
}

export interface SemaphoreWrite {
  readonly name: string;
  /** The version this write follows: the timestamp of the row as last read, 0n when there was none. */
  readonly follows: bigint;
  readonly limit: number;
  readonly value: string;
  /** The mirror rows that change with it. Each address at most once. */
  readonly holders: readonly HolderRow[];
  /** Address of the leader that writes, for the leader column. */
  readonly leader: string;
}

export type SemaphoreWriteResult =
  | { readonly written: true; readonly timestamp: bigint }
  /** Another write came first; this one changed nothing. */
  | { readonly written: false; readonly row: SemaphoreRow | undefined };

/**
 * The rows of semaphores, in the log table, where `LogTable` reads them too. A semaphore is changed only by
 * replacing its one row, under the version that the writer has read and the lease by which it leads: so of two
 * leaders that both believe, one at most can grant (S1).
 */
export interface PermitTable {
  /**
   * The row as of now (a strong read).
   * @throws HedgeError INVALID_ARGUMENT for a name of `assertSemaphoreName`.
   */
  read(name: string): Promise<SemaphoreRow | undefined>;

  /**
   * For a database that can be replaced by another one under a running process: how long permits may be valid that were
   * granted in the one before, in milliseconds. The rows of this one do not show them, so nothing may be granted.
   * @param permitMs how long permits last
   */
  unseenForMs?(permitMs: number): number;

  /**
   * Replaces the row, and the mirror rows with it, in one transaction: only while the version is still the one
   * that it follows, and the lease's token the fence's. A changed limit changes the row's id; there is never more
   * than one row. Timestamps of a row rise strictly.
   *
   * After BACKEND_UNAVAILABLE it may have happened, or may still happen: read the row, and write what follows
   * from that. Of two writes that follow the same version one at most takes effect. The driver may repeat it by
   * itself only where it can tell its own earlier effect from another's.
   * @throws HedgeError LEASE_LOST when the fence does not match (nothing was written).
   * @throws HedgeError INVALID_ARGUMENT when the database will never take it, as a text that `assertSemaphoreWrite`
   *   refuses, or a value too large: nothing was written.
   */
  write(write: SemaphoreWrite, fence: Fence): Promise<SemaphoreWriteResult>;
}
