import { expect, it } from '@jest/globals';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

it('a script runs until its call is answered or has reached its deadline', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--import=tsx', 'test/e2e/script.ts']);
  expect(stdout).toBe('NO_LEADER\n');
}, 30_000);
