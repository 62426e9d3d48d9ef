import type { AppendOutcome } from '../database/log-table.js';
import type { HedgeError } from '../common/errors.js';

/** A put as the leader received it. */
export interface PutRow {
  readonly key: string;
  readonly value: string;
  /** Chosen by the caller, the same over all its tries: what makes a repetition recognisable (K1). */
  readonly id: string;
  /** Replace the key's single row instead of appending. */
  readonly overwrite: boolean;
  /** The lease token that must still be the last one; 0n for none. */
  readonly fence: bigint;
}

export type PutOutcome = { readonly timestamp: bigint } | HedgeError;

export interface GroupCommitLimits {
  /** Rows in one transaction. */
  readonly maxBatchRows: number;
  /** UTF-8 bytes of keys and values in one transaction; one larger row still goes, alone. */
  readonly maxBatchBytes: number;
  /** Puts waiting or in flight; more are refused with OVERLOADED. */
  readonly maxQueuedPuts: number;
  /** UTF-8 bytes of the keys and values of those puts. */
  readonly maxQueuedBytes: number;
  /** Overwrites in flight at once; each is a transaction of its own. */
  readonly maxOverwrites: number;
  /** First pause after BACKEND_UNAVAILABLE, in milliseconds; grows with jitter up to four times this. */
  readonly retryMs: number;
}

export const DEFAULT_GROUP_COMMIT_LIMITS: Omit<GroupCommitLimits, 'retryMs'> = {
  maxBatchRows: 512,
  maxBatchBytes: 4 * 1024 * 1024,
  maxQueuedPuts: 16_384,
  maxQueuedBytes: 64 * 1024 * 1024,
  maxOverwrites: 8,
};

export type GroupCommitInput =
  /** `ticket` is the driver's name for this call; `deadline` is on the clock of `now`. */
  | { readonly type: 'put'; readonly ticket: number; readonly row: PutRow; readonly deadline: number }
  /** The time of a `wake` effect has come. */
  | { readonly type: 'flush' }
  /** The result of the `append` effect in flight. */
  | { readonly type: 'appended'; readonly outcomes: readonly AppendOutcome[] }
  | { readonly type: 'append-failed'; readonly error: unknown; readonly random: number }
  /** The result of the `overwrite` effect with this number. */
  | { readonly type: 'overwritten'; readonly run: number; readonly timestamp: bigint }
  | { readonly type: 'overwrite-failed'; readonly run: number; readonly error: unknown; readonly random: number };

export type GroupCommitEffect =
  /** Call `LogTable.append`, fenced unless `fence` is 0n, and feed back `appended` or `append-failed`. */
  | { readonly type: 'append'; readonly rows: readonly PutRow[]; readonly fence: bigint }
  /** Call `LogTable.overwrite`, and feed back `overwritten` or `overwrite-failed` with the same `run`. */
  | { readonly type: 'overwrite'; readonly run: number; readonly row: PutRow }
  /** Answer one put; exactly once for each ticket. */
  | { readonly type: 'settle'; readonly ticket: number; readonly outcome: PutOutcome }
  /** Feed `flush` at this time or later. At most one is outstanding; when `at` is now, the end of the turn is best. */
  | { readonly type: 'wake'; readonly at: number };
