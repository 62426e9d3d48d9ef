import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import Database from 'libsql';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { Backend } from '../backend.js';
import type { LeaseClaim, LeaseTable } from '../lease-table.js';
import { systemClock, type Clock } from '../../common/clock.js';
import { TIMING_PRESETS } from '../../common/timing.js';
import { LeaderElector } from '../../election/leader-elector.runner.js';
import type { Link } from '../../transport/transport.js';
import { VirtualClock } from '../../testing/virtual-clock.js';
import { sqlite, type SqliteOptions } from './index.js';
import { SqliteLeaseTable } from './lease-table.js';
import { workerConfig } from './options.js';
import { SqlitePermitTable } from './permit-table.js';
import { SqliteThreads } from './threads.js';
import { schemaSql } from './worker/sql.js';

const require = createRequire(import.meta.url);

let folder: string;
let file: string;
let backends: Backend[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hedge-sqlite-'));
  file = join(folder, 'hedge.db');
  backends = [];
});

afterEach(async () => {
  for (const backend of backends) await backend.close();
  rmSync(folder, { recursive: true });
});

function client(options: Partial<SqliteOptions> = {}, timeoutMs = 10_000): Backend {
  const backend = sqlite({ file, ...options }).create({ timeoutMs });
  backends.push(backend);
  return backend;
}

function removeFile(): void {
  for (const end of ['', '-wal', '-shm']) rmSync(file + end, { force: true });
}

/** A file of another group of pods. */
async function anotherFile(path: string): Promise<void> {
  const other = client({ file: path });
  await other.log.append([rowOf('key', 'another')]);
  await other.close();
}

const modes = (): Record<string, number> =>
  Object.fromEntries(readdirSync(folder).map((name) => [name, statSync(join(folder, name)).mode & 0o777]));

const rowOf = (key: string, value = 'value') => ({ key, id: randomUUID(), value, leader: 'a:1' });
const claimOf = (name: string) => ({ name, holder: { address: 'a:1', incarnation: 'one' }, leaseMs: 60_000 });

const failure = (code: string, ...parts: string[]) =>
  expect.objectContaining({ code, message: expect.stringMatching(new RegExp(parts.join('.*'), 's')) });

describe('sqlite: an unusable file is rejected at open', () => {
  it('no database', async () => {
    writeFileSync(file, 'this is a text of some length, and no database. '.repeat(100));
    await expect(client().open()).rejects.toEqual(failure('INVALID_OPTIONS', file, 'not a database', 'Restore it'));
  });

  it('a damaged database', async () => {
    const database = new Database(file);
    database.exec('CREATE TABLE other (x)');
    database.close();
    // The first page keeps its header and loses the rest: the table of tables.
    const page = execFileSync('head', ['-c', '100', file]);
    writeFileSync(file, Buffer.concat([page, Buffer.alloc(8_092, 0xa5)]));
    await expect(client().open()).rejects.toEqual(failure('INVALID_OPTIONS', file, 'Restore it'));
  });

  it('in a folder that does not exist', async () => {
    const missing = join(folder, 'missing', 'hedge.db');
    await expect(client({ file: missing }).open()).rejects.toEqual(
      failure('INVALID_OPTIONS', missing, 'does not exist', 'Create the folder'),
    );
  });

  it('a folder', async () => {
    await expect(client({ file: folder }).open()).rejects.toEqual(failure('INVALID_OPTIONS', folder, 'must be a file'));
  });

  it("another program's table of that name", async () => {
    const database = new Database(file);
    database.exec('CREATE TABLE logtable (line TEXT)');
    database.close();
    await expect(client().open()).rejects.toEqual(failure('INVALID_OPTIONS', 'logtable', 'name other tables'));
    await expect(client({ logTable: 'hedge_log' }).open()).resolves.toBeUndefined();
  });
});

describe('sqlite: while another process writes', () => {
  it('a write that waits for a process that is stopped in a transaction names that process and the fix', async () => {
    const backend = client({}, 2_000);
    await backend.open();
    const program = `const D = require(${JSON.stringify(require.resolve('libsql'))});
      const database = new D(${JSON.stringify(file)});
      database.exec('BEGIN IMMEDIATE');
      console.log('in a transaction');
      setInterval(() => database, 1_000);`;
    const frozen = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await once(frozen.stdout, 'data');
      frozen.kill('SIGSTOP');
      const owner = process.platform === 'linux' ? `process ${frozen.pid} holds its write lock` : 'another process';
      await expect(backend.lease.acquire(claimOf('lease'))).rejects.toEqual(
        failure('BACKEND_UNAVAILABLE', owner, 'nobody can lead', 'continue it or kill it'),
      );
    } finally {
      frozen.kill('SIGKILL');
    }
    await expect(backend.lease.acquire(claimOf('lease'))).resolves.toMatchObject({ acquired: true });
  });

  it('reads continue, and a write waits for its turn', async () => {
    const backend = client();
    await backend.log.append([rowOf('key', 'before')]);
    const other = new Database(file);
    other.exec('BEGIN IMMEDIATE');
    const order: string[] = [];
    const write = backend.log.append([rowOf('key', 'after')]).then(() => order.push('write'));
    for (let i = 0; i < 20; i++) await expect(backend.log.latest('key')).resolves.toMatchObject({ value: 'before' });
    await expect(backend.lease.read('lease')).resolves.toMatchObject({ token: 0n });
    order.push('reads');
    other.exec('COMMIT');
    other.close();
    await write;
    expect(order).toEqual(['reads', 'write']);
    await expect(backend.log.latest('key')).resolves.toMatchObject({ value: 'after' });
  });

  it('a write that got no turn in time has certainly not happened, an overwrite too', async () => {
    const backend = client({}, 3_000);
    await backend.open();
    const other = new Database(file);
    other.exec('BEGIN IMMEDIATE');
    const busy = failure('BACKEND_UNAVAILABLE', 'busy');
    const calls = await Promise.allSettled([
      backend.log.overwrite({ key: 'key', value: 'v', leader: '' }),
      backend.lease.acquire(claimOf('lease')),
    ]);
    expect(calls.map((call) => call.status === 'rejected' && call.reason)).toEqual([busy, busy]);
    other.exec('ROLLBACK');
    other.close();
    await expect(backend.log.latest('key')).resolves.toBeUndefined();
    await expect(backend.lease.read('lease')).resolves.toMatchObject({ token: 0n });
    await expect(backend.lease.acquire(claimOf('lease'))).resolves.toMatchObject({ acquired: true });
  });
});

describe('sqlite: a file that was deleted while it was open', () => {
  it('L1 K1 receives no more writes, and the driver continues with the new file', async () => {
    const backend = client();
    await backend.log.append([rowOf('key', 'old')]);
    removeFile();
    const other = client();
    await other.lease.acquire(claimOf('lease'));
    await expect(backend.log.append([rowOf('key')])).rejects.toEqual(failure('BACKEND_UNAVAILABLE', 'replaced'));
    const again = { ...claimOf('lease'), holder: { address: 'b:1', incarnation: 'two' } };
    await expect(backend.lease.acquire(again)).resolves.toMatchObject({ acquired: false });
  });
});

describe('sqlite: a file that was replaced while it was open', () => {
  const leaseMs = 400;
  const old = { ...claimOf('lease'), leaseMs };
  const another = { ...old, holder: { address: 'b:1', incarnation: 'two' } };

  it('is detected by reads too, which then continue with the new file', async () => {
    const [backend, other] = [client(), client()];
    await backend.log.append([rowOf('key', 'old')]);
    await expect(backend.log.latest('key')).resolves.toMatchObject({ value: 'old' });
    removeFile();
    await other.log.append([rowOf('key', 'new')]);
    const replaced = failure('BACKEND_UNAVAILABLE', 'deleted or replaced', 'Stop all pods before');
    await expect(backend.log.latest('key')).rejects.toEqual(replaced);
    await expect(backend.log.latest('key')).resolves.toMatchObject({ value: 'new' });
  });

  it('is detected by each read of a lease, and by each page', async () => {
    const backend = client();
    await backend.lease.read('lease');
    await backend.log.keys({ prefix: '', limit: 1 });
    removeFile();
    await expect(backend.lease.read('lease')).rejects.toEqual(failure('BACKEND_UNAVAILABLE', 'replaced'));
    await expect(backend.lease.read('lease')).resolves.toMatchObject({ token: 0n });
    await backend.log.keys({ prefix: '', limit: 1 });
    removeFile();
    await expect(backend.log.history('k', { limit: 1, order: 'newest-first' })).rejects.toEqual(
      failure('BACKEND_UNAVAILABLE', 'replaced'),
    );
  });

  it('is closed by a thread that has no requests, so that the other threads of the process continue with the new file', async () => {
    const [backend, idle] = [client(), client()];
    await backend.log.append([rowOf('key', 'old')]);
    await idle.open();
    removeFile();
    await anotherFile(file);
    const works = async (one: Backend): Promise<boolean> => {
      await one.log.append([rowOf('mine')]);
      return (await one.log.latest('key'))?.value === 'another';
    };
    // Bounded, so that a failure ends.
    for (let tries = 0; tries < 100 && !(await works(backend).catch(() => false)); tries += 1) await sleep(100);
    expect(await works(backend)).toBe(true);
    expect(await works(idle)).toBe(true);
  }, 60_000);

  describe('between two openings', () => {
    const WORKER_FOLDER = fileURLToPath(new URL('./worker/', import.meta.url));
    let workers: Worker[];
    let threads: SqliteThreads | undefined;

    beforeEach(() => {
      workers = [];
    });

    afterEach(async () => {
      await threads?.close();
      threads = undefined;
    });

    /** Threads whose calls of libsql go through `patch` first, which the test writes as text. */
    function start(patch = ''): SqliteThreads {
      const script = join(folder, 'worker.mjs');
      writeFileSync(
        script,
        `import { createRequire } from 'node:module';
         import { existsSync, renameSync } from 'node:fs';
         import { workerData } from 'node:worker_threads';
         const { prototype } = createRequire(${JSON.stringify(WORKER_FOLDER)})('libsql');
         const { exec, prepare } = prototype;
         ${patch}
         await import(${JSON.stringify(join(WORKER_FOLDER, 'worker.js'))});`,
      );
      threads = new SqliteThreads(workerConfig({ file }), 10_000, (workerData) => {
        const worker = new Worker(script, { workerData, execArgv: [] });
        workers.push(worker);
        return worker;
      });
      return threads;
    }

    /** Puts `.new` in the place of the file between the openings of the writer and of the reader. */
    const SWAP = `
      const { file } = workerData;
      prototype.exec = function (sql) {
        const result = exec.call(this, sql);
        if (sql !== 'PRAGMA synchronous = FULL' || !existsSync(file + '.new')) return result;
        for (const end of ['-wal', '-shm', '']) if (existsSync(file + end)) renameSync(file + end, file + '.old' + end);
        renameSync(file + '.new', file);
        return result;
      };`;

    it('K1 L1 accepts no write when the file is replaced while it is opened', async () => {
      await anotherFile(`${file}.new`);
      const calls = start(SWAP);
      await expect(calls.call('append', [rowOf('key', 'mine')], undefined)).rejects.toEqual(
        failure('BACKEND_UNAVAILABLE', 'replaced'),
      );
      await calls.call('append', [rowOf('key', 'mine')], undefined);
      await expect(client().log.latest('key')).resolves.toMatchObject({ value: 'mine' });
    });

    /** Transactions fail as if the disk did, while there is a file beside that of the database. */
    const FAILING = `
      prototype.prepare = function (sql) {
        const statement = prepare.call(this, sql);
        if (sql !== 'BEGIN IMMEDIATE') return statement;
        return {
          run() {
            if (!existsSync(workerData.file + '.fail')) return statement.run();
            throw Object.assign(new Error('disk I/O error'), { code: 'SQLITE_IOERR' });
          },
        };
      };`;

    const LOSSES = {
      'its threads died': async (): Promise<void> => {
        await Promise.all(workers.map((worker) => worker.terminate()));
      },
      'an I/O error': async (calls: SqliteThreads): Promise<void> => {
        writeFileSync(`${file}.fail`, '');
        await expect(calls.call('append', [rowOf('key')], undefined)).rejects.toEqual(
          failure('BACKEND_UNAVAILABLE', 'I/O error'),
        );
        rmSync(`${file}.fail`);
      },
    };

    const REPLACEMENTS = {
      'another file': async (): Promise<void> => {
        removeFile();
        await anotherFile(file);
      },
      'the contents of another file': async (): Promise<void> => {
        await anotherFile(`${file}.new`);
        for (const end of ['-wal', '-shm']) rmSync(file + end, { force: true });
        writeFileSync(file, readFileSync(`${file}.new`));
      },
      'an earlier copy': async (): Promise<void> => {
        for (const end of ['-wal', '-shm']) rmSync(file + end, { force: true });
        writeFileSync(file, readFileSync(`${file}.copy`));
      },
    };

    it.each(Object.keys(LOSSES).flatMap((loss) => Object.keys(REPLACEMENTS).map((replacement) => [loss, replacement])))(
      'L1 L2 has no lease taken too early when after %s it opens %s',
      async (loss, replacement) => {
        const clock = new VirtualClock();
        const copied = client();
        await copied.log.append([rowOf('other')]);
        await copied.close();
        writeFileSync(`${file}.copy`, readFileSync(file));
        const calls = start(FAILING);
        const follower = new SqliteLeaseTable(calls, clock);
        calls.onReplaced(() => follower.replaced());
        const leader = client();
        await expect(leader.lease.acquire(old)).resolves.toMatchObject({ acquired: true });
        await follower.read('lease');
        await calls.call('latest', 'key');
        await leader.close();

        await LOSSES[loss as keyof typeof LOSSES](calls);
        await REPLACEMENTS[replacement as keyof typeof REPLACEMENTS]();
        // After an I/O error of one thread the other may still be on the log that went with the old file.
        const noticed = failure('BACKEND_UNAVAILABLE', '(replaced|write-ahead log was deleted)');
        await expect(follower.acquire(another)).rejects.toEqual(noticed);
        await expect(follower.acquire(another)).resolves.toMatchObject({ acquired: false });
        clock.advance(leaseMs);
        await expect(follower.acquire(another)).resolves.toMatchObject({ acquired: true });
      },
    );

    it.each(Object.keys(LOSSES))('goes on with the same file after %s', async (loss) => {
      const calls = start(FAILING);
      await calls.call('append', [rowOf('key', 'before')], undefined);
      await LOSSES[loss as keyof typeof LOSSES](calls);
      await calls.call('append', [rowOf('key', 'after')], undefined);
      await expect(calls.call('latest', 'key')).resolves.toMatchObject({ 1: 'after' });
    });

    it('continues with a file of the version before, which has no id yet', async () => {
      const database = new Database(file);
      database.exec(schemaSql('locktable', 'logtable').replace(/[^;]*hedge_file[^;]*;/g, ''));
      database.close();
      const calls = start();
      await calls.call('append', [rowOf('key', 'value')], undefined);
      await expect(calls.call('latest', 'key')).resolves.toMatchObject({ 1: 'value' });
    });
  });

  describe('by the clock of the process that detects it', () => {
    const tables: SqliteThreads[] = [];

    afterEach(async () => {
      for (const threads of tables.splice(0)) await threads.close();
    });

    function leases(clock: Clock): SqliteLeaseTable {
      const threads = new SqliteThreads(workerConfig({ file }), 10_000);
      tables.push(threads);
      const table = new SqliteLeaseTable(threads, clock);
      threads.onReplaced(() => table.replaced());
      return table;
    }

    it('L1 L2 lets no process that knew the old file acquire a lease before a whole lease has passed', async () => {
      const clock = new VirtualClock();
      const [leader, follower] = [leases(clock), leases(clock)];
      await expect(leader.acquire(old)).resolves.toMatchObject({ acquired: true });
      await follower.read('lease');
      removeFile();
      await expect(follower.read('lease')).rejects.toEqual(failure('BACKEND_UNAVAILABLE', 'replaced'));
      // The row is not there, and the leader has asked nothing yet: it believes.
      await expect(follower.read('lease')).resolves.toEqual({ token: 0n, expiresInMs: leaseMs });
      const refused = { acquired: false, record: { token: 0n } };
      await expect(follower.acquire(another)).resolves.toMatchObject(refused);
      // Of another lease too: whoever held it may have had the longest lease that was seen.
      await expect(follower.acquire({ ...another, name: 'lock', leaseMs: 1 })).resolves.toMatchObject(refused);
      clock.advance(leaseMs - 1);
      await expect(follower.acquire(another)).resolves.toMatchObject(refused);
      clock.advance(1);
      await expect(follower.acquire(another)).resolves.toMatchObject({ acquired: true });
    });

    it('S1 grants no permits before the invisible permits of the old file have expired', async () => {
      const clock = new VirtualClock();
      const table = leases(clock);
      await table.acquire(old);
      const permits = new SqlitePermitTable(tables.at(-1) as SqliteThreads, table);
      expect(permits.unseenForMs(2 * leaseMs)).toBe(0);
      removeFile();
      await expect(permits.read('semaphore')).rejects.toEqual(failure('BACKEND_UNAVAILABLE', 'replaced'));
      // Their leader may have renewed them until its lease had passed.
      expect(permits.unseenForMs(2 * leaseMs)).toBe(3 * leaseMs);
      expect(permits.unseenForMs(1)).toBe(3 * leaseMs);
      clock.advance(3 * leaseMs - 1);
      expect(permits.unseenForMs(2 * leaseMs)).toBe(1);
      clock.advance(1);
      expect(permits.unseenForMs(2 * leaseMs)).toBe(0);
    });

    it('L1 L2 grants no lease to a call that began just before the detection', async () => {
      const clock = new VirtualClock();
      const leader = leases(clock);
      const threads = new SqliteThreads(workerConfig({ file }), 10_000);
      tables.push(threads);
      const follower = new SqliteLeaseTable(threads, clock);
      await follower.read('lease');
      await threads.call('latest', 'key');
      await expect(leader.acquire(old)).resolves.toMatchObject({ acquired: true });
      removeFile();
      // The read of a value finds out in the turn in which the lease is asked for.
      let asked: Promise<unknown> = Promise.resolve();
      threads.onReplaced(() => {
        asked = follower.acquire(another);
        follower.replaced();
      });
      await expect(threads.call('latest', 'key')).rejects.toEqual(failure('BACKEND_UNAVAILABLE', 'replaced'));
      await expect(asked).resolves.toMatchObject({ acquired: false });
      clock.advance(leaseMs);
      await expect(follower.acquire(another)).resolves.toMatchObject({ acquired: true });
    });

    it('L1 L3 renews no lease, and acquires with a token above the old ones, although its own clock is behind', async () => {
      const clock = new VirtualClock();
      const backend = leases(clock);
      await backend.read('lease');
      const database = new Database(file);
      database.exec(`UPDATE hedge_clock SET last = ${2n ** 61n}`);
      database.close();
      const taken = await backend.acquire(old);
      if (!taken.acquired) throw new Error('the lease is free');
      expect(taken.token).toBeGreaterThan(2n ** 61n);
      removeFile();
      const renewal = { ...old, token: taken.token };
      await expect(backend.renew(renewal)).rejects.toEqual(failure('BACKEND_UNAVAILABLE', 'replaced'));
      await expect(backend.renew(renewal)).resolves.toMatchObject({ renewed: false, record: { token: 0n } });
      clock.advance(leaseMs);
      await expect(backend.acquire(another)).resolves.toEqual({ acquired: true, token: taken.token + 1n });
    });
  });
});

describe('sqlite: a second SQLite library in this process', () => {
  it('K1 L1 that closes the file, and so deletes its log, is detected before any acknowledgement', async () => {
    const backend = client();
    const lease = { ...claimOf('lease'), leaseMs: 60_000 };
    const taken = await backend.lease.acquire(lease);
    if (!taken.acquired) throw new Error('the lease is free');
    await backend.log.append([rowOf('key', 'before')]);
    await expect(backend.log.latest('key')).resolves.toMatchObject({ value: 'before' });
    // By the rules of POSIX this ends all locks of the process on the file, and SQLite takes itself for the last.
    const second = new (secondLibrary())(file);
    second.exec('SELECT count(*) FROM logtable');
    second.close();
    expect(readdirSync(folder)).not.toContain('hedge.db-wal');

    const lost = failure('BACKEND_UNAVAILABLE', 'write-ahead log was deleted', 'another SQLite library');
    await expect(backend.log.append([rowOf('key', 'seen by nobody')])).rejects.toEqual(lost);
    await expect(backend.lease.renew({ ...lease, token: taken.token })).resolves.toMatchObject({ renewed: false });
    // What was acknowledged is there, for other processes too, and what is written from now on.
    await backend.log.append([rowOf('key', 'after')]);
    const read = `const D = require(${JSON.stringify(require.resolve('libsql'))});
      const rows = new D(${JSON.stringify(file)}).prepare('SELECT value FROM logtable ORDER BY timestamp').raw().all();
      console.log(rows.flat().join())`;
    expect(execFileSync(process.execPath, ['-e', read], { encoding: 'utf8' }).trim()).toBe('before,after');
  });

  it.each([false, true])(
    'K1 is waited for until no other module is on the deleted log (behind a link: %s)',
    async (linked) => {
      const link = `${folder}-link`;
      symlinkSync(folder, link);
      try {
        const path = linked ? join(link, 'hedge.db') : file;
        const [one, two] = [client({ file: path }), client({ file: path })];
        await one.log.append([rowOf('key', 'before')]);
        await two.log.append([rowOf('other', 'before')]);
        const second = new (secondLibrary())(file);
        second.exec('SELECT count(*) FROM logtable');
        second.close();
        const lost = failure('BACKEND_UNAVAILABLE', 'write-ahead log was deleted');
        await expect(one.log.append([rowOf('key', 'lost')])).rejects.toEqual(lost);
        await expect(one.log.append([rowOf('key', 'too early')])).rejects.toEqual(lost);
        await expect(two.log.append([rowOf('other', 'lost')])).rejects.toEqual(lost);
        await one.log.append([rowOf('key', 'after')]);
        await expect(two.log.latest('key')).resolves.toMatchObject({ value: 'after' });
      } finally {
        rmSync(link);
      }
    },
  );
});

/** A copy of the package, whose native library the system takes for another one: it knows nothing of the first. */
function secondLibrary(): typeof Database {
  const [from, to] = [join(dirname(require.resolve('libsql')), '..'), join(folder, 'node_modules')];
  for (const name of ['libsql', '@libsql', '@neon-rs']) cpSync(join(from, name), join(to, name), { recursive: true });
  return createRequire(join(folder, 'index.js'))('libsql') as typeof Database;
}

describe('sqlite: on a separate disk', () => {
  const canMount = mayMount();
  const onDisk = canMount ? it : it.skip;
  let disk: string;

  beforeEach(() => {
    disk = join(folder, 'disk');
    mkdirSync(disk);
  });

  afterEach(() => {
    // Lazily, as SQLite may hold the file until its thread is gone.
    if (canMount) execFileSync('umount', ['-l', disk]);
  });

  function mount(options: string): void {
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', disk]);
  }

  onDisk(
    'K1 that is full, refuses appends, loses nothing, reads on, and works again (needs leave to mount)',
    async () => {
      mount('size=512k');
      const backend = client({ file: join(disk, 'hedge.db') });
      const acknowledged: string[] = [];
      const refusals: unknown[] = [];
      for (let i = 0; i < 100 && refusals.length < 3; i++) {
        const row = rowOf('key', `${i} ${'x'.repeat(20_000)}`);
        await backend.log.append([row]).then(
          () => acknowledged.push(row.value),
          (error: unknown) => refusals.push(error),
        );
      }
      const full = failure('BACKEND_UNAVAILABLE', 'full', 'Make room');
      expect(refusals).toEqual([full, full, full]);
      expect(acknowledged.length).toBeGreaterThan(0);
      const read = async () =>
        (await backend.log.history('key', { limit: 999, order: 'oldest-first' })).map(({ value }) => value);
      await expect(read()).resolves.toEqual(acknowledged);

      execFileSync('mount', ['-o', 'remount,size=8m', disk]);
      await backend.log.append([rowOf('key', 'there is room')]);
      await expect(read()).resolves.toEqual([...acknowledged, 'there is room']);
    },
  );

  onDisk('that is full, has an election say so once, and go on when there is room (needs leave to mount)', async () => {
    mount('size=512k');
    const backend = client({ file: join(disk, 'hedge.db') });
    await backend.open();
    const ballast = join(disk, 'ballast');
    writeFileSync(ballast, '');
    try {
      for (;;) appendFileSync(ballast, 'x'.repeat(1_024));
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' });
    }
    const lines: string[] = [];
    const acquisitions: string[] = [];
    const acquire = (claim: LeaseClaim) => {
      acquisitions.push(claim.name);
      return backend.lease.acquire(claim);
    };
    const elector = new LeaderElector({
      leases: { ...bound(backend.lease), acquire },
      transport: { self: claimOf('').holder, dial: async () => ({ close: () => undefined }) as Link, links: () => [] },
      clock: systemClock,
      group: 'full',
      timing: TIMING_PRESETS.local,
      campaigns: true,
      drainMs: 0,
      logger: { log: (line) => void lines.push(line), warn: (line) => void lines.push(line) },
    });
    try {
      elector.start();
      while (acquisitions.length < 4) await nextTurn();
      rmSync(ballast);
      while (!elector.isLeader()) await nextTurn();
    } finally {
      elector.close();
    }
    expect(lines.filter((line) => line.startsWith('The lease can'))).toEqual([
      expect.stringMatching(
        /cannot be read or written, retrying: acquire on sqlite .*hedge\.db failed: .*full.*Make room/,
      ),
      'The lease can be read and written again',
    ]);
  });

  onDisk('that is read-only, is refused at open (needs leave to mount)', async () => {
    mount('size=1m,ro');
    await expect(client({ file: join(disk, 'hedge.db') }).open()).rejects.toEqual(
      failure('INVALID_OPTIONS', 'hedge.db', 'write'),
    );
  });
});

function bound(lease: LeaseTable): LeaseTable {
  return {
    observes: lease.observes,
    read: (name) => lease.read(name),
    acquire: (claim) => lease.acquire(claim),
    renew: (held) => lease.renew(held),
    renewAll: (held) => lease.renewAll(held),
    release: (held) => lease.release(held),
  };
}

/** Linux, as root, outside an unprivileged container. */
function mayMount(): boolean {
  const probe = mkdtempSync(join(tmpdir(), 'hedge-mount-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', probe], { stdio: 'ignore' });
    execFileSync('umount', [probe]);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(probe, { recursive: true });
  }
}

describe('sqlite: the files contain the secret of the group', () => {
  it('so the driver creates them readable by their owner only', async () => {
    const umask = process.umask(0o022);
    try {
      const backend = client();
      await backend.open();
      await backend.log.append([rowOf('k')]);
      expect(modes()).toEqual({ 'hedge.db': 0o600, 'hedge.db-wal': 0o600, 'hedge.db-shm': 0o600 });
    } finally {
      process.umask(umask);
    }
  });

  it('also when the file is created behind a symbolic link', async () => {
    symlinkSync(join(folder, 'behind.db'), file);
    await client().open();
    expect(modes()).toMatchObject({ 'behind.db': 0o600 });
  });

  it('and an existing file keeps the mode that its operator gave it', async () => {
    writeFileSync(file, '');
    chmodSync(file, 0o660);
    await client().open();
    expect(modes()).toEqual({ 'hedge.db': 0o660, 'hedge.db-wal': 0o660, 'hedge.db-shm': 0o660 });
  });
});
