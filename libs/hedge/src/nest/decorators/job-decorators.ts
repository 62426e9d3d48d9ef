import { checkDecoration, decoratedMethod, refuseGenerator, remember, restoreMetadata } from './decorated-method.js';
import { cronTimes, intervalTimes, type FireTimes } from '../../jobs/fire-times.js';
import { checkJobOptions, type JobOptions } from '../../jobs/job.js';

/** From the global registry, as those in handler-metadata.ts. */
const JOBS = Symbol.for('nestjs-hedge:jobs');

export interface LeaderCronOptions extends JobOptions {
  /** An IANA name, as `Europe/Warsaw`. Default: UTC, for two pods may not have the same time zone. */
  readonly timeZone?: string | undefined;
}

interface JobMark {
  /** For people: `@LeaderCron`. */
  readonly decorator: string;
  readonly times: FireTimes;
  readonly options: JobOptions;
}

/**
 * Runs this method at the times of a cron expression, on the leader: once per firing in the whole group.
 *
 * Each firing is claimed in the database before its run, under the leader's token, and its outcome is recorded:
 * `JobsService.history(name)` lists the outcomes. So a firing never runs twice unless `catchUp` asks for that, and one that did not
 * run is in the history and in the log: `lost` when its pod was lost in it, `missed` when no leader was there in time,
 * `skipped` when the run before still went on. A firing that falls due during a change of leader runs under the next one.
 * What the method throws is logged and recorded, and not tried again.
 *
 * A new job begins when the group first sees it. Firings go by the leader's wall clock. The method gets a `JobRun`;
 * guards and pipes are not for it. Its class must be a singleton.
 *
 * When the clocks of the time zone change, a fixed local time (only numbers, lists and ranges in hour, minute and second)
 * still fires exactly once a day: at the first moment after a gap, on the first pass through a repeated hour. A time with
 * `*` or a step fires whenever the clocks show it: on both passes, and not in a gap.
 *
 * @param expression five fields (minute, hour, day, month, weekday), six with seconds first, or a name as `@daily`.
 *   When both day and weekday are restricted, either is enough; with a plus before the weekday both are needed.
 * @throws HedgeError INVALID_OPTIONS for a wrong expression, time zone or option.
 *
 * @example
 * \@LeaderCron('0 3 * * *', { timeZone: 'Europe/Warsaw', catchUp: true })
 * async nightly({ fireTime, fencingToken, signal }: JobRun) { … }
 */
export function LeaderCron(expression: string, options: LeaderCronOptions = {}): MethodDecorator {
  return job('@LeaderCron', () => cronTimes(expression, options.timeZone), options, ['timeZone']);
}

/**
 * As `@LeaderCron`, at all whole multiples of an interval since 1970, whoever leads and since when.
 *
 * @param everyMs milliseconds, 1,000 or more. What must run more often is a loop in `@WhileLeader`.
 *
 * @example
 * \@LeaderInterval(15_000)
 * async poll({ signal }: JobRun) { … }
 */
export function LeaderInterval(everyMs: number, options: JobOptions = {}): MethodDecorator {
  return job('@LeaderInterval', () => intervalTimes(everyMs), options);
}

export function jobsOf(method: object): readonly JobMark[] {
  return (Reflect.getMetadata(JOBS, method) as JobMark[] | undefined) ?? [];
}

/** Also where a method only stands in for another, whose jobs are not its own. */
export function setJobs(method: object, marks: readonly JobMark[]): void {
  Reflect.defineMetadata(JOBS, marks, method);
}

function job(
  decorator: string,
  timesOf: () => FireTimes,
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
