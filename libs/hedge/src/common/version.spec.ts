import { readFileSync } from 'node:fs';
import { expect, it } from '@jest/globals';
import { VERSION } from './version.js';

it('the version in the code is the version of the package', () => {
  const { version } = JSON.parse(readFileSync('libs/hedge/package.json', 'utf8')) as { version: string };
  expect(VERSION).toBe(version);
});
