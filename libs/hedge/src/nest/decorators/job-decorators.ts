import { checkDecoration, decoratedMethod, refuseGenerator, remember, restoreMetadata } from './decorated-method.js';
import { assertFires, cronTimes, intervalTimes, type FireTimes } from '../../jobs/fire-times.js';
import { checkJobOptions, type JobOptions } from '../../jobs/job.js';
import { checkHandlerName } from '../../jobs/registry/job-definition.js';

/** From the global registry, as those in handler-metadata.ts. */
const JOBS = Symbol.for('nestjs-hedge:jobs');

export interface LeaderCronOptions extends JobOptions {
  /** An IANA name, such as `Europe/Warsaw`. Default: UTC, because two pods can have different time zones. */
  readonly timeZone?: string | undefined;
}

interface JobMark {
  /** `@LeaderCron`, for messages. */
  readonly decorator: string;
  /** Undefined for `@LeaderJob`. */
  readonly times: FireTimes | undefined;
  readonly options: JobOptions;
}

/**
 * Runs this method at the times of a cron expression, on the leader: once per firing in the whole group.
 *
 * The leader claims each firing in the database before it runs the method, under its fencing token, and records the
 * outcome. `JobsService.history(name)` lists the outcomes. So a firing never runs twice unless `catchUp` allows it, and
 * the history and the log name each firing that did not run: `lost` if its pod was lost during the run, `missed` if no
 * leader could run it in time, `skipped` if the previous run had not ended. A firing that falls due during a change of
 * leader runs under the next leader. An error of the method is logged and recorded; Hedge does not try again.
 *
 * A new job begins when the group first sees it. Firings follow the leader's wall clock. The method receives a `JobRun`;
 * guards and pipes do not apply. Its class must be a singleton.
 *
 * When the clocks of the time zone change, a fixed local time (only numbers, lists and ranges in hour, minute and second)
 * still fires exactly once a day: at the first moment after a gap, on the first pass through a repeated hour. A time with
 * `*` or a step fires whenever the clocks show it: on both passes, and not in a gap.
 *
 * @param expression five fields (minute, hour, day, month, weekday), six with seconds first, or a name such as `@daily`.
 *   If both day and weekday are given, either is enough; with a plus before the weekday, both are required.
 * @throws HedgeError INVALID_OPTIONS for a wrong expression, time zone or option.
 *
 * @example
 * \@LeaderCron('0 3 * * *', { timeZone: 'Europe/Warsaw', catchUp: true })
 * async nightly({ fireTime, fencingToken, signal }: JobRun) { … }
 */
export function LeaderCron(expression: string, options: LeaderCronOptions = {}): MethodDecorator {
  return job('@LeaderCron', () => assertFires(cronTimes(expression, options.timeZone)), options, ['timeZone']);
}

/**
 * As `@LeaderCron`, at the whole multiples of an interval since 1970. So a change of leader does not shift the firings.
 *
 * @param everyMs milliseconds, 1,000 or more. For more frequent work, write a loop in `@WhileLeader`.
 *
 * @example
 * \@LeaderInterval(15_000)
 * async poll({ signal }: JobRun) { … }
 */
export function LeaderInterval(everyMs: number, options: JobOptions = {}): MethodDecorator {
  const times = (): FireTimes => intervalTimes(everyMs, options.jitterMs);
  return job('@LeaderInterval', times, options);
}

/**
 * Runs the jobs that `JobsService.add` adds at run time with this handler, on the leader. `run.data` is the data of the job. A
 * firing has the same guarantees as one of `@LeaderCron`.
 *
 * @param handler 1 to 128 visible characters without a slash, unique in the app. The jobs name it, so keep it when you rename the method.
 * @throws HedgeError INVALID_OPTIONS for a wrong name.
 *
 * @example
 * \@LeaderJob('tenant report')
 * async report({ data, fireTime, signal }: JobRun) { … }
 */
export function LeaderJob(handler: string): MethodDecorator {
  const noTimes = (): undefined => {
    checkHandlerName(handler);
    return undefined;
  };
  return job('@LeaderJob', noTimes, { name: handler });
}

export function jobsOf(method: object): readonly JobMark[] {
  return (Reflect.getMetadata(JOBS, method) as JobMark[] | undefined) ?? [];
}

/** Also clears the jobs of a method that inherits the metadata of another method. */
export function setJobs(method: object, marks: readonly JobMark[]): void {
  Reflect.defineMetadata(JOBS, marks, method);
}

function job(
  decorator: string,
  timesOf: () => FireTimes | undefined,
  options: JobOptions,
  more: readonly string[] = [],
): MethodDecorator {
  return (target, key, descriptor) => {
    const decorated = decoratedMethod(decorator, target, key, descriptor);
    refuseGenerator(decorator, decorated);
    const { place, method, name } = decorated;
    restoreMetadata(target, name, method);
    checkDecoration(place, () => {
      checkJobOptions(decorator, options, more);
      setJobs(method, [...jobsOf(method), { decorator, times: timesOf(), options }]);
    });
    remember(target, name, method);
  };
}
