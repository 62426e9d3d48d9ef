import { existsSync } from 'node:fs';
import { expect, it } from '@jest/globals';
import Sequencer, { LONGEST } from '../sequencer.mjs';

const sorted = (...paths: string[]): string[] => {
  const context = { config: { id: 'sequencer', cacheDirectory: '/nowhere' }, hasteFS: { getSize: () => 1 } };
  const tests = paths.map((path) => ({ path: `/repository/${path}`, context }));
  return new Sequencer({}).sort(tests).map(({ path }) => path.slice('/repository/'.length));
};

it('the longest test files start first, in the order of their list', () => {
  const [first, second] = LONGEST;
  expect(sorted('test/a.spec.ts', second!, first!)).toEqual([first, second, 'test/a.spec.ts']);
});

it('each of the longest test files exists', () => {
  expect(LONGEST.filter((file) => !existsSync(file))).toEqual([]);
});
