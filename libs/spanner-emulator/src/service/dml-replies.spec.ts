import { describe, expect, it } from '@jest/globals';
import { SpannerError } from '../common/status.js';
import type { Parameter } from '../sql/scope.js';
import { DmlReplies, fingerprintOf } from './dml-replies.js';

const fingerprint = (entries: readonly (readonly [string, Parameter])[], method = 'ExecuteSql'): string =>
  fingerprintOf(method, [{ sql: 'UPDATE t SET a = @a WHERE b = @b', parameters: new Map(entries) }]);

const deferred = () => {
  const settle: { resolve: (value: string) => void; reject: (error: Error) => void }[] = [];
  const promise = new Promise<string>((resolve, reject) => settle.push({ resolve, reject }));
  return { promise, ...settle[0]! };
};

describe('the fingerprint of a DML request', () => {
  it('does not depend on the order of parameters or of the fields of a struct', () => {
    const a: [string, Parameter] = ['a', { type: 'INT64', value: '1' }];
    const b: [string, Parameter] = ['b', { value: { x: [1, { p: null, q: 'q' }], y: true } }];
    const reordered: [string, Parameter] = ['b', { value: { y: true, x: [1, { q: 'q', p: null }] } }];
    expect(fingerprint([a, b])).toBe(fingerprint([reordered, a]));
  });

  it.each([
    ['values', [['a', { value: '1' }]], [['a', { value: '2' }]]],
    ['types', [['a', { type: 'INT64', value: '1' }]], [['a', { type: 'STRING', value: '1' }]]],
    ['names', [['a', { value: '1' }]], [['b', { value: '1' }]]],
    ['elements in another order', [['a', { value: ['1', '2'] }]], [['a', { value: ['2', '1'] }]]],
    ['a number and its text', [['a', { value: 1 }]], [['a', { value: '1' }]]],
    ['NaN and NULL', [['a', { value: NaN }]], [['a', { value: null }]]],
    ['the two zeros', [['a', { value: 0 }]], [['a', { value: -0 }]]],
    ['a parameter and none', [['a', { value: null }]], []],
  ] as [string, [string, Parameter][], [string, Parameter][]][])('differs for %s', (_name, one, other) => {
    expect(fingerprint(one)).not.toBe(fingerprint(other));
  });

  it('differs for one statement alone and in a batch', () => {
    expect(fingerprint([], 'ExecuteSql')).not.toBe(fingerprint([], 'ExecuteBatchDml'));
  });
});

describe('DML by sequence number', () => {
  it('runs once, also while the first request is in progress', async () => {
    const replies = new DmlReplies();
    const first = deferred();
    let runs = 0;
    const run = () => {
      runs++;
      return first.promise;
    };
    const both = [replies.once(1, 'x', run), replies.once(1, 'x', run)];
    first.resolve('done');
    expect(await Promise.all(both)).toEqual(['done', 'done']);
    expect(await replies.once(1, 'x', run)).toBe('done');
    expect(runs).toBe(1);
  });

  it('repeats a failure', async () => {
    const replies = new DmlReplies();
    const error = new SpannerError(6, 'exists');
    await expect(replies.once(1, 'x', () => Promise.reject(error))).rejects.toBe(error);
    await expect(replies.once(1, 'x', () => Promise.resolve('late'))).rejects.toBe(error);
  });

  it('rejects a lower number, and another request with a known number, while the last one is in progress', () => {
    const replies = new DmlReplies();
    void replies.once(2, 'x', () => deferred().promise);
    expect(() => replies.once(1, 'x', () => Promise.resolve(''))).toThrow(/out-of-order/);
    expect(() => replies.once(2, 'y', () => Promise.resolve(''))).toThrow(/different request/);
  });

  it('runs a request without a number each time', async () => {
    const replies = new DmlReplies();
    let runs = 0;
    const run = () => Promise.resolve(++runs);
    expect([await replies.once(0, 'x', run), await replies.once(0, 'x', run)]).toEqual([1, 2]);
  });
});
