import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../libs/hedge/src/common/clock.js';
import { SpillNode } from '../../libs/hedge/src/spill/node/spill-node.js';

const MB = 1024 * 1024;
const script = fileURLToPath(new URL('local-disk-process.ts', import.meta.url));
const node = ['--import', 'tsx', '--conditions=hedge-source', script];

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'hedge-spill-disk-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Runs the process as root of a namespace in which the directory is a file system of that size. */
function runOnSmallDisk(what: string, megabytes: number): unknown {
  const mounted = `mount -t tmpfs -o size=${megabytes}m tmpfs "$0" && exec "$@"`;
  const command = ['--map-root-user', '--mount', 'sh', '-c', mounted, directory, process.execPath, ...node];
  const { stdout, stderr, status } = spawnSync('unshare', [...command, what, directory], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

const canMount =
  spawnSync('unshare', ['--map-root-user', '--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0;
if (!canMount) console.warn('Skipped what needs a small disk: this system lets nobody mount one (unshare --mount).');
const onSmallDisk = canMount ? it : it.skip;

describe('the disk of a pod', () => {
  onSmallDisk('P1, P2: takes no more when it is full, though room was promised, and keeps what it has', () => {
    expect(runOnSmallDisk('full', 2)).toEqual({
      ballast: 'ENOSPC',
      puts: ['SPILL_FULL', 'SPILL_FULL'],
      read: [0, 1, 2, 3],
      refusal: expect.objectContaining({ granted: false, free: expect.objectContaining({ disk: 0 }) }),
      frames: 4,
      free: 0,
    });
  });

  onSmallDisk('takes nothing when it became read-only, and is refused as an option when it was', () => {
    expect(runOnSmallDisk('read-only', 2)).toEqual({ put: 'SPILL_FULL', free: 0, reopen: 'INVALID_OPTIONS' });
  });

  it('P2: has no bytes of a process that was killed during a write', async () => {
    const child = spawn(process.execPath, [...node, 'write', directory], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'close');
    expect(readdirSync(directory)).toEqual([]);
    const next = await SpillNode.open({
      memory: 8 * MB,
      disk: 8 * MB,
      directory,
      minFreeDisk: 0,
      clock: systemClock,
    });
    expect(next.free().disk).toBe(8 * MB);
    await next.close();
  });
});
