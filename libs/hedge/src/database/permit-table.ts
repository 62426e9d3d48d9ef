import type { Fence } from './log-table.js';

/** The one row of a semaphore: key `__hedge/semaphore/{name}`, id `limit={n}` in the log table. */
export interface SemaphoreRow {
  readonly limit: number;
  /** The holders and their permits, as text. The driver does not interpret it. */
  readonly value: string;
  /** The commit time of the last write in nanoseconds: the version of the row. */
  readonly timestamp: bigint;
}

/** A mirror row: the permits of one member, for queries. Key `__caller={address}`, id `__hedge/semaphore/{name}`. */
export interface HolderRow {
  readonly address: string;
  /** Absent when the member no longer holds permits: then the row is deleted if it exists. */
  readonly value?: string | undefined;
}

/**
 * A permit row: one held permit, for fences of `UserTransactions`. Key `__hedge/permit/{id}`, id
 * `__hedge/semaphore/{name}`. It is there exactly while the permit is held, and its timestamp is the token of the permit.
 * A leader of an earlier version neither writes nor deletes permit rows.
 */
export interface PermitRow {
  readonly id: string;
  /** How long the permit lasts without renewal, in milliseconds. Absent when it is freed: then the row is deleted. */
  readonly permitMs?: number | undefined;
}

export interface SemaphoreWrite {
  readonly name: string;
  /** The version that this write follows: the timestamp of the row as last read; 0n when there was none. */
  readonly follows: bigint;
  readonly limit: number;
  readonly value: string;
  /** The mirror rows that change in the same write. Each address at most once. */
  readonly holders: readonly HolderRow[];
  /** The permit rows that change in the same write. Default: none. */
  readonly permits?: readonly PermitRow[];
  /** The address of the leader that writes, for the leader column. */
  readonly leader: string;
}

export type SemaphoreWriteResult =
  | { readonly written: true; readonly timestamp: bigint }
  /** Another write came first, and this one changed nothing. */
  | { readonly written: false; readonly row: SemaphoreRow | undefined };

/**
 * The rows of semaphores, in the log table, where `LogTable` reads them too. A write replaces the one row of a semaphore,
 * under the version that the writer has read and fenced by the writer's lease. So of two pods that both consider
 * themselves the leader, at most one can grant (S1).
 */
export interface PermitTable {
  /**
   * Reads the row (a strong read).
   * @throws HedgeError INVALID_ARGUMENT for a name that `assertSemaphoreName` rejects.
   */
  read(name: string): Promise<SemaphoreRow | undefined>;

  /**
   * For a database that can be replaced under a running process: how long permits of the replaced database may still be
   * valid, in milliseconds. The rows of the new database do not show them, so nothing may be granted in that time.
   * @param permitMs how long permits last
   */
  unseenForMs?(permitMs: number): number;

  /**
   * Replaces the row, its mirror rows and its permit rows in one transaction, only if the row still has the version that the write
   * follows, and the lease still has the token of the fence. A changed limit changes the row's id; there is never more
   * than one row. The timestamps of a row rise strictly.
   *
   * After BACKEND_UNAVAILABLE the write may have happened, or may still happen: read the row, and write what follows from
   * it. Of two writes that follow the same version, at most one takes effect. The driver may repeat a write only where it
   * can distinguish its own earlier effect from that of another writer.
   * @throws HedgeError LEASE_LOST when the fence does not match (nothing was written).
   * @throws HedgeError INVALID_ARGUMENT when the database will never accept the write, as a text that
   *   `assertSemaphoreWrite` rejects, or a value that is too large: nothing was written.
   */
  write(write: SemaphoreWrite, fence: Fence): Promise<SemaphoreWriteResult>;
}
