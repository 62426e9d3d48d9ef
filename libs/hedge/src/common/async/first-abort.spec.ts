import { getEventListeners } from 'node:events';
import { describe, expect, it } from '@jest/globals';
import { firstAbort } from './first-abort.js';

describe('firstAbort', () => {
  it('aborts with the first reason', () => {
    const [one, two] = [new AbortController(), new AbortController()];
    const { signal } = firstAbort(one.signal, two.signal);
    two.abort('two');
    one.abort('one');
    expect(signal.reason).toBe('two');
  });

  it('is aborted from the start when a source is aborted', () => {
    expect(firstAbort(new AbortController().signal, AbortSignal.abort('gone')).signal.reason).toBe('gone');
  });

  it('leaves no listener on its sources after release', () => {
    const source = new AbortController();
    const { signal, release } = firstAbort(source.signal);
    expect(getEventListeners(source.signal, 'abort')).toHaveLength(1);
    release();
    expect(getEventListeners(source.signal, 'abort')).toHaveLength(0);
    source.abort();
    expect(signal.aborted).toBe(false);
  });
});
