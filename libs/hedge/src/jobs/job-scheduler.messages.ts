import type { Job } from './job.js';
import type { LedgerRow, RunRequest } from './ledger.js';
import type { JobRecord } from './registry/registry-row.js';

/** Settings of the scheduler. */
export interface SchedulerSettings {
  /** Identity of this pod for its rows. Called late, because the start may choose the port. */
  readonly self: () => { readonly address: string; readonly incarnation: string };
  /** First pause before a retry of a call to the database, in milliseconds. Grows with jitter up to four times this. */
  readonly retryMs: number;
}

/** The part of the registry that a scheduler follows. */
export interface SchedulerControl {
  /** It claims nothing. */
  readonly paused: boolean;
  /** Firings that were due up to this time, in milliseconds since 1970, are missed, however short ago they were due. */
  readonly resumedAt: number;
  /** The begin of a job that was added at run time. Earlier firings do not count; of them nothing is run again. */
  readonly addedAt: number;
  /** The job was added at run time and is removed: it claims nothing, until it is added again. */
  readonly removed: boolean;
}

export const NOT_PAUSED: SchedulerControl = { paused: false, resumedAt: 0, addedAt: 0, removed: false };
export const REMOVED: SchedulerControl = { ...NOT_PAUSED, removed: true };

export function controlOf(record: JobRecord | undefined): SchedulerControl {
  if (record === undefined) return NOT_PAUSED;
  const { paused, resumedAt = 0, added } = record;
  return { ...NOT_PAUSED, paused: paused !== undefined, resumedAt, addedAt: added?.at ?? 0 };
}

/**
 * The end of a run. `error` if the method threw, or if its transaction failed, also where the outcome of the commit is
 * unknown. Without `error`, the transaction of a transactional run was reported as committed.
 */
export interface RunEnd {
  readonly durationMs: number;
  readonly error?: string;
}

export type SchedulerInput =
  | { readonly type: 'elected'; readonly token: bigint; readonly control: SchedulerControl }
  /** The control has changed, and maybe the job. Ends a hold. */
  | { readonly type: 'control'; readonly control: SchedulerControl; readonly job?: Job | undefined }
  /** Run the job as soon as no other run goes on, also while it is paused. It gets one `settle` with its ticket. */
  | { readonly type: 'request'; readonly ticket: number; readonly request: RunRequest }
  /** Claim nothing until the next `control`. */
  | { readonly type: 'hold' }
  | { readonly type: 'deposed'; readonly token: bigint }
  /** The leadership is about to be handed over: a run may end, and no new run begins in this term. */
  | { readonly type: 'draining'; readonly token: bigint }
  /** The last row of the ledger; undefined when it is empty. */
  | { readonly type: 'loaded'; readonly call: number; readonly row: LedgerRow | undefined }
  | { readonly type: 'written'; readonly call: number }
  /** The lease has another token, so nothing was written. */
  | { readonly type: 'fenced-off'; readonly call: number }
  /** The row id exists with another value, so the ledger has changed since it was read. */
  | { readonly type: 'conflict'; readonly call: number; readonly random: number }
  | { readonly type: 'call-failed'; readonly call: number; readonly random: number }
  | { readonly type: 'ended'; readonly end: RunEnd }
  /** The run did not begin, because this pod was not the leader any more. */
  | { readonly type: 'not-begun' }
  | { readonly type: 'tick' };

export type RequestOutcome = 'claimed' | 'running' | 'not-leading';

export type SchedulerEffect =
  | { readonly type: 'load'; readonly call: number }
  /** Append the row with the fence of the token. Repeatable: the same row has the same id and value. */
  | { readonly type: 'write'; readonly call: number; readonly row: LedgerRow; readonly token: bigint }
  | { readonly type: 'run'; readonly claim: LedgerRow }
  /**
   * `claimed`: the run is claimed, now or by an earlier request with the same id. `running`: another run goes on.
   * `not-leading`: this pod leads no more, and the run may have been claimed.
   */
  | { readonly type: 'settle'; readonly ticket: number; readonly outcome: RequestOutcome }
  /** The answer to `hold`: no claim is being written, and none begins. */
  | { readonly type: 'held' }
  /** Pass back `tick` after this time. Replaces an earlier `wake`. */
  | { readonly type: 'wake'; readonly afterMs: number }
  | { readonly type: 'report'; readonly report: SchedulerReport };

/** A report for the log: facts that the ledger does not contain, or contains only later. */
export type SchedulerReport =
  /** The row was written. */
  | { readonly type: 'recorded'; readonly row: LedgerRow }
  /** A firing is due while another one runs. Reported once for each run. */
  | { readonly type: 'still-running'; readonly fireTime: number }
  /** This pod was elected again while the run of an earlier term has not ended. The job waits for it. */
  | { readonly type: 'runs-since-last-term'; readonly fireTime: number }
  /** By the clock of this pod, the ledger is in the future. No firing runs until that time. */
  | { readonly type: 'clock-behind'; readonly through: number; readonly byMs: number };
