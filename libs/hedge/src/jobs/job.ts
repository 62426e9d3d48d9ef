import { checkKeys } from '../common/validation/check-keys.js';
import type { FencedTransactions } from '../database/fenced-transactions.js';
import { HedgeError, messageOf } from '../common/errors.js';
import { jitterOf, type FireTimes } from './fire-times.js';

/** One run of a job, as its method receives it. */
export interface JobRun {
  /** The nominal time of this firing: the same on each pod and attempt. Use it as a key to make the work idempotent. */
  readonly fireTime: Date;
  /**
   * From 1. It is 2 when the pod of the first attempt was lost during the run and the job has `catchUp`. A transactional job
   * has any number of attempts.
   */
  readonly attempt: number;
  /** The fencing token of the leader. Pass it to the systems that the job writes to, and let them reject a smaller token. */
  readonly fencingToken: bigint;
  /** Aborts when this pod is not the leader any more: the next leader records the run as lost. End soon then. */
  readonly signal: AbortSignal;
  /** `JobDefinition.data` of a job that was added at run time. */
  readonly data?: unknown;
}

/**
 * One run of a job with `transactional: true`.
 *
 * @example
 * \@LeaderCron('0 3 * * *', { name: 'invoices', transactional: true })
 * async invoices({ fireTime, transaction }: TransactionalJobRun) {
 *   const invoices = await collect(fireTime);
 *   await transaction(this.dataSource, (tx) => tx.insert(Invoice, invoices));
 * }
 */
export interface TransactionalJobRun extends JobRun {
  /**
   * Runs the work in a new transaction of the data source, and commits its writes together with the record that the firing
   * is done (J4). Call it once in each run. If it fails, nothing is written, and the firing runs again.
   *
   * @param source a data source of a supported library, in the database of the backend: see `FencedTransactions`
   * @throws HedgeError LEASE_LOST when another pod leads. INVALID_ARGUMENT for a second call, or another object as
   *   source. CONFLICT when the firing is done. The errors of the work and of the library.
   */
  readonly transaction: FencedTransactions['transaction'];
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
   * `true`: the method calls `run.transaction` once, and its writes and the record that the firing is done are committed
   * together. A firing that was claimed runs again until that has happened. The method gets a `TransactionalJobRun`. The
   * tables of the backend and of the method must be in one database. Default: false.
   */
  readonly transactional?: boolean | undefined;
  /**
   * The time in milliseconds that a firing may be late, for example after a change of the leader. Older firings are missed.
   * Default: 60,000, or four leases if that is more.
   */
  readonly graceMs?: number | undefined;
  /**
   * Starts each firing up to this many milliseconds late, by a delay that looks random. So jobs of many groups do not call
   * one system at the same second. The delay depends on the group, the name and the time of the firing, so it is the same
   * under each leader. `fireTime` stays the nominal time, and `graceMs` counts from the end of this time. At most a day, and
   * less than the interval. Default: 0.
   */
  readonly jitterMs?: number | undefined;
  /**
   * The number of rows that the ledger keeps, 10 or more, or Infinity for all. A run has two rows. The leader deletes older
   * ones, except those of the last hour, in which a repeated call of `runNow` must be recognised. Default: 1,000.
   */
  readonly historyLimit?: number | undefined;
}

/** A method that runs at certain times, or that runs the jobs that are added at run time. */
export interface JobMethod {
  /** The name for messages, such as `ReportService.nightly`. */
  readonly place: string;
  /** Undefined for `@LeaderJob`. */
  readonly times: FireTimes | undefined;
  /** For `@LeaderJob`, the name is the name of the handler. */
  readonly options: JobOptions;
  call(run: TransactionalJobRun): unknown;
}

/** A job of the app, checked and with all defaults. */
export interface Job {
  readonly name: string;
  /** Of a job that was added at run time: the name of its handler. */
  readonly handler?: string;
  readonly times: FireTimes;
  readonly catchUp: boolean;
  readonly transactional: boolean;
  readonly graceMs: number;
  /** The greatest value of `jitter`. */
  readonly jitterMs: number;
  /** The delay of a firing in milliseconds. */
  readonly jitter: (fireTime: number) => number;
  /** Rows that the ledger keeps, at least. */
  readonly historyLimit: number;
}

/**
 * 500 runs, and about 300 KB in the database: the last day of a job that runs every three minutes, and more than a year of a
 * daily one.
 */
const DEFAULT_HISTORY_LIMIT = 1_000;
const MIN_HISTORY_LIMIT = 10;

export const JOB_OPTIONS = Object.keys({
  name: 0,
  catchUp: 0,
  transactional: 0,
  graceMs: 0,
  jitterMs: 0,
  historyLimit: 0,
} satisfies Record<keyof JobOptions, 0>);

const MAX_JITTER_MS = 86_400_000;
const MIN_GRACE_MS = 1_000;
const DEFAULT_GRACE_MS = 60_000;

/**
 * Fills in the defaults.
 * @param place `ReportService.nightly`, for the name.
 * @param group of this pod, for the delays of `jitterMs`
 * @throws HedgeError INVALID_OPTIONS when the job has no name, and the place is not a valid name.
 */
export function resolveJob(
  place: string,
  times: FireTimes,
  { name = place, catchUp = false, transactional = false, graceMs, jitterMs = 0, historyLimit }: JobOptions,
  { leaseMs, group }: { readonly leaseMs: number; readonly group: string },
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
  return {
    name,
    times,
    catchUp,
    transactional,
    graceMs: graceMs ?? Math.max(DEFAULT_GRACE_MS, 4 * leaseMs),
    jitterMs,
    jitter: (fireTime) => jitterOf(`${group}/${name}`, fireTime, jitterMs),
    historyLimit: historyLimit ?? DEFAULT_HISTORY_LIMIT,
  };
}

/**
 * @param more names of further options of the decorator.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function checkJobOptions(decorator: string, options: JobOptions, more: readonly string[] = []): void {
  checkKeys(`The options of ${decorator}`, options, [...more, ...JOB_OPTIONS]);
  const { name, catchUp, transactional, graceMs, jitterMs = 0, historyLimit = Infinity } = options;
  if (name !== undefined) checkJobName(name);
  for (const [option, value] of Object.entries({ catchUp, transactional })) {
    if (value === undefined || typeof value === 'boolean') continue;
    throw new HedgeError('INVALID_ARGUMENT', `${option} is not a boolean. Give true or false.`);
  }
  if (graceMs !== undefined && !(Number.isSafeInteger(graceMs) && graceMs >= MIN_GRACE_MS)) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `graceMs is ${String(graceMs)}. Give a whole number of milliseconds, ${MIN_GRACE_MS} or more, because a firing is always a little late.`,
    );
  }
  const whole = Number.isSafeInteger(historyLimit) || historyLimit === Infinity;
  if (!(whole && historyLimit >= MIN_HISTORY_LIMIT)) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `historyLimit is ${String(historyLimit)}. Give a whole number of rows from ${MIN_HISTORY_LIMIT}, or Infinity.`,
    );
  }
  if (!(Number.isSafeInteger(jitterMs) && jitterMs >= 0 && jitterMs <= MAX_JITTER_MS)) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `jitterMs is ${String(jitterMs)}. Give a whole number of milliseconds from 0 to ${MAX_JITTER_MS}.`,
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
