import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import Database from 'libsql';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Backend } from '../../backend/backend.js';
import { sqlite, type SqliteOptions } from './index.js';

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

const modes = (): Record<string, number> =>
  Object.fromEntries(readdirSync(folder).map((name) => [name, statSync(join(folder, name)).mode & 0o777]));

const rowOf = (key: string, value = 'value') => ({ key, id: randomUUID(), value, leader: 'a:1' });
const claimOf = (name: string) => ({ name, holder: { address: 'a:1', incarnation: 'one' }, leaseMs: 60_000 });

const failure = (code: string, ...parts: string[]) =>
  expect.objectContaining({ code, message: expect.stringMatching(new RegExp(parts.join('.*'), 's')) });

describe('sqlite: a file that cannot be used is refused at open', () => {
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

  it('in a folder that is not there', async () => {
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
  it('reads go on, and a write waits its turn', async () => {
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

  it('a write that got no turn in time surely did nothing, an overwrite too', async () => {
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
  it('L1 K1 takes no writes to what nobody else sees, and goes on with the new file', async () => {
    const backend = client();
    await backend.log.append([rowOf('key', 'old')]);
    for (const end of ['', '-wal', '-shm']) rmSync(file + end, { force: true });
    const other = client();
    await other.lease.acquire(claimOf('lease'));
    await expect(backend.log.append([rowOf('key')])).rejects.toEqual(failure('BACKEND_UNAVAILABLE', 'replaced'));
    const again = { ...claimOf('lease'), holder: { address: 'b:1', incarnation: 'two' } };
    await expect(backend.lease.acquire(again)).resolves.toMatchObject({ acquired: false });
  });
});

describe('sqlite: on a disk of its own', () => {
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

  onDisk('that is read-only, is refused at open (needs leave to mount)', async () => {
    mount('size=1m,ro');
    await expect(client({ file: join(disk, 'hedge.db') }).open()).rejects.toEqual(
      failure('INVALID_OPTIONS', 'hedge.db', 'write'),
    );
  });
});

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

describe('sqlite: the files hold the secret of the group', () => {
  it('so those that it makes can be read by their owner only', async () => {
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

  it('also when the file is made behind a symbolic link', async () => {
    symlinkSync(join(folder, 'behind.db'), file);
    await client().open();
    expect(modes()).toMatchObject({ 'behind.db': 0o600 });
  });

  it('and a file that is there keeps the mode that its operator gave it', async () => {
    writeFileSync(file, '');
    chmodSync(file, 0o660);
    await client().open();
    expect(modes()).toEqual({ 'hedge.db': 0o660, 'hedge.db-wal': 0o660, 'hedge.db-shm': 0o660 });
  });
});
