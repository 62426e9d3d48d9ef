import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { linearize, type Operation } from './linearizability.js';

const write = (value: string | undefined, called: number, returned: number): Operation => ({
  kind: 'write',
  value,
  called,
  returned,
});
const read = (value: string | undefined, called: number, returned: number): Operation => ({
  kind: 'read',
  value,
  called,
  returned,
});

const cas = (expected: string | undefined, value: string | undefined, called: number, returned: number): Operation => ({
  kind: 'compare-and-set',
  expected,
  value,
  called,
  returned,
});

describe('linearize', () => {
  it.each<[string, Operation[]]>([
    ['nothing', []],
    ['a read before any write', [read(undefined, 0, 1), write('a', 2, 3)]],
    ['a read of either value during a write', [write('a', 0, 1), write('b', 2, 9), read('b', 3, 4), read('b', 5, 6)]],
    ['overlapping writes, read in one order', [write('a', 0, 9), write('b', 0, 9), read('b', 1, 2), read('a', 3, 4)]],
    [
      'an unknown write that happened late',
      [write('a', 0, 1), write('x', 2, Infinity), read('a', 3, 4), read('x', 5, 6)],
    ],
    ['an unknown write that never happened', [write('x', 0, Infinity), write('a', 1, 2), read('a', 3, 4)]],
    ['a compare-and-set of what was read', [write('a', 0, 1), cas('a', 'b', 2, 3), read('b', 4, 5)]],
    ['one that was refused, as a read', [write('a', 0, 1), cas('a', 'b', 2, 9), read('b', 3, 4), cas('b', 'c', 5, 6)]],
    [
      'an unknown one that happened late',
      [write('a', 0, 1), cas('a', 'x', 2, Infinity), read('a', 3, 4), read('x', 5, 6)],
    ],
    ['an unknown one that never happened', [write('a', 0, 1), cas('a', 'x', 2, Infinity), cas('a', 'b', 3, 4)]],
    [
      'one of an absent key, after a deletion',
      [cas(undefined, 'a', 0, 1), write(undefined, 2, 3), cas(undefined, 'b', 4, 5)],
    ],
  ])('explains %s', (_what, history) => {
    expect(linearize(history)).toBeDefined();
  });

  it.each<[string, Operation[]]>([
    ['a lost write', [write('a', 0, 1), read(undefined, 2, 3)]],
    ['two compare-and-sets of the same value', [write('a', 0, 1), cas('a', 'b', 2, 9), cas('a', 'c', 2, 9)]],
    ['one that overtook a write which had ended', [write('a', 0, 1), write('b', 2, 3), cas('a', 'c', 4, 5)]],
    [
      'an unknown one that happened although its value was gone',
      [write('a', 0, 1), cas('a', 'x', 2, Infinity), write('b', 3, 4), read('b', 5, 6), read('x', 7, 8)],
    ],
    ['one of an absent key that has a value', [write('a', 0, 1), cas(undefined, 'b', 2, 3)]],
    ['a stale read', [write('a', 0, 1), write('b', 2, 3), read('a', 4, 5)]],
    ['a read that goes back', [write('a', 0, 1), write('b', 2, 9), read('b', 3, 4), read('a', 5, 6)]],
    ['a value from nowhere', [write('a', 0, 1), read('z', 2, 3)]],
    ['a read of a write that was called later', [read('a', 0, 1), write('a', 2, 3)]],
    [
      'an unknown write that happened twice',
      [write('x', 0, Infinity), read('x', 1, 2), write('a', 3, 4), read('a', 5, 6), read('x', 7, 8)],
    ],
  ])('rejects %s', (_what, history) => {
    expect(linearize(history)).toBeUndefined();
  });

  it('explains any history of one register, however its calls overlap', () => {
    const step = fc.record({ isRead: fc.boolean(), before: fc.nat(5), after: fc.nat(5) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        let value: string | undefined;
        const history = steps.map(({ isRead, before, after }, moment): Operation => {
          if (!isRead) value = `${moment}`;
          return { kind: isRead ? 'read' : 'write', value, called: moment - before, returned: moment + after + 0.5 };
        });
        const order = linearize(history);
        expect(order).toHaveLength(history.length);
      }),
    );
  });
});
