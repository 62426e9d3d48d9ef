import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { Extents, type Extent } from './extents.js';

describe('Extents', () => {
  it('P2: never lets two ranges overlap, and grows only when no hole is long enough', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.integer({ min: 1, max: 5 }),
            fc.nat(9).map((index) => ({ index })),
          ),
        ),
        fc.nat(20),
        (steps, keep) => {
          const extents = new Extents();
          const taken: Extent[] = [];
          for (const step of steps) {
            if (typeof step === 'object') {
              const [freed] = taken.splice(step.index, 1);
              if (freed !== undefined) extents.free(freed);
              continue;
            }
            const [end, growth] = [extents.end, extents.growth(step)];
            expect(growth).toBe(longestHole(taken, end) >= step ? 0 : step);
            taken.push(extents.allocate(step));
            expect(extents.end).toBe(end + growth);
            expect(longestHole(taken, extents.end)).toBeGreaterThanOrEqual(0);
          }
          const before = extents.end;
          expect(extents.trim(keep)).toBe(before - extents.end);
          const last = Math.max(0, ...taken.map(({ offset, length }) => offset + length));
          expect(extents.end).toBe(Math.min(before, Math.max(last, keep)));
        },
      ),
    );
  });
});

/** The lengths of the gaps between the ranges; negative when they overlap. */
function longestHole(taken: readonly Extent[], end: number): number {
  let [at, longest] = [0, 0];
  for (const { offset, length } of [...taken].sort((a, b) => a.offset - b.offset)) {
    if (offset < at) return -1;
    longest = Math.max(longest, offset - at);
    at = offset + length;
  }
  return at > end ? -1 : Math.max(longest, end - at);
}
