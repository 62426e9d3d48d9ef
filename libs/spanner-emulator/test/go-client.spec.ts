import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startSpannerEmulator, type SpannerEmulator } from '../src/index.js';
import { TABLES } from './target.js';

const PROGRAM = fileURLToPath(new URL('go', import.meta.url));

/** Compiling Google's client takes minutes on the first run, so an environment variable enables this test. */
const reason = ((): string | undefined => {
  if (!process.env['HEDGE_TEST_GO']) return 'set HEDGE_TEST_GO=1 to run it';
  if (spawnSync('go', ['version']).status !== 0) return 'no go toolchain here';
  if (spawnSync('go', ['mod', 'download'], { cwd: PROGRAM }).status !== 0) return 'its modules cannot be had here';
  return undefined;
})();

const run = async (command: string, args: readonly string[], env: Record<string, string> = {}): Promise<string> => {
  const child = spawn(command, args, { cwd: PROGRAM, env: { ...process.env, ...env } });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  await once(child, 'close');
  return output;
};

(reason === undefined ? describe : describe.skip)(`Google's Go client (${reason ?? 'test/go'})`, () => {
  let emulator: SpannerEmulator;
  let folder: string;

  beforeAll(async () => {
    emulator = await startSpannerEmulator({ port: 0, ddl: [...TABLES, 'CREATE INDEX by_value ON logtable (value)'] });
    folder = mkdtempSync(join(tmpdir(), 'spanner-go-'));
  });
  afterAll(() => {
    emulator.close();
    rmSync(folder, { recursive: true });
  });

  it('runs the statements of spindle and hedge, transactions, snapshots, reads and batches', async () => {
    const binary = join(folder, 'check');
    expect(await run('go', ['build', '-o', binary, '.'])).toBe('');
    const output = await run(binary, [emulator.database], { SPANNER_EMULATOR_HOST: emulator.address });
    const lines = output.trim().split('\n');
    expect(lines.filter((line) => !line.startsWith('ok: '))).toEqual([]);
    expect(lines).toHaveLength(9);
  }, 900_000);
});
