import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { compareNullable, type ScalarType, type Value } from '../sql/types.js';
import { encodeKey, encodePart, pointRange, prefixRange, startsWithRange, type KeyColumn } from './key-encoding.js';

const VALUES: Readonly<Record<ScalarType, fc.Arbitrary<Value>>> = {
  STRING: fc.string({ unit: fc.constantFrom('a', 'b', '\0', '\x01', '\xff', 'é', '\uffee', '😀') }),
  BYTES: fc.uint8Array({ maxLength: 4 }),
  INT64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  FLOAT64: fc.double(),
  BOOL: fc.boolean(),
  TIMESTAMP: fc.bigInt({ min: -62_135_596_800_000_000_000n, max: 253_402_300_799_999_999_999n }),
};
const part = (type: ScalarType, descending: boolean): KeyColumn => ({ column: 0, type, descending });

const inside = (range: { start: string; end: string }, key: string) => key >= range.start && key < range.end;

describe('key encoding', () => {
  it.each((Object.keys(VALUES) as ScalarType[]).flatMap((type) => [false, true].map((desc) => [type, desc] as const)))(
    'orders %s as its values do (descending: %s)',
    (type, descending) => {
      const value = fc.option(VALUES[type], { freq: 10 });
      fc.assert(
        fc.property(value, value, (a, b) => {
          const [x, y] = [encodePart(a, part(type, descending)), encodePart(b, part(type, descending))];
          // -0 is 0 in a key.
          const order = a === 0 && b === 0 ? 0 : Math.sign(compareNullable(a, b));
          expect(x === y ? 0 : x < y ? -1 : 1).toBe(order === 0 ? 0 : descending ? -order : order);
        }),
      );
    },
  );

  it('orders keys of several parts part by part', () => {
    const columns = [part('STRING', false), part('STRING', true)];
    const text = VALUES.STRING;
    fc.assert(
      fc.property(text, text, text, text, (a, b, c, d) => {
        const [x, y] = [encodeKey([a, b], columns), encodeKey([c, d], columns)];
        const order = Math.sign(compareNullable(a, c)) || -Math.sign(compareNullable(b, d));
        expect(x === y ? 0 : x < y ? -1 : 1).toBe(order === 0 ? 0 : order);
      }),
    );
  });

  it('returns ranges that contain exactly the keys with a prefix', () => {
    const columns = [part('STRING', false), part('INT64', false)];
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '\0') });
    fc.assert(
      fc.property(text, text, fc.boolean(), (a, b, descending) => {
        const key = encodeKey([b, 1n], columns);
        expect(inside(prefixRange(encodeKey([a], columns)), key)).toBe(a === b);
        expect(inside(pointRange(encodeKey([a, 1n], columns)), key)).toBe(a === b);
        const range = startsWithRange('', a, part('STRING', descending));
        expect(inside(range, encodePart(b, part('STRING', descending)))).toBe(b.startsWith(a));
      }),
    );
  });
});
