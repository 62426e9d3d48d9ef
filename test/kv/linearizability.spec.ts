import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { linearize, readOf, writeOf, type Operation, type Values } from './linearizability.js';

const write = (k: string | undefined, called: number, returned: number): Operation => writeOf({ k }, called, returned);

const read = (k: string | undefined, called: number, returned: number): Operation => readOf({ k }, called, returned);

const cas = (expected: string | undefined, k: string | undefined, called: number, returned: number): Operation =>
  writeOf({ k }, called, returned, { k: expected });

/** A transaction of several keys. */
const transaction = (found: Values, wrote: Values, called: number, returned: number): Operation =>
  writeOf(wrote, called, returned, found);

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
    [
      'a transaction, read key by key before and after it',
      [
        transaction({ k: undefined }, { k: '1', l: '1' }, 0, 9),
        readOf({ l: undefined }, 1, 2),
        read(undefined, 1, 2),
        readOf({ l: '1' }, 3, 4),
        read('1', 5, 6),
      ],
    ],
    [
      'a transaction under a condition of a key that it does not write',
      [write('on', 0, 1), transaction({ k: 'on' }, { l: '1' }, 2, 9), write('off', 3, 4), readOf({ l: '1' }, 5, 6)],
    ],
    [
      'an unknown transaction that happened late',
      [transaction({}, { k: 'x', l: 'x' }, 0, Infinity), read(undefined, 1, 2), readOf({ k: 'x', l: 'x' }, 3, 4)],
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
    [
      'a transaction of which only a part happened',
      [transaction({}, { k: '1', l: '1' }, 0, 1), read('1', 2, 3), readOf({ l: undefined }, 2, 3)],
    ],
    [
      'a transaction of which one part was seen before the other',
      [transaction({}, { k: '1', l: '1' }, 0, 9), read('1', 1, 2), readOf({ l: undefined }, 3, 4)],
    ],
    [
      'a part of an unknown transaction',
      [transaction({}, { k: 'x', l: 'x' }, 0, Infinity), read('x', 1, 2), readOf({ l: undefined }, 3, 4)],
    ],
    [
      'a transaction under a condition that had ended',
      [write('on', 0, 1), write('off', 2, 3), transaction({ k: 'on' }, { l: '1' }, 4, 5)],
    ],
    [
      'two transactions, each under the condition that the other one has not happened',
      [
        transaction({ l: undefined }, { k: '1' }, 0, 9),
        transaction({ k: undefined }, { l: '1' }, 0, 9),
        readOf({ k: '1', l: '1' }, 10, 11),
      ],
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
          return (isRead ? read : write)(value, moment - before, moment + after + 0.5);
        });
        const order = linearize(history);
        expect(order).toHaveLength(history.length);
      }),
    );
  });
});
