import { HedgeError } from '../common/errors.js';
import { cronCalendar, type CronCalendar } from './cron-calendar.js';
import { TimeZone } from './time-zone.js';

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
/** Where dates of JavaScript end, less some centuries for the search. */
const LAST_MS = Date.UTC(275_000, 0, 1);
const DAY_MS = 86_400_000;
/** About 68 years. */
const MAX_INTERVAL_MS = 2 ** 31 * 1_000;

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
 * Where clocks are set, a fixed local time (numbers, ranges and lists of them for hour and minute) fires once on every day: when
 * the zone's clocks first show it, or skip it. An expression with `*` or a step in hour, minute or second fires whenever
 * the zone's clocks show such a time: through a repeated hour too, and not in one that is skipped.
 *
 * @param timeZone an IANA name. Default: UTC rather than the pod's own, for two pods may not have the same.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function cronTimes(expression: string, timeZone = 'UTC'): FireTimes {
  if (typeof expression !== 'string' || typeof timeZone !== 'string' || timeZone === '') {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `The cron expression is ${show(expression)} and the time zone ${show(timeZone)}. Give strings, as '0 3 * * *' and 'Europe/Warsaw'.`,
    );
  }
  const [zone, calendar] = [zoneOf(timeZone), cronCalendar(expression)];
  const next = calendar.fixed ? nextOfDay : nextStep;
  // The last answer, which holds from where it was looked for up to itself.
  let [from, found] = [Infinity, -Infinity];
  const nextAfter = (ms: number): number | undefined => {
    if (ms >= from && ms < found) return found;
    if (!(ms < LAST_MS)) return undefined;
    const at = next(calendar, zone, Math.floor(ms));
    if (at !== undefined) [from, found] = [Math.floor(ms), at];
    return at;
  };
  if (nextAfter(Date.now()) === undefined) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `The cron expression '${expression}' never fires: no year has such a day. Check its day and month.`,
    );
  }
  return { text: `${expression} ${timeZone}`, nextAfter };
}

/** The next time of a day that the zone's clocks have neither shown yet nor skipped. */
function nextOfDay(calendar: CronCalendar, zone: TimeZone, ms: number): number | undefined {
  for (let local = calendar.nextAfter(zone.latestLocalTime(ms)); local !== undefined;) {
    const at = zone.firstInstant(local);
    const nextDay = (Math.floor(local / DAY_MS) + 1) * DAY_MS;
    // A zone that changes its side of the date line has a day less: that one has no times.
    const dayIsSkipped = zone.changesIn(at - 1, at).some(({ before }) => at + before <= nextDay - DAY_MS);
    if (!dayIsSkipped || zone.localTime(at) < nextDay) return at;
    local = calendar.nextAfter(nextDay - 1);
  }
  return undefined;
}

/** The next instant at which the zone's clocks show such a time, looked for from one change of its offset to the next. */
function nextStep(calendar: CronCalendar, zone: TimeZone, ms: number): number | undefined {
  for (let [from, offset] = [ms, zone.offsetAt(ms)]; ;) {
    const local = calendar.nextAfter(from + offset);
    if (local === undefined) return undefined;
    const change = zone.firstChange(from, local - offset);
    if (change === undefined) return local - offset;
    const { at, after } = change;
    if (calendar.nextAfter(at + after - 1) === at + after) return at;
    [from, offset] = [at, after];
  }
}

/** One for all jobs of a zone; only names of the time zone database come in. */
const ZONES = new Map<string, TimeZone>();

function zoneOf(name: string): TimeZone {
  const known = ZONES.get(name);
  if (known !== undefined) return known;
  try {
    const zone = new TimeZone(name);
    ZONES.set(name, zone);
    return zone;
  } catch (cause) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `'${name.slice(0, 80)}' is no time zone. Give a name of the IANA list, as 'Europe/Warsaw'.`,
      { cause },
    );
  }
}

function show(value: unknown): string {
  return typeof value === 'string'
    ? `'${value}'`
    : value === undefined
      ? 'undefined'
      : `a value of type ${typeof value}`;
}

/** The most nominal times that are counted one by one: each may cost a tenth of a millisecond with cron. */
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
