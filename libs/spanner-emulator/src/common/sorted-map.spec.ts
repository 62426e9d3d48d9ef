import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { SortedMap } from './sorted-map.js';

const key = fc.string({ unit: fc.constantFrom('a', 'b', 'c', '\0', '\u0100'), maxLength: 4 });
const change = fc.record({ key, remove: fc.boolean() });

describe('SortedMap', () => {
  it('behaves like a sorted Map, for every range and both directions', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 100 }), key, key, fc.boolean(), (changes, start, end, reverse) => {
        const map = new SortedMap<number>();
        const model = new Map<string, number>();
        for (const [i, { key: name, remove }] of changes.entries()) {
          if (remove) {
            map.delete(name);
            model.delete(name);
          } else {
            map.set(name, i);
            model.set(name, i);
          }
        }
        const expected = [...model]
          .filter(([name]) => name >= start && name < end)
          .sort(([a], [b]) => (a < b ? -1 : 1));
        if (reverse) expected.reverse();
        expect([...map.scan({ start, end }, reverse)]).toEqual(expected);
        expect(map.size).toBe(model.size);
      }),
    );
  });

  it('stays in order over many chunks, filled and emptied in any order', () => {
    const map = new SortedMap<number>();
    const count = 5_000;
    // A multiplier without a common divisor visits all numbers, in large steps.
    const name = (i: number) => ((i * 2_741) % count).toString().padStart(5, '0');
    for (let i = 0; i < count; i++) map.set(name(i), i);
    for (let i = 0; i < count; i += 2) map.delete(name(i));
    const keys = Array.from(map.scan({ start: '', end: 'x' }), ([one]) => one);
    expect(keys).toHaveLength(count / 2);
    expect(keys).toEqual([...keys].sort((a, b) => (a < b ? -1 : 1)));
    expect(Array.from(map.scan({ start: '', end: 'x' }, true), ([one]) => one)).toEqual(keys.reverse());
  });
});
