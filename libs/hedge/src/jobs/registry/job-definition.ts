import { checkKeys } from '../../common/validation/check-keys.js';
import { HedgeError } from '../../common/errors.js';
import { notJson } from '../../messaging/json-values.js';
import { cronTimes, intervalTimes, type FireTimes } from '../fire-times.js';
import { checkJobName, checkJobOptions, JOB_OPTIONS, type JobOptions } from '../job.js';

/**
 * A job that is added at run time: either at the times of a cron expression, or at an interval.
 *
 * @example
 * { name: 'report of tenant 17', handler: 'tenant report', cron: '0 3 * * *', timeZone: 'Europe/Warsaw', data: { tenant: 17 } }
 */
export interface JobDefinition extends JobOptions {
  /** Unique in the group, also among the decorated jobs: see `JobOptions.name`. */
  readonly name: string;
  /** The method that runs the job: the name in its `@LeaderJob`. */
  readonly handler: string;
  /** A cron expression, as in `@LeaderCron`. */
  readonly cron?: string | undefined;
  /** An IANA name, for `cron`. Default: UTC. */
  readonly timeZone?: string | undefined;
  /** An interval in milliseconds, as in `@LeaderInterval`. */
  readonly everyMs?: number | undefined;
  /** Passed to the method as `run.data`: a value that JSON preserves, of at most 2,000 characters. */
  readonly data?: unknown;
}

const MAX_DATA = 2_000;

const KEYS = ['handler', 'cron', 'timeZone', 'everyMs', 'data'] satisfies (keyof JobDefinition)[];

/**
 * Checks a definition, at the caller and again at the leader, which may have another version. Whether it has a next time is
 * left to `assertFires`.
 * @returns its times
 * @throws HedgeError INVALID_ARGUMENT
 */
export function checkDefinition(definition: JobDefinition): FireTimes {
  checkKeys('A job to add', definition, [...KEYS, ...JOB_OPTIONS]);
  const { name, handler, cron, timeZone, everyMs, data, historyLimit, ...options } = definition;
  checkJobName(name);
  checkHandlerName(handler);
  checkJobOptions(`job '${name}'`, { ...options, historyLimit });
  if (historyLimit === Infinity) throw invalid(name, 'historyLimit is Infinity. Give a number of rows');
  const problem = data === undefined ? undefined : notJson(data);
  if (problem !== undefined) throw invalid(name, `data cannot be JSON: ${problem}`);
  if (data !== undefined && JSON.stringify(data).length > MAX_DATA) {
    throw invalid(name, `data has more than ${MAX_DATA} characters of JSON. Store it elsewhere, and give its key`);
  }
  if (cron !== undefined && everyMs === undefined) return cronTimes(cron, timeZone);
  if (everyMs !== undefined && cron === undefined && timeZone === undefined) {
    return intervalTimes(everyMs, options.jitterMs);
  }
  throw invalid(name, 'it has no timetable, or two. Give cron, with timeZone if you like, or everyMs');
}

/** @throws HedgeError INVALID_ARGUMENT */
export function checkHandlerName(name: unknown): asserts name is string {
  if (typeof name === 'string' && /^[^/\p{C}]{1,128}$/u.test(name)) return;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    'The handler of a job is no text of 1 to 128 visible characters without a slash.',
  );
}

function invalid(name: string, problem: string): HedgeError {
  return new HedgeError('INVALID_ARGUMENT', `Job '${name}' cannot be added: ${problem}.`);
}
