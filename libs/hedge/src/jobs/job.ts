import type { FireTimes } from './fire-times.js';

/** One run of a job, as its method sees it. */
export interface JobRun {
  /** The nominal time of this firing: the same on whatever pod and attempt, so a key to make the work idempotent. */
  readonly fireTime: Date;
  /** 1, or 2 when the pod of the first attempt was lost in it and the job has `catchUp`. */
  readonly attempt: number;
  /** The token of the lease it runs under. Pass it to what it writes to, and let that refuse a smaller one. */
  readonly fencingToken: bigint;
  /** Aborts when this pod no longer leads: the next leader then takes the run for lost. End soon. */
  readonly signal: AbortSignal;
}

/** What a job may say besides when it runs. */
export interface JobOptions {
  /** 1 to 128 characters without a slash, one job each in the group. The ledger goes by it, so keep it over renames. Default: `Class.method`. */
  readonly name?: string | undefined;
  /**
   * Whether to make good what did not run in time. `true`: a run whose pod was lost in it runs once more, and of
   * the firings that were missed or skipped the last one runs late. Then a firing runs at least once rather than
   * at most once. Default: false; either way the ledger and the log tell.
   */
  readonly catchUp?: boolean | undefined;
  /**
   * Milliseconds that a firing may be late, as after a change of leader, and run all the same; older ones are missed.
   * Default: 60,000, or four leases if that is more.
   */
  readonly graceMs?: number | undefined;
}

/** A job of the app, checked, with every default filled in. */
export interface Job {
  readonly name: string;
  readonly times: FireTimes;
  readonly catchUp: boolean;
  readonly graceMs: number;
}
