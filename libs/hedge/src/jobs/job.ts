import { checkKeys } from '../common/validation/check-keys.js';
import { HedgeError, messageOf } from '../common/errors.js';
import type { FireTimes } from './fire-times.js';

/** One run of a job, as its method receives it. */
export interface JobRun {
  /** The nominal time of this firing: the same on each pod and attempt. Use it as a key to make the work idempotent. */
  readonly fireTime: Date;
  /** 1, or 2 when the pod of the first attempt was lost during the run and the job has `catchUp`. */
  readonly attempt: number;
  /** The fencing token of the leader. Pass it to the systems that the job writes to, and let them reject a smaller token. */
  readonly fencingToken: bigint;
  /** Aborts when this pod is not the leader any more: the next leader records the run as lost. End soon then. */
  readonly signal: AbortSignal;
}

/** Options of a job, besides its times. */
export interface JobOptions {
  /**
   * 1 to 128 characters without a slash, unique in the group. The ledger has this name, so keep it when you rename the
   * method. Default: `Class.method`.
   */
  readonly name?: string | undefined;
  /**
   * Whether to run late firings. `true`: a run whose pod was lost is repeated once, and of the missed or skipped firings
   * the last one runs late. Then a firing can run twice. Default: false. In both cases the ledger and the log report lost,
   * missed and skipped firings.
   */
  readonly catchUp?: boolean | undefined;
  /**
   * The time in milliseconds that a firing may be late, for example after a change of the leader. Older firings are missed.
   * Default: 60,000, or four leases if that is more.
   */
  readonly graceMs?: number | undefined;
}

/** A job of the app, checked and with all defaults. */
export interface Job {
  readonly name: string;
  readonly times: FireTimes;
  readonly catchUp: boolean;
  readonly graceMs: number;
}

const MIN_GRACE_MS = 1_000;
const DEFAULT_GRACE_MS = 60_000;

/**
 * Fills in the defaults.
 * @param place `ReportService.nightly`, for the name.
 * @throws HedgeError INVALID_OPTIONS when the job has no name, and the place is not a valid name.
 */
export function resolveJob(
  place: string,
  times: FireTimes,
  { name = place, catchUp = false, graceMs }: JobOptions,
  leaseMs: number,
): Job {
  try {
    checkJobName(name);
  } catch (cause) {
    throw new HedgeError(
      'INVALID_OPTIONS',
      `${place} has no valid name for a job. ${messageOf(cause)} Name the job: { name: '…' }.`,
      { cause },
    );
  }
  return { name, times, catchUp, graceMs: graceMs ?? Math.max(DEFAULT_GRACE_MS, 4 * leaseMs) };
}

/**
 * @param more names of further options of the decorator.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function checkJobOptions(decorator: string, options: JobOptions, more: readonly string[] = []): void {
  checkKeys(`The options of ${decorator}`, options, [...more, 'name', 'catchUp', 'graceMs']);
  const { name, catchUp, graceMs } = options;
  if (name !== undefined) checkJobName(name);
  if (catchUp !== undefined && typeof catchUp !== 'boolean') {
    throw new HedgeError('INVALID_ARGUMENT', 'catchUp is not a boolean. Give true or false.');
  }
  if (graceMs !== undefined && !(Number.isSafeInteger(graceMs) && graceMs >= MIN_GRACE_MS)) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `graceMs is ${String(graceMs)}. Give a whole number of milliseconds, ${MIN_GRACE_MS} or more, because a firing is always a little late.`,
    );
  }
}

/**
 * Checks the name of a job. It has no slash, because a slash separates the group from the job in the key of the ledger.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function checkJobName(name: unknown): asserts name is string {
  if (typeof name === 'string' && /^[^/\p{C}]{1,128}$/u.test(name)) return;
  const got = typeof name === 'string' ? `'${name.slice(0, 40)}'` : `a value of type ${typeof name}`;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `The name of a job is ${got}. Give 1 to 128 visible characters without a slash.`,
  );
}
