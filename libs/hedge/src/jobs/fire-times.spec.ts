import { describe, expect, it, jest } from '@jest/globals';
import { Cron } from 'croner';
import { assertFires, cronTimes, intervalTimes, jitterOf, MAX_COUNTED, rangeOf } from './fire-times.js';

const at = (time: string): number => Date.parse(time);

/** The nominal times after one instant, up to another. */
function timesOf(expression: string, zone: string | undefined, from: string, to: string): string[] {
  const { nextAfter } = cronTimes(expression, zone);
  const times: string[] = [];
  for (let next = nextAfter(at(from)); next !== undefined && next <= at(to); next = nextAfter(next)) {
    times.push(new Date(next).toISOString().slice(11, 19));
  }
  return times;
}

describe('times of an interval', () => {
  it('are the multiples since 1970, the same on every pod', () => {
    const { nextAfter } = intervalTimes(7_000);
    expect([nextAfter(0), nextAfter(6_999), nextAfter(7_000), nextAfter(7_000.5)]).toEqual([
      7_000, 7_000, 14_000, 14_000,
    ]);
  });

  it.each([0, -1, 999, 1_000.5, Number.NaN, Infinity, '1000' as never])('refuse %p', (ms) => {
    expect(() => intervalTimes(ms)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });
});

describe('times of a cron expression', () => {
  it('are in UTC unless a time zone is named', () => {
    expect(timesOf('0 3 * * *', undefined, '2026-06-01T00:00:00Z', '2026-06-02T00:00:00Z')).toEqual(['03:00:00']);
    expect(timesOf('0 3 * * *', 'Europe/Warsaw', '2026-06-01T00:00:00Z', '2026-06-02T00:00:00Z')).toEqual(['01:00:00']);
  });

  it('may have seconds', () => {
    expect(timesOf('*/20 * * * * *', 'UTC', '2026-06-01T00:00:00.5Z', '2026-06-01T00:01:00Z')).toEqual([
      '00:00:20',
      '00:00:40',
      '00:01:00',
    ]);
  });

  it.each([
    // The hour from 02:00 is skipped on 29 March, and repeated on 25 October.
    ['30 2 * * *', 'Europe/Warsaw', '2026-03-29T00:00:00Z', ['01:00:00']],
    ['30 2 * * *', 'Europe/Warsaw', '2026-10-25T00:00:00Z', ['00:30:00']],
    ['0 3 * * *', 'Europe/Warsaw', '2026-03-29T00:00:00Z', ['01:00:00']],
    ['0 3 * * *', 'Europe/Warsaw', '2026-10-25T00:00:00Z', ['02:00:00']],
    ['0 2,14 * * *', 'Europe/Warsaw', '2026-03-29T00:00:00Z', ['01:00:00', '12:00:00']],
    // A range that is skipped as a whole fires once.
    ['10-50 2 * * *', 'Europe/Warsaw', '2026-03-29T00:00:00Z', ['01:00:00']],
    ['30 2 * * sun', 'Europe/Warsaw', '2026-03-29T00:00:00Z', ['01:00:00']],
    ['15 30 2 * * *', 'Europe/Warsaw', '2026-10-25T00:00:00Z', ['00:30:15']],
    // Clocks go from 23:00 to midnight, so a time of the old day fires on the new day.
    ['45 23 * * *', 'America/Nuuk', '2027-03-28T00:00:00Z', ['01:00:00']],
    // Clocks go back to 23:00 at midnight.
    ['30 23 * * *', 'America/Santiago', '2027-04-04T00:00:00Z', ['02:30:00']],
    ['0 0 * * *', 'America/Santiago', '2027-04-04T00:00:00Z', ['04:00:00']],
    // Half an hour is repeated.
    ['45 1 * * *', 'Australia/Lord_Howe', '2027-04-03T12:30:00Z', ['14:45:00']],
  ])('fire a fixed local time once a day: %s in %s on the day of %s', (expression, zone, from, times) => {
    const end = new Date(at(from) + 12.5 * 3_600_000).toISOString();
    expect(timesOf(expression, zone, from, end)).toEqual(times);
  });

  it.each([
    ['*/30 * * * *', 'Europe/Warsaw', '2026-10-25T00:00:00Z', ['00:30:00', '01:00:00', '01:30:00', '02:00:00']],
    ['*/30 2 * * *', 'Europe/Warsaw', '2026-10-24T23:30:00Z', ['00:00:00', '00:30:00', '01:00:00', '01:30:00']],
    ['*/30 2 * * *', 'Europe/Warsaw', '2026-03-29T00:00:00Z', []],
    ['0 * * * *', 'Australia/Lord_Howe', '2027-04-03T13:30:00Z', ['14:00:00', '15:30:00']],
    ['*/30 * * * *', 'Australia/Lord_Howe', '2027-04-03T14:00:00Z', ['14:30:00', '15:00:00', '15:30:00', '16:00:00']],
    [
      '*/15 * * * *',
      'Australia/Sydney',
      '2027-04-03T15:30:00Z',
      ['15:45:00', '16:00:00', '16:15:00', '16:30:00', '16:45:00', '17:00:00', '17:15:00', '17:30:00'],
    ],
  ])('fire a step or wildcard whenever clocks show it: %s in %s after %s', (expression, zone, from, times) => {
    const end = new Date(at(from) + 2 * 3_600_000).toISOString();
    expect(timesOf(expression, zone, from, end)).toEqual(times);
  });

  it('omit a day that the zone skips when it changes its side of the date line', () => {
    const { nextAfter } = cronTimes('0 3 * * *', 'Pacific/Apia');
    const [first = 0] = [nextAfter(at('2011-12-29T12:00:00Z'))];
    expect([first, nextAfter(first)]).toEqual([at('2011-12-29T13:00:00Z'), at('2011-12-30T13:00:00Z')]);
  });

  it('always rise, also when half an hour is repeated', () => {
    const { nextAfter } = cronTimes('*/10 * * * *', 'Australia/Lord_Howe');
    for (let ms = at('2026-04-04T14:00:00Z'); ms < at('2026-04-04T16:00:00Z'); ms += 60_000) {
      expect(nextAfter(ms)).toBeGreaterThan(ms);
    }
  });

  it.each([
    ['2999-06-01T00:00:00Z', '2999-12-31T15:00:00Z'],
    ['9999-06-01T00:00:00Z', '9999-12-31T15:00:00Z'],
    ['+012000-06-01T00:00:00Z', '+012000-12-31T15:00:00Z'],
  ])('exist in any year: after %s', (from, next) => {
    expect(cronTimes('@yearly', 'Asia/Tokyo').nextAfter(at(from))).toBe(at(next));
  });

  it('are computed once, also when lists of the next ones are asked for again and again', () => {
    const search = jest.spyOn(Cron.prototype, 'nextRun');
    const { nextAfter } = cronTimes('0 3 * * *', 'Europe/Warsaw');
    const list = (from: number): (number | undefined)[] => {
      const times: (number | undefined)[] = [];
      for (let last: number | undefined = from; times.length < 20 && last !== undefined;) {
        last = nextAfter(last);
        times.push(last);
      }
      return times;
    };
    const from = Date.UTC(2026, 0, 1);
    const first = list(from);
    const { length } = search.mock.calls;
    expect(list(from + 1_000)).toEqual(first);
    // As a scheduler, which asks from its last firing.
    expect([nextAfter(first[3]!), nextAfter(first[3]! + 5)]).toEqual([first[4], first[4]]);
    expect(search.mock.calls).toHaveLength(length);
    expect(nextAfter(from - 1_000)).toBe(first[0]);
    expect(list(from)).toEqual(first);
    expect(search.mock.calls).toHaveLength(length + 1);
    search.mockRestore();
    const other = cronTimes('0 3 * * *', 'Europe/Warsaw');
    expect(first).toEqual(first.map((_, index) => other.nextAfter(index === 0 ? from : first[index - 1]!)));
  });

  it('end where the dates of JavaScript end', () => {
    const { nextAfter } = cronTimes('@yearly', 'Asia/Tokyo');
    expect([nextAfter(8.64e15), nextAfter(Infinity), nextAfter(Number.NaN)]).toEqual([undefined, undefined, undefined]);
  });

  it.each([
    // Day and weekday: a day that matches either fires. A field with every day restricts nothing.
    ['0 0 15 * 1', '2026-06-08 2026-06-15 2026-06-22'],
    ['0 0 10 * 1', '2026-06-08 2026-06-10 2026-06-15'],
    ['0 0 1-31 * 1', '2026-06-08 2026-06-15 2026-06-22'],
    ['0 0 */1 * 1', '2026-06-08 2026-06-15 2026-06-22'],
    ['0 0 10 * 0-6', '2026-06-10 2026-07-10 2026-08-10'],
    ['0 0 10 * sun,1-6', '2026-06-10 2026-07-10 2026-08-10'],
    ['0 0 ? * 1', '2026-06-08 2026-06-15 2026-06-22'],
    // A step restricts, unlike in crontab(5).
    ['0 0 */2 * 1', '2026-06-03 2026-06-05 2026-06-07'],
    ['0 0 13 * +FRI', '2026-11-13 2027-08-13 2028-10-13'],
    ['0 0 20/5 * *', '2026-06-20 2026-06-25 2026-06-30'],
    ['0 0 * * 0', '2026-06-07 2026-06-14 2026-06-21'],
    ['0 0 * * 7', '2026-06-07 2026-06-14 2026-06-21'],
    ['0 0 * * Fri-7', '2026-06-05 2026-06-06 2026-06-07'],
    ['0 0 1 JAN,jul *', '2026-07-01 2027-01-01 2027-07-01'],
    ['0 0 L * *', '2026-06-30 2026-07-31 2026-08-31'],
    ['0 0 15W * *', '2026-06-15 2026-07-15 2026-08-14'],
    ['0 0 LW * *', '2026-06-30 2026-07-31 2026-08-31'],
    ['0 0 * * 5#2', '2026-06-12 2026-07-10 2026-08-14'],
    ['0 0 * * MON#L', '2026-06-29 2026-07-27 2026-08-31'],
    ['0 0 29 2 *', '2028-02-29 2032-02-29 2036-02-29'],
    ['@yearly', '2027-01-01 2028-01-01 2029-01-01'],
    ['@annually', '2027-01-01 2028-01-01 2029-01-01'],
    ['@monthly', '2026-07-01 2026-08-01 2026-09-01'],
    ['@weekly', '2026-06-07 2026-06-14 2026-06-21'],
    ['@weekdays', '2026-06-03 2026-06-04 2026-06-05'],
    ['@weekends', '2026-06-06 2026-06-07 2026-06-13'],
    ['@Daily', '2026-06-03 2026-06-04 2026-06-05'],
    ['@midnight', '2026-06-03 2026-06-04 2026-06-05'],
  ])('can express days in many ways: %s', (expression, days) => {
    const { nextAfter } = cronTimes(expression);
    const found: string[] = [];
    for (let ms = at('2026-06-02T12:00:00Z'); found.length < 3;) {
      ms = nextAfter(ms)!;
      found.push(new Date(ms).toISOString().slice(0, 10));
    }
    expect(found.join(' ')).toBe(days);
  });

  it.each([
    ['@hourly', '13:00:00'],
    ['@minutely', '12:01:00'],
    ['@secondly', '12:00:01'],
    ['10/25 * * * *', '12:10:00'],
    ['*/40 5,7 * * * *', '12:05:00'],
  ])('can express times of the day in many ways: %s', (expression, time) => {
    expect(timesOf(expression, 'UTC', '2026-06-01T12:00:00Z', '2026-06-01T13:00:00Z')[0]).toBe(time);
  });

  it.each([
    ['bad', 'UTC', 'not a cron expression'],
    ['* * * *', 'UTC', 'too few fields'],
    ['61 * * * *', 'UTC', 'Invalid value for minute: 61'],
    ['0 0 30 2 *', 'UTC', 'never fires'],
    ['0 0 31 4,6,9,11 *', 'UTC', 'never fires'],
    ['0 0 0 * *', 'UTC', 'not a cron expression'],
    ['0 0 * * 8', 'UTC', 'not a cron expression'],
    ['0 0 * * sunday', 'UTC', 'not a cron expression'],
    ['5-1 * * * *', 'UTC', 'not a cron expression'],
    ['/5 * * * *', 'UTC', 'not a cron expression'],
    ['*/0 * * * *', 'UTC', 'not a cron expression'],
    ['1,,2 * * * *', 'UTC', 'not a cron expression'],
    ['2027-01-01T00:00:00', 'UTC', 'too few fields'],
    ['0 0 0 1 1 * 2027', 'UTC', 'too many fields'],
    ['@reboot', 'UTC', 'not a cron expression'],
    ['* * * * *', 'local', 'not a time zone'],
    ['* * * * *', 'Nowhere/Else', 'not a time zone'],
    ['* * * * *', '', 'the time zone'],
    [undefined as never, 'UTC', 'Give strings'],
  ])('refuse %p in %p', (expression, zone, complaint) => {
    expect(() => assertFires(cronTimes(expression, zone))).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(complaint) }),
    );
  });
});

describe('a range of firings', () => {
  it('ends with the last firing up to the given time', () => {
    const times = intervalTimes(1_000);
    expect(rangeOf(times, 1_000, 1_999)).toEqual({ first: 1_000, last: 1_000, count: 1 });
    expect(rangeOf(times, 1_000, 5_000)).toEqual({ first: 1_000, last: 5_000, count: 5 });
  });

  it('is found without counting every firing when it is long', () => {
    const times = cronTimes('* * 3 * * *');
    const range = rangeOf(times, at('2026-01-01T03:00:00Z'), at('2026-06-01T12:00:00Z'));
    expect(range).toEqual({
      first: at('2026-01-01T03:00:00Z'),
      last: at('2026-06-01T03:59:59Z'),
      count: MAX_COUNTED,
    });
  });
});

function delays(seed: string): number[] {
  return Array.from({ length: 2_000 }, (_, n) => jitterOf(seed, n * 60_000, 9_999));
}

describe('the jitter of a firing', () => {
  it('is the same on each pod, and another for each job', () => {
    expect(delays('g/a')).toEqual(delays('g/a'));
    expect(delays('g/a').filter((ms, n) => ms === delays('g/b')[n]).length).toBeLessThan(20);
    expect(jitterOf('g/a', 0, 0)).toBe(0);
  });

  it('is spread evenly over its whole range', () => {
    const tenths = Array.from({ length: 10 }, () => 0);
    for (const ms of delays('orders/nightly')) tenths[Math.floor(ms / 1_000)]! += 1;
    // 200 in each, with a standard deviation of 13.
    for (const count of tenths) expect(Math.abs(count - 200)).toBeLessThan(70);
  });
});
