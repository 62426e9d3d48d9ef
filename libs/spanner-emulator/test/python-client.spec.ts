import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { startSpannerEmulator, type SpannerEmulator } from '../src/index.js';

const PROGRAM = fileURLToPath(new URL('python/check.py', import.meta.url));

/** An interpreter that has the packages of python/requirements.txt. */
const python = process.env['HEDGE_TEST_PYTHON'];

(python ? describe : describe.skip)("Google's Python client (HEDGE_TEST_PYTHON names an interpreter)", () => {
  let emulator: SpannerEmulator;

  beforeEach(async () => {
    emulator = await startSpannerEmulator({ port: 0 });
  });
  afterEach(() => emulator.close());

  const check = async (): Promise<string[]> => {
    const env = { ...process.env, SPANNER_EMULATOR_HOST: emulator.address, SPANNER_DISABLE_BUILTIN_METRICS: 'true' };
    const child = spawn(python!, [PROGRAM, 'p', 'i', 'python'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    const output = (await child.stdout.setEncoding('utf8').toArray()) as string[];
    return output.join('').trim().split('\n');
  };

  it.each([0, 0.2])(
    'runs schemas, mutations, reads, transactions, snapshots and batches, with %f of its statements ABORTED',
    async (abortRate) => {
      emulator.faults.set({ abortRate });
      const lines = await check();
      expect(lines.filter((line) => !line.startsWith('ok: '))).toEqual([]);
      expect(lines).toHaveLength(9);
    },
    120_000,
  );
});
