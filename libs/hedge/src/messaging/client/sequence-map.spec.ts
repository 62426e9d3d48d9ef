import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { SequenceMap } from './sequence-map.js';

describe('SequenceMap', () => {
  it('behaves like a Map for any series of sets and deletes', () => {
    const sequence = fc.oneof(fc.nat(300), fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }));
    const action = fc.oneof(fc.record({ set: sequence }), fc.record({ delete: fc.nat(300) }));
    fc.assert(
      fc.property(fc.array(action, { maxLength: 200 }), (actions) => {
        const map = new SequenceMap<{ step: number }>();
        const model = new Map<number, { step: number }>();
        for (const [step, each] of actions.entries()) {
          if ('set' in each) {
            map.set(each.set, { step });
            model.set(each.set, { step });
          } else {
            expect(map.delete(each.delete)).toBe(model.delete(each.delete));
          }
        }
        expect(map.size).toBe(model.size);
        for (const [key, value] of model) expect(map.get(key)).toEqual(value);
        expect(new Set(map.keys())).toEqual(new Set(model.keys()));
        expect(new Set(map.values())).toEqual(new Set([...map.keys()].map((key) => map.get(key))));
      }),
    );
  });

  it('iterates over rising sequences in order', () => {
    const map = new SequenceMap<object>();
    const sequences = Array.from({ length: 1_000 }, (_, index) => index + 1);
    for (const sequence of sequences) map.set(sequence, {});
    expect([...map.keys()]).toEqual(sequences);
  });

  it('has no value for a sequence that was never set', () => {
    const map = new SequenceMap<object>();
    map.set(64, {});
    for (const sequence of [0, 63, 65, 128, -1, 0.5, Number.NaN, Infinity]) {
      expect(map.get(sequence)).toBeUndefined();
      expect(map.delete(sequence)).toBe(false);
    }
  });
});
