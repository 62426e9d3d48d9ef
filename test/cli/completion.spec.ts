import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { nestjsHedge } from './command-line.js';

const complete = async (...words: string[]): Promise<string[]> => {
  const { out } = await nestjsHedge('complete', '--', ...words);
  return out.split('\n').filter((word) => word !== '');
};

describe('the completion of the command line', () => {
  it.each([
    [['st'], ['status']],
    [['kv', 'p'], ['put']],
    [['kv', 'put', '--over'], ['--overwrite']],
    [['status', '--back'], ['--backend']],
    [
      ['--backend', ''],
      ['sqlite', 'postgres', 'spanner'],
    ],
    [['status', '-o', 'j'], ['json']],
    [['completion', 'f'], ['fish']],
    [['lock', 'x', '--', 'st'], []],
    [['nonsense', 'kv', 'ge'], ['get']],
  ])('of %j is %j', async (words, found) => {
    expect(await complete(...words)).toEqual(expect.arrayContaining(found));
    if (found.length === 0) expect(await complete(...words)).toEqual([]);
  });

  it('offers no hidden command', async () => {
    expect(await complete('')).not.toContain('complete');
    expect(await complete('')).toContain('completion');
  });

  it('works in bash', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'hedge-completion-'));
    try {
      const main = resolve('libs/hedge/src/cli/main.ts');
      const command = join(folder, 'nestjs-hedge');
      const run = `exec "${process.execPath}" --import tsx --conditions=hedge-source "${main}" "$@"`;
      writeFileSync(command, `#!/bin/sh\n${run}\n`);
      chmodSync(command, 0o755);
      const { out: script } = await nestjsHedge('completion', 'bash');
      const asks = `COMP_WORDS=(nestjs-hedge semaphore res); COMP_CWORD=2; _nestjs_hedge; echo "\${COMPREPLY[@]}"`;
      const env = { ...process.env, PATH: `${folder}${delimiter}${process.env['PATH']}` };
      expect(execFileSync('bash', ['-c', `${script}\n${asks}`], { env, encoding: 'utf8' })).toBe('resize\n');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
