import { CronTime } from 'cron';
import { HedgeError, messageOf } from '../common/errors.js';

/**
 * When a job is to run, in milliseconds since 1970: its nominal times. All pods compute the same ones, so that a
 * nominal time names one firing in the whole group.
 */
export interface FireTimes {
  /** As the job was declared, for the ledger: another text is another timetable. */
  readonly text: string;
  /** The first nominal time after that one; undefined when there is none any more. */
  nextAfter(ms: number): number | undefined;
}

/** The shortest interval, in milliseconds: as fine as cron gets. What must run more often is a loop of `@WhileLeader`. */
export const MIN_INTERVAL_MS = 1_000;
/** About 68 years. */
const MAX_INTERVAL_MS = 2 ** 31 * 1_000;

/** How far behind the `cron` package may be in an hour that a time zone repeats, in minutes. */
const REPEATED_MINUTES = 180;

/**
 * The whole multiples of an interval since 1970, so that pods agree without having to remember when it began.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function intervalTimes(everyMs: number): FireTimes {
  if (!Number.isInteger(everyMs) || everyMs < MIN_INTERVAL_MS || everyMs > MAX_INTERVAL_MS) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `The interval is ${String(everyMs)}. Give a whole number of milliseconds from ${MIN_INTERVAL_MS} to ${MAX_INTERVAL_MS}; for what runs more often, a loop in @WhileLeader.`,
    );
  }
  return { text: `every ${everyMs} ms`, nextAfter: (ms) => (Math.floor(ms / everyMs) + 1) * everyMs };
}

/**
 * The times of a cron expression: five fields, or six with seconds first, or a name as `@daily`.
 *
 * @param timeZone an IANA name. Default: UTC rather than the pod's own, for two pods may not have the same. Where clocks
 *   are set forward, a time that does not exist fires at the end of the gap; where they are set back, a time of the
 *   day that exists twice fires once.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function cronTimes(expression: string, timeZone = 'UTC'): FireTimes {
  const cron = parse(expression, timeZone);
  const next = (ms: number): number | undefined => {
    try {
      return cron.getNextDateFrom(new Date(ms), timeZone).toMillis();
    } catch {
      // It gives up when there is none for years.
      return undefined;
    }
  };
  const nextAfter = (ms: number): number | undefined => {
    let found = next(ms);
    // In a repeated half hour (Australia/Lord_Howe) the package goes back in time.
    for (let minute = 1; found !== undefined && found <= ms && minute <= REPEATED_MINUTES; minute += 1) {
      found = next(ms + minute * 60_000);
    }
    return found !== undefined && found > ms ? found : undefined;
  };
  if (nextAfter(Date.now()) === undefined) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `The cron expression '${expression}' never fires in the next 8 years. Check its day and month.`,
    );
  }
  return { text: `${expression} ${timeZone}`, nextAfter };
}

function parse(expression: unknown, timeZone: unknown): CronTime {
  if (typeof expression !== 'string' || typeof timeZone !== 'string' || timeZone === '') {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `The cron expression is ${show(expression)} and the time zone ${show(timeZone)}. Give strings, as '0 3 * * *' and 'Europe/Warsaw'.`,
    );
  }
  try {
    return new CronTime(expression, timeZone);
  } catch (cause) {
    const zoned = isTimeZone(timeZone);
    throw new HedgeError(
      'INVALID_ARGUMENT',
      zoned
        ? `'${expression}' is no cron expression (${messageOf(cause)}). Give five fields (minute, hour, day, month, weekday), or six with seconds first.`
        : `'${timeZone}' is no time zone. Give a name of the IANA list, as 'Europe/Warsaw'.`,
      { cause },
    );
  }
}

function isTimeZone(timeZone: string): boolean {
  try {
    return Intl.DateTimeFormat('en', { timeZone }) !== undefined;
  } catch {
    return false;
  }
}

function show(value: unknown): string {
  return typeof value === 'string'
    ? `'${value}'`
    : value === undefined
      ? 'undefined'
      : `a value of type ${typeof value}`;
}

/** The most nominal times that are counted one by one: each costs up to two milliseconds with cron. */
export const MAX_COUNTED = 100;

/** Several nominal times in a row. */
export interface FiringRange {
  readonly first: number;
  readonly last: number;
  /** How many; `MAX_COUNTED` stands for that many or more. */
  readonly count: number;
}

/** The nominal times from `first`, itself one, up to `until`. */
export function rangeOf({ nextAfter }: FireTimes, first: number, until: number): FiringRange {
  let last = first;
  for (let count = 1; count < MAX_COUNTED; count += 1) {
    const next = nextAfter(last);
    if (next === undefined || next > until) return { first, last, count };
    last = next;
  }
  // Too many to step through: by bisection, the last time that has a nominal time after it and not after `until`.
  let [low, high] = [last, until];
  while (high - low > 1) {
    const middle = low + Math.floor((high - low) / 2);
    const next = nextAfter(middle);
    if (next !== undefined && next <= until) low = middle;
    else high = middle;
  }
  const found = nextAfter(low);
  return { first, last: found !== undefined && found <= until ? found : last, count: MAX_COUNTED };
}
