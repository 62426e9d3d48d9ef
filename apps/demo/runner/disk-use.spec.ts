import { expect, it } from '@jest/globals';
import { mkdtemp, open, realpath, rm, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { diskUse } from './disk-use.js';

const BYTES = 1_000_000;

it('counts the files of a directory, and its unlinked files while they are open', async () => {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'hedge-disk-use-')));
  try {
    await writeFile(join(directory, 'named'), new Uint8Array(BYTES));
    expect(await diskUse(directory, [process.pid])).toBeGreaterThanOrEqual(BYTES);
    await unlink(join(directory, 'named'));
    expect(await diskUse(directory, [process.pid])).toBe(0);
    if (process.platform !== 'linux') return;

    const nameless = await open(join(directory, 'nameless'), 'wx');
    await unlink(join(directory, 'nameless'));
    await nameless.writeFile(new Uint8Array(BYTES));
    expect(await diskUse(directory, [process.pid])).toBeGreaterThanOrEqual(BYTES);
    await nameless.close();
    expect(await diskUse(directory, [process.pid])).toBe(0);
  } finally {
    await rm(directory, { recursive: true });
  }
});
