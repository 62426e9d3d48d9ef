import { checkKeys } from '../common/validation/check-keys.js';
import { HedgeError, messageOf } from '../common/errors.js';
import type { Job, JobOptions } from './job.js';
import type { FireTimes } from './fire-times.js';

const MIN_GRACE_MS = 1_000;
const DEFAULT_GRACE_MS = 60_000;

/**
 * Fills in the defaults.
 * @param place `ReportService.nightly`, for the name.
 * @throws HedgeError INVALID_OPTIONS when the job has no name of its own, and the place cannot be one.
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
      `${place} has no name that a job can have. ${messageOf(cause)} Name the job: { name: '…' }.`,
      { cause },
    );
  }
  return { name, times, catchUp, graceMs: graceMs ?? Math.max(DEFAULT_GRACE_MS, 4 * leaseMs) };
}

/**
 * @param more names of the decorator's own options.
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
      `graceMs is ${String(graceMs)}. Give a whole number of milliseconds, ${MIN_GRACE_MS} or more: a firing is always a little late.`,
    );
  }
}

/**
 * Without a slash, which parts the group from the job in the ledger's key.
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
