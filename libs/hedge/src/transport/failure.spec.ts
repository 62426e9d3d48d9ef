import { describe, expect, it } from '@jest/globals';
import { HedgeError } from '../common/errors.js';
import { errorOf, failureOf } from './failure.js';

describe('errors on the wire', () => {
  it('keep code, message, details and retryable', () => {
    const error = new HedgeError('OVERLOADED', 'too much', { details: { limit: 3 }, retryable: false });
    const there = errorOf(failureOf(error));
    expect(there.toJSON()).toEqual(error.toJSON());
  });

  it.each([new Error('no stock'), 'no stock'])('are HANDLER_FAILED for anything else: %p', (thrown) => {
    expect(errorOf(failureOf(thrown))).toMatchObject({ code: 'HANDLER_FAILED', message: 'no stock', retryable: false });
  });

  it('leave out details that have no JSON form', () => {
    const cyclic: Record<string, unknown> = {};
    cyclic['self'] = cyclic;
    const error = new HedgeError('CONFLICT', 'twice', { details: cyclic });
    expect(errorOf(failureOf(error))).toMatchObject({ code: 'CONFLICT', message: 'twice', details: {} });
  });

  it.each(['not JSON', '7', 'null', '[1'])('survive details that a peer garbled: %s', (details) => {
    expect(errorOf({ ...failureOf(new Error('x')), details }).details).toEqual({});
  });

  it.each(['TOO_NEW', 'constructor', ''])('with a code of a newer peer (%p) are not retryable', (code) => {
    const there = errorOf({ ...failureOf(new Error('x')), code, retryable: true });
    expect(there).toMatchObject({ code: 'HANDLER_FAILED', retryable: false, details: { code } });
  });
});
