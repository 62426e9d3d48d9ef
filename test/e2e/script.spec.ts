import { expect, it } from '@jest/globals';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

it('a script lives until what it sent is answered, or the time is over', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--import=tsx', 'test/e2e/script.ts']);
  expect(stdout).toBe('NO_LEADER\n');
}, 30_000);
