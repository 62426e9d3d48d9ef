import { beforeEach, describe, expect, it } from '@jest/globals';
import { HedgeError } from '../common/errors.js';
import { GetBatcher, type GetEffect, type GetInput } from './get-batcher.core.js';

let batcher: GetBatcher<string>;
let tickets: number;

beforeEach(() => {
  batcher = new GetBatcher({ maxKeys: 4, maxCalls: 2 });
  tickets = 0;
});

function step(input: GetInput<string>): readonly GetEffect<string>[] {
  return batcher.step(input);
}

/** Their tickets are 1, 2, … in the order of all gets. */
function get(...keys: string[]): void {
  for (const key of keys) step({ type: 'get', ticket: (tickets += 1), key });
}

/** The end of a turn. @returns the keys of the calls that begin. */
function flush(): string[] {
  return step({ type: 'flush' }).flatMap((effect) => (effect.type === 'read' ? [effect.keys.join()] : []));
}

/** @returns the settled tickets. */
function answer(call: number, ...keys: string[]): number[] {
  return settled(step({ type: 'answered', call, found: new Map(keys.map((key) => [key, `value of ${key}`])) }));
}

function fail(call: number, error: unknown): number[] {
  return settled(step({ type: 'failed', call, error }));
}

function settled(effects: readonly GetEffect<string>[]): number[] {
  return effects.flatMap((effect) => (effect.type === 'settle' ? [effect.ticket] : []));
}

const unavailable = new HedgeError('BACKEND_UNAVAILABLE', 'test');

describe('GetBatcher', () => {
  it('reads the keys of one turn in one call, and each key once', () => {
    expect(step({ type: 'get', ticket: 1, key: 'a' })).toEqual([{ type: 'flush-later' }]);
    expect(step({ type: 'get', ticket: 2, key: 'b' })).toEqual([]);
    expect(step({ type: 'get', ticket: 3, key: 'a' })).toEqual([]);
    expect(step({ type: 'flush' })).toEqual([{ type: 'read', call: 1, keys: ['a', 'b'] }]);
    expect(
      step({
        type: 'answered',
        call: 1,
        found: new Map([
          ['a', 'new'],
          ['b', undefined],
        ]),
      }),
    ).toEqual([
      { type: 'settle', ticket: 1, outcome: { entry: 'new' } },
      { type: 'settle', ticket: 3, outcome: { entry: 'new' } },
      { type: 'settle', ticket: 2, outcome: { entry: undefined } },
    ]);
  });

  it('K2 answers a get only by a call that began after it', () => {
    get('a');
    expect(flush()).toEqual(['a']);
    get('a');
    expect(answer(1, 'a')).toEqual([1]);
    expect(flush()).toEqual(['a']);
    expect(answer(2, 'a')).toEqual([2]);
  });

  it('K2 answers a get of a key that was left out by a call of its own', () => {
    get('a', 'b');
    flush();
    expect(answer(1, 'a')).toEqual([1]);
    get('b');
    expect(flush()).toEqual(['b', 'b']);
    expect(answer(2, 'b')).toEqual([2]);
    expect(answer(3, 'b')).toEqual([3]);
  });

  it('collects gets while all calls are in flight, and splits them by the limit of keys', () => {
    get('a', 'b', 'c', 'd', 'e');
    expect(flush()).toEqual(['a,b,c,d', 'e']);
    expect(step({ type: 'get', ticket: 6, key: 'f' })).toEqual([]);
    get('g');
    expect(step({ type: 'answered', call: 2, found: new Map([['e', 'v']]) })).toContainEqual({ type: 'flush-later' });
    expect(flush()).toEqual(['f,g']);
  });

  it('reads in smaller calls for as long as keys are left out', () => {
    get('a', 'b', 'c', 'd', 'e', 'f');
    expect(flush()).toEqual(['a,b,c,d', 'e,f']);
    expect(answer(1, 'a')).toEqual([1]);
    expect(flush()).toEqual(['b']);
    expect(answer(2, 'e', 'f')).toEqual([5, 6]);
    expect(flush()).toEqual(['c,d']);
    answer(3, 'b');
    answer(4, 'c', 'd');
    get('g', 'h', 'i', 'j');
    expect(flush()).toEqual(['g,h,i,j']);
  });

  it('fails the gets of a call with BACKEND_UNAVAILABLE, and no others', () => {
    get('a', 'b');
    flush();
    get('c');
    flush();
    expect(fail(1, unavailable)).toEqual([1, 2]);
    expect(answer(2, 'c')).toEqual([3]);
  });

  it('halves a rejected call until the key at fault fails alone', () => {
    const rejected = new HedgeError('INVALID_ARGUMENT', 'test');
    get('a', 'bad', 'c', 'd');
    expect(flush()).toEqual(['a,bad,c,d']);
    expect(fail(1, rejected)).toEqual([]);
    expect(flush()).toEqual(['a,bad', 'c,d']);
    expect(fail(2, rejected)).toEqual([]);
    expect(answer(3, 'c', 'd')).toEqual([3, 4]);
    expect(flush()).toEqual(['a', 'bad']);
    expect(answer(4, 'a')).toEqual([1]);
    expect(fail(5, rejected)).toEqual([2]);
  });

  it('fails the gets of a driver that reads none of their keys', () => {
    get('a', 'b');
    flush();
    expect(answer(1)).toEqual([1, 2]);
  });

  it('does not read for gets that were cancelled before their call, and does not settle cancelled gets', () => {
    get('a', 'b', 'b');
    step({ type: 'cancel', ticket: 1 });
    step({ type: 'cancel', ticket: 2 });
    expect(flush()).toEqual(['b']);
    step({ type: 'cancel', ticket: 3 });
    expect(answer(1, 'b')).toEqual([]);
    expect(flush()).toEqual([]);
  });
});
