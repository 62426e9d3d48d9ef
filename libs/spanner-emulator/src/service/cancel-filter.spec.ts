import { describe, expect, it } from '@jest/globals';
import { CancelFilter } from './cancel-filter.js';

const frame = (type: number, stream: number, payload: readonly number[]): number[] => [
  0,
  payload.length >> 8,
  payload.length & 255,
  type,
  0,
  0,
  0,
  0,
  stream,
  ...payload,
];
const preface = [...Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')];
// The payload of DATA looks like a reset, but is not one.
const data = frame(0, 1, [...frame(3, 1, [0, 0, 0, 8]), ...Array.from({ length: 300 }, () => 3)]);
const input = [
  ...preface,
  ...frame(4, 0, []),
  ...data,
  ...frame(3, 1, [0, 0, 0, 8]),
  ...frame(3, 5, [0, 0, 0, 8]),
  ...frame(6, 0, [3, 3]),
];
const window = [0x3f, 0xff, 0xff, 0xff];
const expected = [
  ...preface,
  ...frame(4, 0, []),
  ...data,
  ...frame(8, 1, window),
  ...frame(8, 5, window),
  ...frame(6, 0, [3, 3]),
];

describe('the filter of cancellations', () => {
  it.each([1, 2, 3, 7, 10, 13, 64, 10_000])('replaces only resets, in chunks of %i bytes', (size) => {
    const filter = new CancelFilter();
    const bytes = Uint8Array.from(input);
    for (let i = 0; i < bytes.length; i += size) filter.apply(bytes.subarray(i, i + size));
    expect([...bytes]).toEqual(expected);
  });
});
