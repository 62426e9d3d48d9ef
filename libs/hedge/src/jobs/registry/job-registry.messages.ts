import type { JobChange, JobRecords, RegistryRow } from './registry-row.js';

/** Settings of the registry. */
export interface RegistrySettings {
  /** The advertised address of this pod. Called late, because the start may choose the port. */
  readonly pod: () => string;
  /** First pause before a retry of a call to the database, in milliseconds. Grows with jitter up to four times this. */
  readonly retryMs: number;
}

export type RegistryInput =
  | { readonly type: 'elected'; readonly token: bigint }
  | { readonly type: 'deposed'; readonly token: bigint }
  /** The leadership is about to be handed over: no job starts any more in this term. */
  | { readonly type: 'draining'; readonly token: bigint }
  /** The last row; undefined when there is none. */
  | { readonly type: 'loaded'; readonly call: number; readonly row: RegistryRow | undefined }
  | { readonly type: 'written'; readonly call: number }
  /** The lease has another token, so nothing was written. */
  | { readonly type: 'fenced-off'; readonly call: number }
  /** The row id exists with another value, so the registry has changed since it was read. */
  | { readonly type: 'conflict'; readonly call: number; readonly random: number }
  | { readonly type: 'call-failed'; readonly call: number; readonly random: number }
  /** The row is too large, or the database never accepts it. An earlier attempt may have written it. */
  | { readonly type: 'refused'; readonly call: number; readonly problem: string }
  /**
   * Gets one `settle` with its ticket, when the change is durable. Without a change: when all changes before it are, and
   * the records are known.
   */
  | { readonly type: 'request'; readonly ticket: number; readonly change: JobChange | undefined }
  /** The scheduler of that job claims nothing until the next `apply` for it. */
  | { readonly type: 'held'; readonly name: string }
  | { readonly type: 'tick' };

export type RegistryEffect =
  | { readonly type: 'load'; readonly call: number }
  /** Append the row with the fence of the token. Repeatable: the same row has the same id and value. */
  | { readonly type: 'write'; readonly call: number; readonly row: RegistryRow; readonly token: bigint }
  /** Pass back `tick` after this time. Replaces an earlier `wake`. */
  | { readonly type: 'wake'; readonly afterMs: number }
  /** Start the schedulers of all jobs in this term, with these records. Once per term. */
  | { readonly type: 'start'; readonly token: bigint; readonly records: JobRecords }
  /** Let that scheduler claim nothing more, and pass back `held` when no claim is being written. */
  | { readonly type: 'hold'; readonly name: string }
  /** The records of these jobs are durable. They end a hold. */
  | { readonly type: 'apply'; readonly names: readonly string[]; readonly records: JobRecords }
  /** `not-leading`: this pod leads no more, and the change may have happened. */
  | { readonly type: 'settle'; readonly ticket: number; readonly outcome: 'done' | 'not-leading' }
  /** The change did not happen, because the row with this change alone was refused. */
  | { readonly type: 'settle'; readonly ticket: number; readonly outcome: 'refused'; readonly problem: string };
