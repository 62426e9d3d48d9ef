import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { parseCommandLine } from '../src/cli-options.js';
import { runCli, startCli } from './process.js';
import { openDatabase, TABLES } from './target.js';

describe('the command', () => {
  let folder: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'spanner-emulator-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('serves a database with the DDL of a file, prints a ready line, and stops on SIGTERM', async () => {
    const ddl = join(folder, 'schema.sql');
    writeFileSync(ddl, `-- the tables; all of them\n${TABLES.join(';\n\n')};\n`);
    const running = await startCli(['--project', 'p', '--instance', 'i', '--database', 'mine', '--ddl', ddl]);
    expect(running.line).toMatch(/ready on 127\.0\.0\.1:\d+ with projects\/p\/instances\/i\/databases\/mine$/);
    const target = await openDatabase(running.address);
    const mine = target.spanner.instance('i').database('mine');
    await mine.table('types').insert({ k: 1, n: 1 });
    expect((await mine.run('SELECT n FROM types'))[0].map((row) => row.toJSON())).toEqual([{ n: 1 }]);
    await mine.close();
    await target.close();
    expect(await running.stop()).toBe(0);
  }, 30_000);

  it('exits with 1 and prints the reason', async () => {
    const wrong = join(folder, 'wrong.sql');
    writeFileSync(wrong, 'CREATE TABLE x (a INT64) PRIMARY KEY (b)');
    const [ddl, flag] = await Promise.all([runCli(['--ddl', wrong]), runCli(['--nothing'])]);
    expect(ddl).toMatchObject({ code: 1, stderr: expect.stringContaining('nonexistent key column b') });
    expect(flag).toMatchObject({ code: 1, stderr: expect.stringContaining('--nothing') });
  }, 30_000);

  it('reads faults from flags', () => {
    const line =
      '--abort-rate 0.1 --abort-retry-ms none --latency-ms 5..20 --equal-commit-timestamps ' +
      '--fail Commit:UNAVAILABLE:after:0.5 --session-loss-rate 0.01 --seed 3';
    expect(parseCommandLine(line.split(' '))).toMatchObject({
      faults: {
        abortRate: 0.1,
        abortRetryDelayMs: null,
        latencyMs: [5, 20],
        rules: [{ method: 'Commit', code: 'UNAVAILABLE', when: 'after', rate: 0.5 }],
        equalCommitTimestamps: true,
        sessionLossRate: 0.01,
        seed: 3,
      },
    });
    expect(parseCommandLine(['--help'])).toBe('help');
  });

  it.each([
    [['--abort-rate', '2'], /--abort-rate must be a number from 0 to 1/],
    [['--port', 'x'], /--port must be a number/],
    [['--port', '1.5'], /--port must be an integer/],
    [['--latency-ms', '5..1'], /--latency-ms must go from the lower/],
    [['--fail', 'Commit'], /METHOD:CODE:WHEN/],
    [['--ddl', '/nothing/there.sql'], /Cannot read the DDL file/],
  ])('refuses %j', (args, message) => {
    expect(() => parseCommandLine(args)).toThrow(message);
  });
});
