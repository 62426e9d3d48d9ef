import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { records, SpillPods } from './pods.js';

const python = process.env['HEDGE_TEST_PYTHON'] ?? 'python3';
const installed = spawnSync(python, ['-c', 'import pyarrow']).status === 0;
if (!installed) console.warn('Skipped the export of spill stores to pyarrow: install it with `pip install pyarrow`');

describe('the Arrow stream of spilled data', () => {
  let group: SpillPods;

  beforeEach(() => {
    group = new SpillPods();
  });
  afterEach(() => group.close());

  (installed ? it : it.skip)('is read by pyarrow, record by record', async () => {
    const a = await group.start('a');
    const store = await a.store.create('s');
    const written = records(20_000);
    await store.writeBatch(written);
    await store.close();
    const reader = spawn(python, [resolve('test/spill/read_stream.py')], { stdio: ['pipe', 'pipe', 'inherit'] });
    const output = reader.stdout.toArray();
    const ended = once(reader, 'exit');
    await pipeline(store.toArrowStream(), reader.stdin);
    expect(await ended).toEqual([0, null]);
    expect(JSON.parse(Buffer.concat(await output).toString())).toEqual({
      schema: 'record: binary not null',
      records: 20_000,
      sha256: createHash('sha256').update(Buffer.concat(written)).digest('hex'),
    });
  });
});
