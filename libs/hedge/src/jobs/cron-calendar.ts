import { Cron } from 'croner';
import { HedgeError, messageOf } from '../common/errors.js';

/** The local times of a cron expression, independent of time zones. */
export interface CronCalendar {
  /**
   * Whether hours, minutes and seconds are all numbers, ranges and lists: such a local time fires once a day. An expression
   * with `*` or a step fires at every such step of real time.
   */
  readonly fixed: boolean;
  /** The first local time after `local`; undefined when there is none. See `TimeZone` for the unit. */
  nextAfter(local: number): number | undefined;
}

const NICKNAMES: ReadonlyMap<string, string> = new Map([
  ['@yearly', '0 0 1 1 *'],
  ['@annually', '0 0 1 1 *'],
  ['@monthly', '0 0 1 * *'],
  ['@weekly', '0 0 * * 0'],
  ['@weekdays', '0 0 * * 1-5'],
  ['@weekends', '0 0 * * 0,6'],
  ['@daily', '0 0 * * *'],
  ['@midnight', '0 0 * * *'],
  ['@hourly', '0 * * * *'],
  ['@minutely', '* * * * *'],
  ['@secondly', '* * * * * *'],
]);

/** Longer than every field with each of its values. The text is in each row of the ledger. */
const MAX_EXPRESSION = 1_000;

/** After 400 years the calendar repeats, with the same weekdays. The package ends with the year 3000. */
const CYCLE_MS = 146_097 * 86_400_000;
const CYCLE_START = Date.UTC(2000, 0, 1);

/** Syntax of one item of a field, such as `L`, `15W`, `5#2`, `+1`. The package checks which items a field allows. */
const ITEM = /^\+?(?:\*|\?|\w+)(?:-\w+)?(?:\/\d+)?(?:#\w+)?$/;
const WEEKDAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];

/**
 * Parses a cron expression. The package only computes the calendar, in UTC. This library converts its local times for all
 * time zones in the same way (see `cronTimes`).
 * @throws HedgeError INVALID_ARGUMENT
 */
export function cronCalendar(expression: string): CronCalendar {
  if (expression.length > MAX_EXPRESSION) throw notCron(expression, `it has more than ${MAX_EXPRESSION} characters`);
  const known = NICKNAMES.get(expression.trim().toLowerCase()) ?? expression;
  const fields = known.trim().split(/\s+/);
  if (fields.length < 5) throw notCron(expression, 'it has too few fields');
  if (fields.length > 6) throw notCron(expression, 'it has too many fields');
  for (const item of fields.flatMap((field) => field.split(','))) {
    if (!ITEM.test(item)) throw notCron(expression, `'${item}' is not a value, range or step`);
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
 * Replaces a day field that contains every day by `*`, so that only the other day field restricts the days. When both
 * restrict them, a day that matches either field fires.
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
    `'${expression.slice(0, 80)}' is not a cron expression: ${why}. Give five fields (minute, hour, day, month, weekday), or six with seconds first.`,
    { cause },
  );
}
