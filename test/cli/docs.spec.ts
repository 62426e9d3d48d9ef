import { readFileSync } from 'node:fs';
import { expect, it } from '@jest/globals';
import { EXIT_CODES } from '../../libs/hedge/src/cli/exit-codes.js';
import { commandPaths } from './command-line.js';

const page = readFileSync('docs/command-line.md', 'utf8');

it('the page on the command line shows each command', async () => {
  const missing = (await commandPaths()).filter((command) => !page.includes(`nestjs-hedge ${command}`));
  expect(missing).toEqual([]);
});

it('the page on the command line lists exactly the exit codes that the commands have', () => {
  const rows = [...page.matchAll(/^\| (\d+) +\| (.+?) +\|$/gm)].map(([, code, meaning]) => [Number(code), meaning]);
  expect(rows).toEqual(Object.values(EXIT_CODES));
});
