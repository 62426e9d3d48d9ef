import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { once } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { SqliteLogTable } from './log-table.js';
import type { Failure, Reply, Request } from './protocol.js';
import { SqliteThread } from './thread.js';

const WORKER_FOLDER = fileURLToPath(new URL('./worker/', import.meta.url));
const row = { key: 'key', id: 'id', value: 'value', leader: 'a:1' };

let folder: string;
let threads: SqliteThread[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hedge-thread-'));
  threads = [];
});

afterEach(async () => {
  for (const thread of threads) await thread.close();
  rmSync(folder, { recursive: true });
});

/** A thread whose workers the test can see, and choose the file of. */
function start(timeoutMs: number, script = join(WORKER_FOLDER, 'worker.js'), more: object = {}) {
  const workers: Worker[] = [];
  const config = { file: join(folder, 'hedge.db'), lockTable: 'locktable', logTable: 'logtable' };
  const thread = new SqliteThread(config, timeoutMs, (workerData) => {
    const worker = new Worker(script, { workerData: { ...workerData, ...more }, execArgv: [] });
    workers.push(worker);
    return worker;
  });
  threads.push(thread);
  return { thread, workers };
}

function script(text: string): string {
  const path = join(folder, 'worker.mjs');
  writeFileSync(path, text);
  return path;
}

function request(id: number, operation: string, args: unknown[], inTime: boolean): Request {
  return { id, operation, args, giveUpAt: inTime ? Infinity : 0 } as Request;
}

/** What a thread says of these, each message in a turn of its own; undefined for success. */
async function replies(...messages: Request[][]): Promise<(Failure | undefined)[]> {
  const workerData = { file: join(folder, 'hedge.db'), lockTable: 'locktable', logTable: 'logtable' };
  const worker = new Worker(join(WORKER_FOLDER, 'worker.js'), { workerData, execArgv: [] });
  const ended = once(worker, 'exit');
  const failures = new Map<number, Failure | undefined>();
  const wanted = messages.flat().length;
  const answered = new Promise<void>((resolve) => {
    worker.on('message', (got: Reply[]) => {
      for (const { id, failure } of got) failures.set(id, failure);
      if (failures.size === wanted) resolve();
    });
  });
  for (const message of messages) worker.postMessage(message, []);
  await answered;
  worker.postMessage('end', []);
  await ended;
  return [...failures].sort(([a], [b]) => a - b).map(([, failure]) => failure);
}

/**
 * A thread on a disk on which each commit takes 50 ms, how many were begun, and which one has the latest renewal. The
 * worker itself counts, so that no delay of this thread counts too.
 */
function slow() {
  const counts = new Int32Array(new SharedArrayBuffer(8));
  const path = script(`
    import { createRequire } from 'node:module';
    import { workerData } from 'node:worker_threads';
    const { prototype } = createRequire(${JSON.stringify(WORKER_FOLDER)})('libsql');
    const { prepare } = prototype;
    prototype.prepare = function (sql) {
      const statement = prepare.call(this, sql);
      const { counts } = workerData;
      const begun = () => Atomics.load(counts, 0);
      if (sql.includes('renewals + 1')) {
        return {
          run(...values) {
            Atomics.store(counts, 1, begun() + 1);
            return statement.run(...values);
          },
        };
      }
      if (sql !== 'COMMIT') return statement;
      return {
        run() {
          Atomics.add(counts, 0, 1);
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
          return statement.run();
        },
      };
    };
    await import(${JSON.stringify(join(WORKER_FOLDER, 'worker.js'))});`);
  const { thread, workers } = start(25_000, path, { counts });
  return { thread, workers, commits: () => Atomics.load(counts, 0), renewedIn: () => Atomics.load(counts, 1) };
}

const unavailable = (message: RegExp) =>
  expect.objectContaining({ code: 'BACKEND_UNAVAILABLE', message: expect.stringMatching(message) });

describe('SqliteThread', () => {
  it('starts another worker on the next call after one has died', async () => {
    const { thread, workers } = start(10_000);
    await thread.call('append', [row], undefined);
    await workers[0]?.terminate();
    await expect(thread.call('latest', 'key')).resolves.toBeDefined();
    expect(workers).toHaveLength(2);
  });

  it('reports the calls whose outcome a dying worker leaves unknown', async () => {
    const { thread } = start(
      10_000,
      script(`
        import { parentPort } from 'node:worker_threads';
        parentPort.on('message', () => { throw new Error('out of order'); });`),
    );
    const calls = await Promise.allSettled([
      thread.call('append', [row], undefined),
      thread.call('overwrite', row, undefined),
    ]);
    expect(calls).toEqual([
      { status: 'rejected', reason: unavailable(/died: out of order/) },
      { status: 'rejected', reason: expect.objectContaining({ code: 'OUTCOME_UNKNOWN' }) },
    ]);
  });

  it('fails calls in time when its worker hangs', async () => {
    const hanging = script(`import { parentPort } from 'node:worker_threads'; parentPort.on('message', () => {});`);
    const { thread } = start(50, hanging);
    await expect(thread.call('latest', 'key')).rejects.toEqual(unavailable(/no answer within 50 ms/));
    await expect(thread.call('overwrite', row, undefined)).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
  });

  it('rejects calls beyond its bound while its worker hangs', async () => {
    const hanging = script(`import { parentPort } from 'node:worker_threads'; parentPort.on('message', () => {});`);
    const { thread } = start(100, hanging);
    const calls = Array.from({ length: 20_000 }, () => thread.call('latest', 'key').catch(() => undefined));
    await Promise.all(calls);
    await expect(thread.call('latest', 'key')).rejects.toMatchObject({ code: 'OVERLOADED' });
  });

  it('names the package to install when libsql is missing', async () => {
    // The same worker where no node_modules is above it.
    cpSync(WORKER_FOLDER, join(folder, 'worker'), { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    const { thread } = start(10_000, join(folder, 'worker', 'worker.js'));
    await expect(thread.call('connect')).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringMatching(
        /cannot be used: Cannot find module 'libsql'\. Install the database client: npm i libsql\.$/,
      ),
    });
  });

  it('reports that a bundler has moved the library when the file of its worker is missing', async () => {
    const { thread } = start(10_000, join(folder, 'worker.js'));
    await expect(thread.call('connect')).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining('Keep nestjs-hedge and libsql external'),
    });
  });

  it.each([
    ['ERR_ACCESS_DENIED', '--allow-worker'],
    ['ERR_INVALID_URL', 'Keep nestjs-hedge and libsql external'],
  ])('fails calls when Node cannot start its worker, with %s', async (code, advice) => {
    const config = { file: join(folder, 'hedge.db'), lockTable: 'locktable', logTable: 'logtable' };
    const thread = new SqliteThread(config, 10_000, () => {
      throw Object.assign(new Error('refused'), { code });
    });
    threads.push(thread);
    const message = expect.stringContaining(advice);
    await expect(thread.call('connect')).rejects.toMatchObject({ code: 'INVALID_OPTIONS', message });
    await expect(thread.call('latest', 'key')).rejects.toEqual(unavailable(/cannot start: refused/));
  });

  it('rejects calls after it was closed, and starts no worker for them', async () => {
    const { thread, workers } = start(10_000);
    await thread.close();
    await expect(thread.call('latest', 'key')).rejects.toEqual(unavailable(/is closed/));
    expect(workers).toHaveLength(0);
  });

  it('fails pending calls when it is closed', async () => {
    const { thread } = start(10_000);
    const pending = thread.call('append', [row], undefined);
    const closed = thread.close();
    await expect(pending).rejects.toEqual(unavailable(/was closed/));
    await closed;
  });

  it('lets its worker end the running call when it is closed, because terminating it then aborts the process', async () => {
    const [begun, done] = [join(folder, 'begun'), join(folder, 'done')];
    const busy = script(`
      import { writeFileSync } from 'node:fs';
      import { parentPort } from 'node:worker_threads';
      parentPort.on('message', (message) => {
        if (message === 'end') return parentPort.close();
        writeFileSync(${JSON.stringify(begun)}, '');
        for (const start = performance.now(); performance.now() < start + 300; );
        writeFileSync(${JSON.stringify(done)}, '');
      });`);
    const { thread } = start(10_000, busy);
    const pending = thread.call('append', [row], undefined).catch(() => undefined);
    while (!existsSync(begun)) await nextTurn();
    await thread.close();
    await pending;
    expect(existsSync(done)).toBe(true);
  });

  it('frees the file when it is closed during a transaction', async () => {
    const rows = Array.from({ length: 4_000 }, (_, index) => ({ ...row, id: String(index) }));
    const first = start(10_000).thread;
    await first.call('connect');
    const pending = first.call('append', rows, undefined).catch(() => undefined);
    await nextTurn();
    await first.close();
    await pending;
    const { thread } = start(10_000);
    await thread.call('overwrite', row, undefined);
    // All of the transaction or nothing, and the overwritten row.
    const all = await new SqliteLogTable(thread).history('key', { limit: 10_000, order: 'newest-first' });
    expect([1, 4_001]).toContain(all.length);
  });

  it('terminates a worker that does not end', async () => {
    const { thread, workers } = start(50, script(`import 'node:worker_threads'; setInterval(() => {}, 1_000);`));
    await expect(thread.call('latest', 'key')).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    await thread.close();
    expect(workers[0]?.threadId).toBe(-1);
  });

  describe('with a disk on which each commit takes 50 ms', () => {
    const calls = Array.from({ length: 1_000 }, (_, i) => ({ ...row, key: `key ${i}`, id: String(i) }));

    it('writes that wait together share commits, each with its own outcome', async () => {
      const { thread, commits } = slow();
      await thread.call('append', [{ ...row, key: 'key 7', id: '7', value: 'another' }], undefined);
      const before = commits();
      const fence = { lease: 'lease', token: 1n };
      const outcomes = await Promise.all([
        ...calls.map((call) => thread.call('append', [call], undefined)),
        thread.call('append', [{ ...row, id: 'fenced' }], fence),
        thread.call('overwrite', { ...row, value: 'x' }, undefined),
      ]);
      expect(outcomes[7]).toEqual({ timestamps: [null] });
      expect(outcomes[1_000]).toEqual({ foundToken: 0n });
      const timestamps = outcomes.flatMap((outcome) => ('timestamps' in outcome ? outcome.timestamps : []));
      expect(timestamps.filter((timestamp) => typeof timestamp === 'bigint')).toHaveLength(999);
      expect(new Set(timestamps).size).toBe(1_000);
      expect(commits() - before).toBeLessThan(10);
      await expect(thread.call('latest', 'key 999')).resolves.toContain('value');
    });

    it('a lease is renewed by the second commit at the latest, whatever the number of waiting writes', async () => {
      const { thread, workers, commits, renewedIn } = slow();
      const { row: lease } = await thread.call(
        'acquire',
        'lease',
        'one incarnation 60000',
        'incarnation',
        undefined,
        0n,
      );
      const worker = workers[0]!;
      const post = worker.postMessage.bind(worker);
      /** How many commits were begun when the latest message had reached the worker. */
      let before = 0;
      jest.spyOn(worker, 'postMessage').mockImplementation((message: unknown, transfer) => {
        post(message, transfer as []);
        before = commits();
      });
      const renewal = {
        name: 'lease',
        token: lease.token,
        incarnation: 'incarnation',
        writer: 'one incarnation 60000',
      };
      const rounds: Promise<unknown>[] = [];
      for (let round = 0; round < 4; round += 1) {
        // With each renewal as many as take four commits, however late this thread is.
        const rows = calls.map((call) => ({ ...call, id: `${call.id} ${round}` }));
        const written = Promise.all(rows.map((one) => thread.call('append', [one], undefined)));
        written.catch(() => undefined); // is seen below
        rounds.push(written);
        const [result] = await thread.call('renew', [renewal]);
        expect(result?.renewed).toBe(true);
        expect(renewedIn() - before).toBeLessThanOrEqual(2);
      }
      await Promise.all(rounds);
    });

    it('a write that the database rejects fails alone', async () => {
      const { thread } = slow();
      const bad = { ...row, id: null as unknown as string };
      const outcomes = await Promise.allSettled([
        thread.call('append', [{ ...row, id: 'before' }], undefined),
        thread.call('append', [{ ...row, id: 'undone' }, bad], undefined),
        thread.call('append', [{ ...row, id: 'after' }], undefined),
      ]);
      expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
      const found = await new SqliteLogTable(thread).history('key', { limit: 9, order: 'oldest-first' });
      expect(found.map(({ id }) => id)).toEqual(['before', 'after']);
    });
  });

  describe('a call that did not begin in time', () => {
    it('reports that its thread had no turn, when no call was before it and no process had the lock', async () => {
      for (const operation of ['connect', 'append', 'latest']) {
        expect(await replies([request(1, operation, [[row]], false)])).toMatchObject([{ code: 'NO_TURN' }]);
      }
    });

    it('reports that others were before it, when they were', async () => {
      const read = [request(1, 'latest', ['key'], true), request(2, 'latest', ['key'], false)];
      expect(await replies(read)).toEqual([undefined, expect.objectContaining({ code: 'READS_WAIT' })]);
      const write = [request(1, 'connect', [], true), request(2, 'append', [[row]], false)];
      expect(await replies(write)).toEqual([undefined, expect.objectContaining({ code: 'WRITES_WAIT' })]);
    });
  });
});
