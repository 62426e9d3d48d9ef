import { describe, expect, it } from '@jest/globals';
import { HedgeError } from '../common/errors.js';
import { errorOf, failureOf } from './failure.js';

const manyKeys = (count: number, value: unknown): object =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, value]));

describe('errors on the wire', () => {
  it('keep code, message, details and retryable', () => {
    const error = new HedgeError('OVERLOADED', 'too much', { details: { limit: 3 }, retryable: false });
    const there = errorOf(failureOf(error));
    expect(there.toJSON()).toEqual(error.toJSON());
  });

  it.each([new Error('no stock'), 'no stock'])('become HANDLER_FAILED for any other thrown value: %p', (thrown) => {
    expect(errorOf(failureOf(thrown))).toMatchObject({ code: 'HANDLER_FAILED', message: 'no stock', retryable: false });
  });

  it('omit details that have no JSON form', () => {
    const cyclic: Record<string, unknown> = {};
    cyclic['self'] = cyclic;
    const error = new HedgeError('CONFLICT', 'twice', { details: cyclic });
    expect(errorOf(failureOf(error))).toMatchObject({ code: 'CONFLICT', message: 'twice', details: {} });
  });

  it.each<[string, HedgeError]>([
    ['a long message', new HedgeError('CONFLICT', 'é'.repeat(3_000_000))],
    ['a long text in details', new HedgeError('CONFLICT', 'm', { details: { status: 409, text: 'x'.repeat(6e6) } })],
    ['many details', new HedgeError('CONFLICT', 'm', { details: { status: 409, list: Array(1e6).fill('x') } })],
    ['many keys', new HedgeError('CONFLICT', 'm', { details: { status: 409, ...manyKeys(1e5, true) } })],
    ['a long key', new HedgeError('CONFLICT', 'm', { details: { status: 409, ['k'.repeat(6e6)]: 1 } })],
    [
      'control characters',
      new HedgeError('CONFLICT', 'm', { details: { status: 409, ...manyKeys(99, '\x01'.repeat(9e4)) } }),
    ],
  ])('fit into the smallest allowed message size, with %s', (_, error) => {
    const failure = failureOf(error);
    expect(Buffer.byteLength(failure.message) + Buffer.byteLength(failure.details)).toBeLessThan(48 * 1024);
    const there = errorOf(failure);
    expect(there).toMatchObject({ code: 'CONFLICT', message: expect.stringMatching(/^m$|^é+… \(6000000 bytes\)$/) });
    if (error.details['status'] !== undefined) expect(there.details).toMatchObject({ status: 409 });
  });

  it('keep the code of an error in the details, even if its message is cut', () => {
    const inner = new HedgeError('CONFLICT', 'x'.repeat(6_000_000), { details: { id: 7 } });
    const error = new HedgeError('HANDLER_FAILED', 'm', { details: { error: inner.toJSON() } });
    expect(errorOf(failureOf(error)).details).toMatchObject({ error: { code: 'CONFLICT', details: { id: 7 } } });
  });

  it.each(['not JSON', '7', 'null', '[1'])('ignore malformed details of a peer: %s', (details) => {
    expect(errorOf({ ...failureOf(new Error('x')), details }).details).toEqual({});
  });

  it.each(['TOO_NEW', 'constructor', ''])('with an unknown code of a newer peer (%p) are not retryable', (code) => {
    const there = errorOf({ ...failureOf(new Error('x')), code, retryable: true });
    expect(there).toMatchObject({ code: 'HANDLER_FAILED', retryable: false, details: { code } });
  });
});
