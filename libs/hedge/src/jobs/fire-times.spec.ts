import { describe, expect, it } from '@jest/globals';
import { cronTimes, intervalTimes, MAX_COUNTED, rangeOf } from './fire-times.js';

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
  it('are the whole multiples since 1970, the same for every pod', () => {
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

  it('fire once at the end of the gap, and once in the repeated hour, where clocks are set', () => {
    expect(timesOf('30 2 * * *', 'Europe/Warsaw', '2026-03-29T00:00:00Z', '2026-03-29T12:00:00Z')).toEqual([
      '01:00:00',
    ]);
    expect(timesOf('30 2 * * *', 'Europe/Warsaw', '2026-10-25T00:00:00Z', '2026-10-25T12:00:00Z')).toEqual([
      '00:30:00',
    ]);
    expect(timesOf('*/30 * * * *', 'Europe/Warsaw', '2026-10-25T00:00:00Z', '2026-10-25T02:00:00Z')).toEqual([
      '00:30:00',
      '01:00:00',
      '01:30:00',
      '02:00:00',
    ]);
  });

  it('always rise, also where a half hour is repeated', () => {
    const { nextAfter } = cronTimes('*/10 * * * *', 'Australia/Lord_Howe');
    for (let ms = at('2026-04-04T14:00:00Z'); ms < at('2026-04-04T16:00:00Z'); ms += 60_000) {
      expect(nextAfter(ms)).toBeGreaterThan(ms);
    }
  });

  it.each([
    ['bad', 'UTC', 'no cron expression'],
    ['* * * *', 'UTC', 'Too few fields'],
    ['61 * * * *', 'UTC', 'out of range'],
    ['0 0 30 2 *', 'UTC', 'never fires'],
    ['* * * * *', 'Nowhere/Else', 'no time zone'],
    ['* * * * *', '', 'the time zone'],
    [undefined as never, 'UTC', 'Give strings'],
  ])('refuse %p in %p', (expression, zone, complaint) => {
    expect(() => cronTimes(expression, zone)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(complaint) }),
    );
  });
});

describe('a range of firings', () => {
  it('ends with the last one in time', () => {
    const times = intervalTimes(1_000);
    expect(rangeOf(times, 1_000, 1_999)).toEqual({ first: 1_000, last: 1_000, count: 1 });
    expect(rangeOf(times, 1_000, 5_000)).toEqual({ first: 1_000, last: 5_000, count: 5 });
  });

  it('is found without counting when it is long', () => {
    const times = cronTimes('* * 3 * * *');
    const range = rangeOf(times, at('2026-01-01T03:00:00Z'), at('2026-06-01T12:00:00Z'));
    expect(range).toEqual({
      first: at('2026-01-01T03:00:00Z'),
      last: at('2026-06-01T03:59:59Z'),
      count: MAX_COUNTED,
    });
  });
});
