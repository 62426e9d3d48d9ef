import { Cron } from 'croner';
import { HedgeError, messageOf } from '../common/errors.js';

/** Local times of a cron expression, as a calendar without time zone has them. */
export interface CronCalendar {
  /**
   * Whether hours, minutes and seconds are all given by numbers, ranges and lists: such a local time is meant once a day. One
   * with `*` or a step is meant at every such step of real time.
   */
  readonly fixed: boolean;
  /** The first local time after that one; undefined when there is none any more. See `TimeZone` for its unit. */
  nextAfter(local: number): number | undefined;
}

const NICKNAMES: Readonly<Record<string, string>> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@weekdays': '0 0 * * 1-5',
  '@weekends': '0 0 * * 0,6',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
  '@minutely': '* * * * *',
  '@secondly': '* * * * * *',
};

/** After 400 years the calendar begins anew, with the same weekdays. The package ends with the year 3000. */
const CYCLE_MS = 146_097 * 86_400_000;
const CYCLE_START = Date.UTC(2000, 0, 1);

/** What a field may hold besides: `L`, `15W`, `5#2`, `+1`; the package says which of these, and in which field. */
const ITEM = /^\+?(?:\*|\?|\w+)(?:-\w+)?(?:\/\d+)?(?:#\w+)?$/;
const WEEKDAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];

/**
 * Reads a cron expression. The package is used for the calendar alone, in UTC: what a time zone does to its local times is
 * decided here, the same for all of them (see `cronTimes`).
 * @throws HedgeError INVALID_ARGUMENT
 */
export function cronCalendar(expression: string): CronCalendar {
  const known = NICKNAMES[expression.trim().toLowerCase()] ?? expression;
  const fields = known.trim().split(/\s+/);
  if (fields.length < 5) throw notCron(expression, 'it has too few fields');
  if (fields.length > 6) throw notCron(expression, 'it has too many fields');
  for (const item of fields.flatMap((field) => field.split(','))) {
    if (!ITEM.test(item)) throw notCron(expression, `'${item}' is no value, range or step`);
  }
  const [weekday = '*', month = '*', day = '*', ...time] = fields.reverse();
  const cron = parse(expression, [...time.reverse(), unlessAll(day, 1, 31), month, unlessAll(weekday, 0, 6)]);
  return {
    fixed: !time.some((field) => /[*?/]/.test(field)),
    nextAfter: (local) => {
      const cycles = Math.floor((local - CYCLE_START) / CYCLE_MS) * CYCLE_MS;
      const next = cron.nextRun(new Date(Math.floor(local - cycles)))?.getTime();
      return next === undefined ? undefined : next + cycles;
    },
  };
}

function parse(expression: string, fields: readonly string[]): Cron {
  try {
    return new Cron(fields.join(' '), { utcOffset: 0, mode: '5-or-6-parts', sloppyRanges: true, paused: true });
  } catch (cause) {
    throw notCron(expression, messageOf(cause).replace(/^CronPattern: |\.$/g, ''), cause);
  }
}

/**
 * A field that names every day is `*`, which leaves the choice to the other of the two day fields: when both choose,
 * either is enough.
 */
function unlessAll(field: string, first: number, last: number): string {
  const values = new Set<number>();
  for (const item of field.toLowerCase().split(',')) {
    const [, from = '', to, step = '1'] = /^(\*|\?|\w+)(?:-(\w+))?(?:\/(\d+))?$/.exec(item) ?? [];
    const every = from === '*' || from === '?';
    const start = every ? first : numberOf(from);
    const end = to !== undefined ? numberOf(to) : every || item.includes('/') ? last : start;
    for (let value = start; value <= end; value += Math.max(1, Number(step))) {
      values.add(first === 0 ? value % 7 : value);
    }
  }
  return values.size === last - first + 1 ? '*' : field;
}

function numberOf(text: string): number {
  const weekday = WEEKDAYS.indexOf(text);
  return weekday >= 0 ? weekday : /^\d{1,2}$/.test(text) ? Number(text) : Number.NaN;
}

function notCron(expression: string, why: string, cause?: unknown): HedgeError {
  return new HedgeError(
    'INVALID_ARGUMENT',
    `'${expression.slice(0, 80)}' is no cron expression: ${why}. Give five fields (minute, hour, day, month, weekday), or six with seconds first.`,
    { cause },
  );
}
