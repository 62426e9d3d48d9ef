import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { formatTimestamp, parseTimestamp } from './timestamps.js';

describe('timestamps', () => {
  it('are the same after formatting and parsing, to the nanosecond', () => {
    const first = parseTimestamp('0001-01-01T00:00:00Z')!;
    const last = parseTimestamp('9999-12-31T23:59:59.999999999Z')!;
    fc.assert(
      fc.property(fc.bigInt({ min: first, max: last }), (nanos) => {
        expect(parseTimestamp(formatTimestamp(nanos))).toBe(nanos);
      }),
    );
  });

  it.each([
    ['2024-01-01T00:00:00Z', '2024-01-01T00:00:00Z'],
    ['2024-1-1 0:0:0.5+00', '2024-01-01T00:00:00.500Z'],
    ['2024-01-01 00:00:00-05:30', '2024-01-01T05:30:00Z'],
    ['2024-02-29Z', '2024-02-29T00:00:00Z'],
    ['1969-12-31T23:59:59.000001Z', '1969-12-31T23:59:59.000001Z'],
  ])('are parsed from %s', (text, expected) => {
    expect(formatTimestamp(parseTimestamp(text)!)).toBe(expected);
  });

  it.each(['2024-02-30T00:00:00Z', '2024-01-01T24:00:00Z', '2024-01-01T00:00:00', 'now', '2024-13-01T00:00:00Z'])(
    '%s is refused',
    (text) => {
      expect(parseTimestamp(text)).toBeUndefined();
    },
  );
});
