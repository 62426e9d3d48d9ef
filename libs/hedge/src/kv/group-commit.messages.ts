import { MOST_TRANSACTION_ITEMS, type LogCondition, type TransactionOutcome } from '../database/log-table.js';

/** A put as the leader received it. */
export interface PutRow {
  readonly key: string;
  readonly value: string;
  /** Chosen by the caller, and the same for all attempts: it identifies a repeated put (K1). */
  readonly id: string;
  /** Whether to replace the single row of the key instead of appending. */
  readonly overwrite: boolean;
  /** The fencing token that must still be the latest; 0n for no fence. */
  readonly fence: bigint;
}

/** A row to append, a condition of its key, or both. */
export interface PutItem {
  readonly key: string;
  /** With an id as in `PutRow`. Absent when the key is only checked. */
  readonly append?: Pick<PutRow, 'id' | 'value'> | undefined;
  readonly condition?: LogCondition | undefined;
}

/** Rows with conditions as the leader received them: all of them are appended, or none. One at least has a row. */
export interface PutTransaction {
  readonly items: readonly PutItem[];
  /** As in `PutRow`. */
  readonly fence: bigint;
}

export type Write = PutRow | PutTransaction;

export type PutOutcome = TransactionOutcome;

export interface GroupCommitLimits {
  /** Rows in one transaction. */
  readonly maxBatchRows: number;
  /** Items of the `PutTransaction`s that share a transaction of the database. */
  readonly maxTransactionItems: number;
  /** UTF-8 bytes of keys and values in one transaction. A larger write has its own transaction. */
  readonly maxBatchBytes: number;
  /** Puts that wait or are in flight. Further puts fail with OVERLOADED. */
  readonly maxQueuedPuts: number;
  /** UTF-8 bytes of the keys and values of those puts. */
  readonly maxQueuedBytes: number;
  /** Concurrent overwrites. Each has its own transaction. */
  readonly maxOverwrites: number;
  /** First pause after BACKEND_UNAVAILABLE, in milliseconds; grows with jitter up to four times this. */
  readonly retryMs: number;
}

export const DEFAULT_GROUP_COMMIT_LIMITS: Omit<GroupCommitLimits, 'retryMs'> = {
  maxBatchRows: 512,
  maxTransactionItems: MOST_TRANSACTION_ITEMS,
  maxBatchBytes: 4 * 1024 * 1024,
  maxQueuedPuts: 16_384,
  maxQueuedBytes: 64 * 1024 * 1024,
  maxOverwrites: 8,
};

export type GroupCommitInput =
  /** `ticket` is the name of this call in the runner; `deadline` is on the clock of `now`. */
  | { readonly type: 'put'; readonly ticket: number; readonly write: Write; readonly deadline: number }
  /** The time of a `wake` effect has come. */
  | { readonly type: 'flush' }
  /** The result of the `append` or `append-if` effect in flight. */
  | { readonly type: 'appended'; readonly outcomes: readonly PutOutcome[] }
  | { readonly type: 'append-failed'; readonly error: unknown; readonly random: number }
  /** The result of the `overwrite` effect with this number. */
  | { readonly type: 'overwritten'; readonly run: number; readonly timestamp: bigint }
  | { readonly type: 'overwrite-failed'; readonly run: number; readonly error: unknown; readonly random: number };

export type GroupCommitEffect =
  /** Call `LogTable.append`, fenced unless `fence` is 0n, and pass back `appended` or `append-failed`. */
  | { readonly type: 'append'; readonly rows: readonly PutRow[]; readonly fence: bigint }
  /** The same with `LogTable.appendIf`. */
  | { readonly type: 'append-if'; readonly transactions: readonly PutTransaction[]; readonly fence: bigint }
  /** Call `LogTable.overwrite`, and pass back `overwritten` or `overwrite-failed` with the same `run`. */
  | { readonly type: 'overwrite'; readonly run: number; readonly row: PutRow }
  /** Settle one put; exactly once for each ticket. */
  | { readonly type: 'settle'; readonly ticket: number; readonly outcome: PutOutcome }
  /** Pass back `flush` at this time. It replaces the `wake` before. When `at` is now, the end of the turn is best. */
  | { readonly type: 'wake'; readonly at: number };
