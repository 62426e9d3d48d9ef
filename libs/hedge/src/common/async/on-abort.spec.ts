import { getEventListeners } from 'node:events';
import { expect, it } from '@jest/globals';
import { onAbort } from './on-abort.js';

it('calls each listener once, through one native listener of the signal', () => {
  const { signal, ...controller } = withAbort();
  const called: number[] = [];
  for (let i = 0; i < 20; i += 1) onAbort(signal, () => called.push(i));
  expect(getEventListeners(signal, 'abort')).toHaveLength(1);
  controller.abort();
  controller.abort();
  expect(called).toEqual(Array.from({ length: 20 }, (_, i) => i));
});

it('calls no removed listener, even during the abort, and leaves no native listener', () => {
  const { signal, ...controller } = withAbort();
  const called: string[] = [];
  const listener = (): void => void called.push('first');
  const [stopOne, stopTwo] = [onAbort(signal, listener), onAbort(signal, listener)];
  stopOne();
  stopOne();
  expect(getEventListeners(signal, 'abort')).toHaveLength(1);
  stopTwo();
  expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  onAbort(signal, () => stopLast());
  const stopLast = onAbort(signal, () => called.push('last'));
  controller.abort();
  stopLast();
  expect(called).toEqual([]);
});

function withAbort(): { signal: AbortSignal; abort: () => void } {
  const controller = new AbortController();
  return { signal: controller.signal, abort: () => controller.abort() };
}
