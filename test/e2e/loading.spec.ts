import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { openEmulator } from '../spanner/target.js';

/** Packages that only their users load: database clients, those of spill stores for batches and compression, Prometheus. */
const OPTIONAL = ['libsql', '@google-cloud/spanner', 'apache-arrow', 'lz4-napi', 'prom-client'];

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hedge-loading-'));
});

afterEach(() => rmSync(folder, { recursive: true }));

/** Runs an app that writes and reads a key. @returns which of the database clients its threads loaded. */
async function clientsOf(driver: string, options: object): Promise<string[]> {
  const script = `import { NestFactory } from '@nestjs/core';
    import { HedgeModule, KvStore } from 'nestjs-hedge';
    import { ${driver} } from 'nestjs-hedge/${driver}';
    const hedge = HedgeModule.forRoot({ group: 'g', address: '127.0.0.1:0', backend: ${driver}(${JSON.stringify(options)}) });
    const app = await NestFactory.createApplicationContext({ module: class {}, imports: [hedge] }, { logger: false });
    await app.get(KvStore).put('k', 'v');
    console.log((await app.get(KvStore).get('k')).value);
    await app.close();`;
  const flags = ['--input-type=module', '-e', script]; // with the build of the library, as users have it
  // Makes Node record the URL of every script that any thread of the process has loaded.
  const coverage = { NODE_V8_COVERAGE: folder };
  const stdio = ['ignore', 'pipe', 'inherit'] as const;
  const child = spawn(process.execPath, flags, { env: { ...process.env, ...coverage }, stdio: [...stdio] });
  const output = child.stdout.setEncoding('utf8').toArray();
  await once(child, 'exit');
  expect((await output).join('')).toBe('v\n');
  const loaded = readdirSync(folder).map((file) => readFileSync(join(folder, file), 'utf8'));
  return OPTIONAL.filter((client) => loaded.some((text) => text.includes(`/node_modules/${client}/`)));
}

describe('an app', () => {
  it('on SQLite does not load the Spanner client', async () => {
    expect(await clientsOf('sqlite', { file: join(folder, 'hedge.db') })).toEqual(['libsql']);
  }, 60_000);

  it('on Spanner does not load the SQLite client', async () => {
    const target = await openEmulator();
    try {
      const options = { database: target.database };
      expect(await clientsOf('spanner', options)).toEqual(['@google-cloud/spanner']);
    } finally {
      await target.close();
    }
  }, 60_000);
});
