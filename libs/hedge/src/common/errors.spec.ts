import { describe, expect, it } from '@jest/globals';
import { messageOf } from './errors.js';

describe('messageOf', () => {
  it('names each failed address of a host, whose error has no message of its own', () => {
    const failures = ['connect ECONNREFUSED ::1:1', 'connect ECONNREFUSED 127.0.0.1:1'].map((text) => new Error(text));
    expect(messageOf(new AggregateError(failures))).toBe(
      'connect ECONNREFUSED ::1:1, connect ECONNREFUSED 127.0.0.1:1',
    );
    expect(messageOf(new AggregateError(failures, 'no route'))).toBe('no route');
  });

  it('is a text for any thrown value', () => {
    expect([messageOf(new Error('why')), messageOf('why'), messageOf(undefined)]).toEqual(['why', 'why', 'undefined']);
    expect(messageOf(Object.create(null))).toBe('a value that cannot be shown was thrown');
  });
});
