import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { protos, Spanner } from '@google-cloud/spanner';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { spanner, type SpannerOptions } from 'nestjs-hedge/spanner';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import { RecordingClient } from './recording-client.js';
import { claimOf, rowOf } from '../backend/rows.js';
import { INDEX_DDL, openEmulator, openTarget, TABLE_DDL, type Target } from './target.js';

const NEWEST = { limit: 1_000, order: 'newest-first' } as const;
const OLDEST = { limit: 1_000, order: 'oldest-first' } as const;

let close: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const one of close.reverse()) await one();
  close = [];
});

function closing<T extends { close(): Promise<void> }>(one: T): T {
  close.push(() => one.close());
  return one;
}

function backendOf(options: SpannerOptions): Backend {
  return closing(spanner(options).create({ timeoutMs: 5_000 }));
}

async function runDdl(target: Target, statement: string): Promise<void> {
  const client = new Spanner({ projectId: 'p', disableBuiltInMetrics: true });
  const request = { database: target.database, statements: [statement] };
  const [operation] = await client.getDatabaseAdminClient().updateDatabaseDdl(request);
  await operation.promise();
  await client.close();
}

describe('open', () => {
  it('names the missing tables, with the statements that create them', async () => {
    const { database } = closing(await openTarget([]));
    await expect(backendOf({ database, lockTable: 'locks', logTable: 'log' }).open()).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringMatching(
        /lacks table locks, table log\. Run this.*\nCREATE TABLE IF NOT EXISTS `locks` \([^;]*;\nCREATE TABLE IF NOT EXISTS `log` /s,
      ),
    });
  });

  it('names the missing columns', async () => {
    const { database } = closing(
      await openTarget([
        TABLE_DDL[0] as string,
        'CREATE TABLE logtable (id STRING(MAX), key STRING(MAX), value STRING(MAX), timestamp TIMESTAMP) PRIMARY KEY (key, id)',
      ]),
    );
    await expect(backendOf({ database }).open()).rejects.toMatchObject({
      details: { lacks: ['column logtable.leader', 'commit timestamps in column logtable.timestamp'] },
    });
  });

  it('rejects a database that does not exist', async () => {
    const { database } = closing(await openTarget());
    await expect(backendOf({ database: `${database}x` }).open()).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining('Check the name'),
    });
  });

  it('rejects a database without permission to read it', async () => {
    const target = closing(await openEmulator());
    target.emulator.faults.fail({ method: '*', code: 'PERMISSION_DENIED', when: 'before' });
    await expect(backendOf({ database: target.database }).open()).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining('roles/spanner.databaseUser'),
    });
  });

  it('is retryable when no server listens', async () => {
    const { database, emulator } = closing(await openEmulator());
    emulator.close();
    await expect(backendOf({ database }).open()).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
  });
});

describe('reading the newest version', () => {
  const VERSIONS = 200;
  let target: Awaited<ReturnType<typeof openEmulator>>;
  let backend: Backend;

  beforeEach(async () => {
    target = closing(await openEmulator());
    backend = backendOf({ database: target.database });
    await backend.log.append(Array.from({ length: VERSIONS }, (_, i) => rowOf('k', `v${i}`)));
  });

  async function rowsScanned(): Promise<number> {
    const before = target.emulator.counters().rowsScanned;
    await backend.log.latest('k');
    await backend.log.history('k', { limit: 3, order: 'newest-first' });
    return target.emulator.counters().rowsScanned - before;
  }

  it('scans the versions of the key without the index', async () => {
    await backend.open();
    expect(await rowsScanned()).toBe(2 * VERSIONS);
  });

  it('reads only the returned rows with the index, which it finds at the start', async () => {
    await runDdl(target, INDEX_DDL);
    await backend.open();
    expect(await rowsScanned()).toBeLessThanOrEqual(1 + 3);
  });

  it('reads only the newest rows of many keys with the index', async () => {
    await runDdl(target, INDEX_DDL);
    await backend.open();
    const before = target.emulator.counters().rowsScanned;
    const found = await backend.log.latestOf!(['k', 'nothing', 'other']);
    expect(found.get('k')).toEqual(await backend.log.latest('k'));
    expect(target.emulator.counters().rowsScanned - before).toBe(2);
  });

  it('continues without the index after it was dropped', async () => {
    await runDdl(target, INDEX_DDL);
    await backend.open();
    await runDdl(target, 'DROP INDEX logtable_latest');
    const newest = await backend.log.latest('k');
    expect(newest).toEqual((await backend.log.history('k', OLDEST)).at(-1));
  });

  it('returns a history of several messages as it was written', async () => {
    const rows = Array.from({ length: 30 }, (_, i) => rowOf('large', `${i}`.repeat(100_000)));
    for (const row of rows) await backend.log.append([row]);
    const stored = await backend.log.history('large', OLDEST);
    expect(stored.map(({ value }) => value)).toEqual(rows.map(({ value }) => value));
  });
});

describe('the requests to Spanner', () => {
  let client: RecordingClient;
  let target: Target;

  beforeEach(async () => {
    target = closing(await openTarget());
    const isolationLevel = protos.google.spanner.v1.TransactionOptions.IsolationLevel.REPEATABLE_READ;
    client = closing(new RecordingClient(target.database, { defaultTransactionOptions: { isolationLevel } }));
  });

  it("K2 L1 L4 every transaction is SERIALIZABLE and locks nothing by reading, whatever the user's client defaults to", async () => {
    const backend = backendOf({ client: client.database });
    const claim = claimOf();
    const result = await backend.lease.acquire(claim);
    const lease = { ...claim, token: result.acquired ? result.token : 0n };
    await backend.lease.renew(lease);
    await backend.log.append([rowOf('k')], { lease: claim.name, token: lease.token });
    await backend.log.append([rowOf('k')]);
    await backend.log.overwrite({ key: 'k', value: 'v', leader: 'l' });
    await backend.lease.release(lease);
    const begins = [...client.selectors('executeSql'), ...client.selectors('read')].filter(
      (selector) => JSON.stringify(selector)?.includes('begin') ?? false,
    );
    expect(begins).toHaveLength(6);
    for (const begin of begins)
      expect(begin).toEqual({ begin: { isolationLevel: 'SERIALIZABLE', readWrite: { readLockMode: 'OPTIMISTIC' } } });
    const commits = client.requests.filter(({ method }) => method === 'commit');
    expect(commits).toHaveLength(6);
    for (const { reqOpts } of commits) expect(reqOpts).not.toHaveProperty('singleUseTransaction');
  });

  it('reads are strong and in no transaction', async () => {
    const backend = backendOf({ client: client.database });
    await backend.lease.read('x');
    await backend.log.latest('k');
    await backend.log.history('k', NEWEST);
    await backend.log.keys({ prefix: '', limit: 9 });
    const selectors = [...client.selectors('executeSql'), ...client.selectors('executeStreamingSql')];
    expect(selectors).toHaveLength(4);
    for (const selector of selectors) expect(selector).toEqual({ singleUse: { readOnly: { strong: true } } });
  });

  it('maxStalenessMs affects keys and values, never leases', async () => {
    const backend = backendOf({ client: client.database, maxStalenessMs: 1_500 });
    await backend.lease.read('x');
    await backend.log.latest('k');
    await backend.log.history('k', NEWEST);
    await backend.log.keys({ prefix: '', limit: 9 });
    const stale = { singleUse: { readOnly: { maxStaleness: { seconds: 1, nanos: 500_000_000 } } } };
    expect(client.selectors('executeSql')).toEqual([{ singleUse: { readOnly: { strong: true } } }, stale]);
    expect(client.selectors('executeStreamingSql')).toEqual([stale, stale]);
  });

  it('values and names are parameters, never part of a statement', async () => {
    const backend = backendOf({ client: client.database });
    const secret = "'; DROP TABLE logtable; --";
    await backend.lease.acquire(claimOf(secret));
    await backend.log.append([rowOf(secret, secret, secret)]);
    await backend.log.overwrite({ key: secret, value: secret, leader: secret });
    await backend.log.latest(secret);
    await backend.log.history(secret, { ...OLDEST, before: 5n, after: 1n });
    await backend.log.keys({ prefix: secret, limit: 9, after: secret });
    const statements = client.requests.map(({ reqOpts }) => (reqOpts as { sql?: string }).sql ?? '');
    expect(statements.filter((sql) => sql.includes('DROP'))).toEqual([]);
  });
});

/** Runs a script as a separate app. */
function run(script: string, env: NodeJS.ProcessEnv): ChildProcessByStdio<null, Readable, null> {
  const flags = ['--import', 'tsx', '--conditions=hedge-source', '--input-type=module', '-e', script];
  return spawn(process.execPath, flags, { env, stdio: ['ignore', 'pipe', 'inherit'] });
}

describe('a process that uses it', () => {
  it('still ends on SIGTERM, which the client alone would ignore', async () => {
    const { database } = closing(await openTarget());
    const script = `import { spanner } from 'nestjs-hedge/spanner';
      await spanner({ database: '${database}' }).create({ timeoutMs: 5000 }).open();
      setInterval(() => {}, 1000);
      console.log('open');`;
    const child = run(script, process.env);
    const ended = once(child, 'exit');
    await once(child.stdout, 'data');
    child.kill('SIGTERM');
    expect(await ended).toEqual([null, 'SIGTERM']);
  }, 30_000);

  it('reports missing credentials, which would crash the client alone', async () => {
    const script = `import { spanner } from 'nestjs-hedge/spanner';
      const backend = spanner({ database: 'projects/p/instances/i/databases/d' }).create({ timeoutMs: 5000 });
      await backend.open().catch((error) => console.log(error.code, error.message));
      await backend.close();`;
    const nowhere = { HOME: '/nonexistent', CLOUDSDK_CONFIG: '/nonexistent', SPANNER_EMULATOR_HOST: '' };
    const child = run(script, { ...process.env, ...nowhere, GOOGLE_APPLICATION_CREDENTIALS: '' });
    const output = child.stdout.setEncoding('utf8').toArray();
    const [code] = (await once(child, 'exit')) as [number];
    expect((await output).join('')).toMatch(/^INVALID_OPTIONS .*Application Default Credentials/);
    expect(code).toBe(0);
  }, 30_000);
});
