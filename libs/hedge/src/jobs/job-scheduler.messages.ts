import type { LedgerRow } from './ledger.js';

/** Who runs the scheduler, as its rows name it. */
export interface SchedulerSettings {
  /** Asked late, because the port may be chosen at start. */
  readonly self: () => { readonly address: string; readonly incarnation: string };
  /** Pause before a call to the database is made again, in milliseconds; grows with jitter up to four times this. */
  readonly retryMs: number;
}

/** How a run ended: what the method threw, if it did. */
export interface RunEnd {
  readonly durationMs: number;
  readonly error?: string;
}

export type SchedulerInput =
  | { readonly type: 'elected'; readonly token: bigint }
  | { readonly type: 'deposed'; readonly token: bigint }
  /** Leadership is about to be given back: what runs may end, and nothing new begins in this term. */
  | { readonly type: 'draining'; readonly token: bigint }
  /** The ledger's last row; undefined when it has none. */
  | { readonly type: 'loaded'; readonly call: number; readonly row: LedgerRow | undefined }
  | { readonly type: 'written'; readonly call: number }
  /** The lease has another token: nothing was written. */
  | { readonly type: 'fenced-off'; readonly call: number }
  /** The row's id is there with another value, so the ledger is not as it was read. */
  | { readonly type: 'conflict'; readonly call: number; readonly random: number }
  | { readonly type: 'call-failed'; readonly call: number; readonly random: number }
  | { readonly type: 'ended'; readonly end: RunEnd }
  /** The run was not begun, since this pod did not lead any more when it was to. */
  | { readonly type: 'not-begun' }
  | { readonly type: 'tick' };

export type SchedulerEffect =
  | { readonly type: 'load'; readonly call: number }
  /** Append the row under the token's fence. May be made again: the same row has the same id and value. */
  | { readonly type: 'write'; readonly call: number; readonly row: LedgerRow; readonly token: bigint }
  | { readonly type: 'run'; readonly claim: LedgerRow }
  /** Send a tick after that time; replaces the one before. */
  | { readonly type: 'wake'; readonly afterMs: number }
  | { readonly type: 'report'; readonly report: SchedulerReport };

/** For people: what the ledger does not say, or says only later. */
export type SchedulerReport =
  /** The row was written: of firings that did not run, or of a run that did not end well. */
  | { readonly type: 'recorded'; readonly row: LedgerRow }
  /** A firing fell due while the run of another goes on. Told once for each run. */
  | { readonly type: 'still-running'; readonly fireTime: number }
  /** Elected again while the run of an earlier term has not ended: the job waits for that. */
  | { readonly type: 'runs-since-last-term'; readonly fireTime: number }
  /** By this pod's clock the ledger is in the future: nothing runs until that time. */
  | { readonly type: 'clock-behind'; readonly through: number; readonly byMs: number };
