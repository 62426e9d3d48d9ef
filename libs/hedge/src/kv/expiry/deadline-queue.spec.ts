import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { DeadlineQueue, type Queued } from './deadline-queue.js';

describe('DeadlineQueue', () => {
  it('has the item with the earliest deadline first, for any series of additions and deletions', () => {
    const action = fc.oneof(fc.record({ add: fc.integer({ min: 0, max: 50 }) }), fc.record({ delete: fc.nat(60) }));
    fc.assert(
      fc.property(fc.array(action, { maxLength: 150 }), (actions) => {
        const queue = new DeadlineQueue<Queued>();
        const model: Queued[] = [];
        const gone: Queued[] = [];
        for (const step of actions) {
          if ('add' in step) {
            const item = { deadline: step.add, place: 0 };
            queue.add(item);
            model.push(item);
          } else {
            const [item] = step.delete % 3 === 0 && queue.first ? [queue.first] : model.slice(step.delete);
            if (item === undefined) continue;
            expect(queue.delete(item)).toBe(true);
            gone.push(...model.splice(model.indexOf(item), 1));
          }
          expect(queue.size).toBe(model.length);
          expect(queue.first?.deadline).toBe(
            model.length === 0 ? undefined : Math.min(...model.map(({ deadline }) => deadline)),
          );
          for (const item of gone) expect(queue.delete(item)).toBe(false);
        }
      }),
    );
  });
});
