import { describe, expect, it } from '@jest/globals';
import { Temporal } from 'temporal-polyfill';
import { cronTimes } from '../../libs/hedge/src/jobs/fire-times.js';
import { TimeZone } from '../../libs/hedge/src/jobs/time-zone.js';

// Compares every change of the offset of every time zone, over eleven years, with Temporal. It checks zones with the same
// changes once, and each change with one fifth of the samples, which differ from change to change and from zone to zone.
// `ALL_ZONES=1 npm run jest -- test/jobs/time-zones` checks each zone with all samples, for some minutes.

const FROM = Temporal.Instant.from('2026-01-01T00:00Z');
const TO = Temporal.Instant.from('2037-01-01T00:00Z');
const [MINUTE, HOUR, DAY] = [60_000, 3_600_000, 86_400_000];

/** The time after the first instant, up to and including the second. */
type Window = readonly [number, number];

interface Change {
  readonly at: number;
  readonly before: number;
  readonly after: number;
}

interface Rules {
  readonly zone: string;
  readonly changes: readonly Change[];
}

/** An expression, and its meaning in another form. */
interface Sample {
  readonly expression: string;
  readonly hours: readonly number[];
  readonly minutes: readonly number[];
  readonly weekdays?: readonly number[];
}

const EVERY_HOUR = from(0, 23);

const FIXED: readonly Sample[] = [
  { expression: '0 3 * * *', hours: [3], minutes: [0] },
  { expression: '30 2 * * *', hours: [2], minutes: [30] },
  { expression: '0 0 * * *', hours: [0], minutes: [0] },
  { expression: '30 0 * * *', hours: [0], minutes: [30] },
  { expression: '45 1 * * *', hours: [1], minutes: [45] },
  { expression: '45 23 * * *', hours: [23], minutes: [45] },
  { expression: '15,45 1,2,3 * * *', hours: [1, 2, 3], minutes: [15, 45] },
  { expression: '0 0-5 * * *', hours: from(0, 5), minutes: [0] },
  { expression: '20-30 2 * * *', hours: [2], minutes: from(20, 30) },
  { expression: '0,30 0-23 * * *', hours: EVERY_HOUR, minutes: [0, 30] },
  { expression: '30 2 * * sun', hours: [2], minutes: [30], weekdays: [0] },
  { expression: '0 0,23 * * 1-5', hours: [0, 23], minutes: [0], weekdays: [1, 2, 3, 4, 5] },
];

const STEPS: readonly Sample[] = [
  { expression: '*/15 * * * *', hours: EVERY_HOUR, minutes: from(0, 45, 15) },
  { expression: '0 * * * *', hours: EVERY_HOUR, minutes: [0] },
  { expression: '0 */2 * * *', hours: from(0, 22, 2), minutes: [0] },
  { expression: '30 1-23/2 * * *', hours: from(1, 23, 2), minutes: [30] },
  { expression: '*/30 2 * * *', hours: [2], minutes: [0, 30] },
  { expression: '10/20 0-3 * * sun', hours: from(0, 3), minutes: [10, 30, 50], weekdays: [0] },
];

const zones = Intl.supportedValuesOf('timeZone').map(rulesOf);
const all = process.env['ALL_ZONES'] !== undefined;
const distinct = all ? zones : onePerRules(zones);
const changing = distinct.filter(({ changes }) => changes.length > 0);

describe('time zones', () => {
  it('all have the changes of offset that Temporal finds', () => {
    expect(changing.length).toBeGreaterThan(20);
    for (const { zone, changes } of distinct) {
      const found = new TimeZone(zone).changesIn(FROM.epochMilliseconds, TO.epochMilliseconds);
      expect({ zone, changes: found }).toEqual({ zone, changes });
    }
    for (const { zone, changes } of zones) {
      const rules = new TimeZone(zone);
      const found = changes.map(({ at }) => ({ at, before: rules.offsetAt(at - 1), after: rules.offsetAt(at) }));
      expect({ zone, changes: found }).toEqual({ zone, changes });
    }
  });

  it.each(FIXED)('at every change of the offset, $expression fires once a day', (sample) => {
    for (const { zone, change } of changesFor(sample)) {
      const window = [change.at - 27 * HOUR, change.at + 27 * HOUR] as const;
      compare({ sample, zone, change, window, expected: timesOfDays(sample, change, window) });
    }
  });

  it.each(STEPS)('at every change of the offset, $expression fires at every step of real time', (sample) => {
    for (const { zone, change } of changesFor(sample)) {
      const window = [change.at - 4 * HOUR, change.at + 4 * HOUR] as const;
      compare({ sample, zone, change, window, expected: timesOfSteps(sample, change, window) });
    }
  });

  it.each([...FIXED, ...STEPS])('without changes, $expression fires as in UTC, shifted by the offset', (sample) => {
    const utc = cronTimes(sample.expression);
    const [start, end] = [FROM.epochMilliseconds, FROM.epochMilliseconds + 8 * 24 * HOUR];
    for (const { zone } of distinct.filter(({ changes }) => changes.length === 0)) {
      const offset = new TimeZone(zone).offsetAt(start);
      const { nextAfter } = cronTimes(sample.expression, zone);
      for (let ms = start; ms < end; ms += 17 * HOUR + 11 * MINUTE + 1) {
        expect(nextAfter(ms)).toBe(utc.nextAfter(ms + offset)! - offset);
      }
    }
  });
});

function changesFor(sample: Sample): { zone: string; change: Change }[] {
  const turn = [...FIXED, ...STEPS].indexOf(sample);
  return changing.flatMap(({ zone, changes }, zoneIndex) =>
    changes.filter((_, index) => all || (zoneIndex + index + turn) % 5 === 0).map((change) => ({ zone, change })),
  );
}

/** Checks that from each firing, and from instants in between, the next firing is the first later expected one. */
function compare(of: { sample: Sample; zone: string; change: Change; window: Window; expected: number[] }): void {
  const { sample, zone, change, window, expected } = of;
  const { nextAfter } = cronTimes(sample.expression, zone);
  const found: number[] = [];
  for (let ms = nextAfter(window[0])!; ms <= window[1]; ms = nextAfter(ms)!) found.push(ms);
  const about = { zone, change: timeOf(change.at) };
  expect({ ...about, times: found.map(timeOf) }).toEqual({ ...about, times: expected.map(timeOf) });
  for (const offset of [-121 * MINUTE, -61 * MINUTE, -45 * MINUTE - 1, -1, 0, 1, 20 * MINUTE, 61 * MINUTE]) {
    const later = expected.find((ms) => ms > change.at + offset);
    if (later === undefined) continue;
    const next = timeOf(nextAfter(change.at + offset)!);
    expect({ ...about, offset, next }).toEqual({ ...about, offset, next: timeOf(later) });
  }
}

/** Each local time of each day once: the earlier one if it is repeated, the instant of the change if it is skipped. */
function timesOfDays({ hours, minutes, weekdays }: Sample, change: Change, [start, end]: Window): number[] {
  const times = new Set<number>();
  const firstDay = Math.floor(start / DAY) - 1;
  for (let day = firstDay * DAY; day < end + DAY; day += DAY) {
    if (weekdays?.includes(new Date(day).getUTCDay()) === false) continue;
    for (const local of hours.flatMap((hour) => minutes.map((minute) => day + hour * HOUR + minute * MINUTE))) {
      const [byBefore, byAfter] = [local - change.before, local - change.after];
      times.add(byBefore < change.at ? byBefore : Math.max(byAfter, change.at));
    }
  }
  return [...times].filter((ms) => ms > start && ms <= end).sort((a, b) => a - b);
}

/** Each instant at which the clocks of the zone show such a time, checked every minute. */
function timesOfSteps({ hours, minutes, weekdays }: Sample, change: Change, [start, end]: Window): number[] {
  const times: number[] = [];
  for (let ms = start + MINUTE; ms <= end; ms += MINUTE) {
    const local = new Date(ms + (ms < change.at ? change.before : change.after));
    if (!hours.includes(local.getUTCHours()) || !minutes.includes(local.getUTCMinutes())) continue;
    if (weekdays?.includes(local.getUTCDay()) !== false) times.push(ms);
  }
  return times;
}

function rulesOf(zone: string): Rules {
  const changes: Change[] = [];
  for (let now = FROM.toZonedDateTimeISO(zone); ;) {
    const next = now.getTimeZoneTransition('next');
    if (next === null || next.epochMilliseconds > TO.epochMilliseconds) return { zone, changes };
    const before = next.subtract({ nanoseconds: 1 }).offsetNanoseconds / 1e6;
    changes.push({ at: next.epochMilliseconds, before, after: next.offsetNanoseconds / 1e6 });
    now = next;
  }
}

function onePerRules(rules: readonly Rules[]): readonly Rules[] {
  const keyOf = ({ zone, changes }: Rules): string =>
    JSON.stringify([FROM.toZonedDateTimeISO(zone).offsetNanoseconds, changes]);
  return [...new Map(rules.map((each) => [keyOf(each), each])).values()];
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}

function from(first: number, last: number, step = 1): number[] {
  return Array.from({ length: Math.floor((last - first) / step) + 1 }, (_, index) => first + index * step);
}
