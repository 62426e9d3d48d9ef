import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, it } from '@jest/globals';

it('a pod without free file descriptors reports that, and not a wrong address', async () => {
  const script = fileURLToPath(new URL('out-of-descriptors.ts', import.meta.url));
  const command = 'ulimit -n 200 && exec "$0" --import tsx "$1"';
  const child = spawn('sh', ['-c', command, process.execPath, script], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const [told] = (await once(child, 'message')) as [unknown];
  await once(child, 'exit');
  expect(told).toEqual({ first: true, second: expect.stringMatching(/no file descriptors left.*ulimit -n/) });
  expect(told).not.toEqual(expect.objectContaining({ second: expect.stringContaining('Set `address`') }));
}, 60_000);
