import { HedgeError } from '../common/errors.js';
import { cronCalendar, type CronCalendar } from './cron-calendar.js';
import { TimeZone } from './time-zone.js';

/**
 * The nominal times of a job, in milliseconds since 1970. All pods compute the same times, so that a nominal time
 * identifies one firing in the whole group.
 */
export interface FireTimes {
  /** The declaration of the times, for the ledger. A different text is a different timetable. */
  readonly text: string;
  /** The first nominal time after `ms`; undefined when there is none. */
  nextAfter(ms: number): number | undefined;
}

/** The shortest interval, in milliseconds, as with cron. For work that runs more often, use a loop in `@WhileLeader`. */
const MIN_INTERVAL_MS = 1_000;
/** The end of the dates of JavaScript, minus some centuries for the search. */
const LAST_MS = Date.UTC(275_000, 0, 1);
const DAY_MS = 86_400_000;
/** The times that each cron expression keeps. */
const MAX_KNOWN = 100;
/** About 68 years. */
const MAX_INTERVAL_MS = 2 ** 31 * 1_000;

/**
 * The multiples of an interval since 1970. So all pods agree without a stored start time.
 * @param jitterMs of the job, only to compare it with the interval
 * @throws HedgeError INVALID_ARGUMENT
 */
export function intervalTimes(everyMs: number, jitterMs = 0): FireTimes {
  if (!Number.isInteger(everyMs) || everyMs < MIN_INTERVAL_MS || everyMs > MAX_INTERVAL_MS) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `The interval is ${String(everyMs)}. Give a whole number of milliseconds from ${MIN_INTERVAL_MS} to ${MAX_INTERVAL_MS}. For work that runs more often, write a loop in @WhileLeader.`,
    );
  }
  if (jitterMs >= everyMs) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `jitterMs is ${String(jitterMs)}, and the interval ${everyMs} ms. Give less than the interval.`,
    );
  }
  return { text: `every ${everyMs} ms`, nextAfter: (ms) => (Math.floor(ms / everyMs) + 1) * everyMs };
}

/**
 * The times of a cron expression: five fields, or six with seconds first, or a name such as `@daily`.
 *
 * When clocks change, a fixed local time (hour and minute are numbers, ranges and lists) fires once on every day: when the
 * clocks of the zone first show it, or skip it. An expression with `*` or a step in hour, minute or second fires whenever
 * the clocks of the zone show such a time: twice in a repeated hour, and not in a skipped hour.
 *
 * @param timeZone an IANA name. Default: UTC, and not the time zone of the pod, because pods can have different ones.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function cronTimes(expression: string, timeZone = 'UTC'): FireTimes {
  if (typeof expression !== 'string' || typeof timeZone !== 'string' || timeZone === '') {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `The cron expression is ${show(expression)} and the time zone ${show(timeZone)}. Give strings, such as '0 3 * * *' and 'Europe/Warsaw'.`,
    );
  }
  const [zone, calendar] = [zoneOf(timeZone), cronCalendar(expression)];
  const next = calendar.fixed ? nextOfDay : nextStep;
  // The times after `from` without a gap, so that a list of all jobs does not compute them anew each time.
  let from = Infinity;
  let known: number[] = [];
  const nextAfter = (ms: number): number | undefined => {
    const found = ms >= from ? known.find((time) => time > ms) : undefined;
    if (found !== undefined) return found;
    if (!(ms < LAST_MS)) return undefined;
    const at = next(calendar, zone, Math.floor(ms));
    if (at === undefined) return undefined;
    if (at === known[0]) {
      from = Math.floor(ms);
      return at;
    }
    if (ms !== known.at(-1)) [from, known] = [Math.floor(ms), []];
    known.push(at);
    if (known.length > MAX_KNOWN) from = known.shift() ?? from;
    return at;
  };
  return { text: `${expression} ${timeZone}`, nextAfter };
}

/**
 * Checks that there is a next time. The search can take milliseconds, so it is made for a new timetable only.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function assertFires(times: FireTimes): FireTimes {
  if (times.nextAfter(Date.now()) !== undefined) return times;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `The cron expression '${times.text}' never fires: no year has such a day. Correct its day and month.`,
  );
}

/** The next fixed time that the clocks of the zone have neither shown nor skipped yet. */
function nextOfDay(calendar: CronCalendar, zone: TimeZone, ms: number): number | undefined {
  for (let local = calendar.nextAfter(zone.latestLocalTime(ms)); local !== undefined;) {
    const at = zone.firstInstant(local);
    const nextDay = (Math.floor(local / DAY_MS) + 1) * DAY_MS;
    // A zone that changes its side of the date line skips a whole day: that day has no times.
    const dayIsSkipped = zone.changesIn(at - 1, at).some(({ before }) => at + before <= nextDay - DAY_MS);
    if (!dayIsSkipped || zone.localTime(at) < nextDay) return at;
    local = calendar.nextAfter(nextDay - 1);
  }
  return undefined;
}

/** The next instant at which the clocks of the zone show such a time. Searches from one change of the offset to the next. */
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

/** One object for all jobs of a zone. Contains only names of the time zone database. */
const ZONES = new Map<string, TimeZone>();

function zoneOf(name: string): TimeZone {
  // The names have no case.
  const known = ZONES.get(name.toLowerCase());
  if (known !== undefined) return known;
  try {
    const zone = new TimeZone(name);
    ZONES.set(name.toLowerCase(), zone);
    return zone;
  } catch (cause) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `'${name.slice(0, 80)}' is not a time zone. Give a name of the IANA list, such as 'Europe/Warsaw'.`,
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

/**
 * The delay of a firing: a number from 0 to `maxMs` that looks random, and is the same on all pods. So a change of the leader
 * does not choose it anew.
 * @param seed different for each job, so that jobs with one timetable do not start together
 */
export function jitterOf(seed: string, fireTime: number, maxMs: number): number {
  // FNV-1a, and then the finalizer of MurmurHash3, because FNV mixes the last characters too little.
  let hash = 0x811c9dc5;
  for (const character of `${seed} ${fireTime}`) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return Math.floor((((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32) * (maxMs + 1));
}

/** Limit of the nominal times that are counted one by one: with cron, each can take a tenth of a millisecond. */
export const MAX_COUNTED = 100;

/** A range of consecutive nominal times. */
export interface FiringRange {
  readonly first: number;
  readonly last: number;
  /** The number of nominal times. `MAX_COUNTED` means that many or more. */
  readonly count: number;
}

/** The range of nominal times from `first`, which is one, up to `until`. */
export function rangeOf({ nextAfter }: FireTimes, first: number, until: number): FiringRange {
  let last = first;
  for (let count = 1; count < MAX_COUNTED; count += 1) {
    const next = nextAfter(last);
    if (next === undefined || next > until) return { first, last, count };
    last = next;
  }
  // Too many to count. Finds by bisection the last instant with a later nominal time up to `until`.
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
