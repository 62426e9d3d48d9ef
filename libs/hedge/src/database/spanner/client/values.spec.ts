import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { formatTimestamp, parseTimestamp, rowLimit, timestampOf, toProto } from './values.js';

const FIRST = -62_135_596_800_000_000_000n;
const LAST = 253_402_300_799_999_999_999n;

describe('timestamps', () => {
  it.each([
    [0n, '1970-01-01T00:00:00.000000000Z'],
    [1_700_000_000_123_456_789n, '2023-11-14T22:13:20.123456789Z'],
    [-1n, '1969-12-31T23:59:59.999999999Z'],
    [FIRST, '0001-01-01T00:00:00.000000000Z'],
    [LAST, '9999-12-31T23:59:59.999999999Z'],
  ])('%s ns is %s', (nanos, text) => {
    expect(formatTimestamp(nanos)).toBe(text);
    expect(parseTimestamp(text)).toBe(nanos);
  });

  it('K2 keep every nanosecond in both directions', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: FIRST, max: LAST }), (nanos) => {
        expect(parseTimestamp(formatTimestamp(nanos))).toBe(nanos);
      }),
    );
  });

  it.each([
    ['2026-01-02T03:04:05Z', 1_767_323_045_000_000_000n],
    ['2026-01-02T03:04:05.5Z', 1_767_323_045_500_000_000n],
    ['2026-01-02T03:04:05.000001Z', 1_767_323_045_000_001_000n],
  ])('parse %s with any number of fractional digits', (text, nanos) => {
    expect(parseTimestamp(text)).toBe(nanos);
  });

  it('are clamped to the range of Spanner', () => {
    expect(formatTimestamp(2n ** 80n)).toBe(formatTimestamp(LAST));
    expect(formatTimestamp(-(2n ** 80n))).toBe(formatTimestamp(FIRST));
  });

  it('are 0 for NULL, and rejected when they are invalid', () => {
    expect(timestampOf(null)).toBe(0n);
    expect(timestampOf(undefined)).toBe(0n);
    expect(() => timestampOf('yesterday')).toThrow(/"yesterday"/);
  });
});

it('a limit of Infinity fits into INT64', () => {
  expect(rowLimit(Infinity)).toEqual({ code: 'INT64', value: '9007199254740991' });
  expect(rowLimit(3)).toEqual({ code: 'INT64', value: '3' });
});

describe('toProto', () => {
  it('protects a text that the client would take for a placeholder', () => {
    const { stringValue } = toProto('of {{projectId}}');
    expect(typeof stringValue).toBe('object');
    expect(Object.keys(stringValue as unknown as object)).toEqual([]);
    expect(String(stringValue)).toBe('of {{projectId}}');
    expect(toProto('of {{project}}')).toEqual({ stringValue: 'of {{project}}' });
  });
});
