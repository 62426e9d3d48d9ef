import { expect, it } from '@jest/globals';
import { receivedArguments, sentArguments } from './forwarded-arguments.js';

it.each([
  [[], []],
  [
    [1, 'x'],
    [1, 'x'],
  ],
  [[1, undefined, undefined], [1]],
  [
    [undefined, null, 3],
    [undefined, null, 3],
  ],
  [[undefined], []],
])('arguments %p arrive as %p', (args: unknown[], arrived: unknown[]) => {
  expect(receivedArguments(JSON.parse(JSON.stringify(sentArguments(args))))).toStrictEqual(arrived);
});

it('arguments of a pod of the version before are taken as they are', () => {
  expect(receivedArguments([1, null, { a: 1 }])).toEqual([1, null, { a: 1 }]);
  expect(receivedArguments('other')).toBe('other');
});
