import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { Deadlines, type Timed } from './deadlines.js';

const SLOT_MS = 10;

describe('Deadlines', () => {
  it('returns each expired item once, never early, and at most one slot late', () => {
    const deadlines = new Deadlines<Timed>();
    const item = { deadline: 1_003, place: 0 };
    deadlines.add(item);
    expect(deadlines.takeExpired(1_002)).toEqual([]);
    expect(deadlines.takeExpired(1_003 + SLOT_MS)).toEqual([item]);
    expect(deadlines.takeExpired(5_000)).toEqual([]);
    expect(deadlines.size).toBe(0);
  });

  it('returns an item that was added after its deadline', () => {
    const deadlines = new Deadlines<Timed>();
    deadlines.takeExpired(10_000);
    deadlines.add({ deadline: 500, place: 0 });
    expect(deadlines.takeExpired(10_000)).toHaveLength(1);
  });

  it('behaves like a plain list of deadlines for any series of additions, deletions and times', () => {
    const action = fc.oneof(
      fc.record({ add: fc.integer({ min: 0, max: 3_000 }) }),
      fc.record({ delete: fc.nat(50) }),
      fc.record({ pass: fc.integer({ min: 0, max: 700 }) }),
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80 }), (actions) => {
        const deadlines = new Deadlines<Timed>();
        let model: Timed[] = [];
        let now = 0;
        for (const step of actions) {
          if ('add' in step) {
            const item = { deadline: now + step.add, place: 0 };
            deadlines.add(item);
            model.push(item);
          } else if ('delete' in step) {
            const item = model[step.delete];
            if (item !== undefined) expect(deadlines.delete(item)).toBe(true);
            model = model.filter((other) => other !== item);
          } else {
            now += step.pass;
            const expired = new Set(deadlines.takeExpired(now));
            for (const item of model) {
              if (expired.has(item)) expect(item.deadline).toBeLessThanOrEqual(now);
              else expect(item.deadline).toBeGreaterThan(now - SLOT_MS);
            }
            model = model.filter((item) => !expired.has(item));
          }
          expect(deadlines.size).toBe(model.length);
        }
        expect(new Set(deadlines.takeAll())).toEqual(new Set(model));
      }),
    );
  });
});
