import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import Database from 'libsql';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend } from '../backend.js';
import { sqlite } from './index.js';
import { schemaSql } from './worker/sql.js';

const leaseMs = 200;
const claimOf = (incarnation: string) => ({ name: 'lease', holder: { address: 'a:1', incarnation }, leaseMs });

let folder: string;
let file: string;
let backends: Backend[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hedge-age-'));
  file = join(folder, 'hedge.db');
  backends = [];
});

afterEach(async () => {
  for (const backend of backends) await backend.close();
  rmSync(folder, { recursive: true });
});

/** A process that has just started, as far as its backend can tell. */
function start(): Backend {
  const backend = sqlite({ file }).create({ timeoutMs: 10_000 });
  backends.push(backend);
  return backend;
}

function change(text: string): void {
  const database = new Database(file);
  database.exec(text);
  database.close();
}

/** Acquires the lease, and lets it end. */
async function endedLease(): Promise<bigint> {
  const holder = start();
  const begun = performance.now();
  const taken = await holder.lease.acquire(claimOf('one'));
  if (!taken.acquired) throw new Error('the lease is free');
  while (performance.now() - begun < 2 * leaseMs) await sleep(leaseMs);
  return taken.token;
}

const onLinux = process.platform === 'linux' ? it : it.skip;

describe('sqlite: the age of a lease row', () => {
  onLinux('frees a lease that has ended for a process that has just started', async () => {
    const token = await endedLease();
    const next = start();
    await expect(next.lease.read('lease')).resolves.toMatchObject({ token, expiresInMs: 0 });
    await expect(next.lease.acquire(claimOf('two'))).resolves.toMatchObject({ acquired: true });
  });

  onLinux('counts from the last renewal', async () => {
    const token = await endedLease();
    await expect(backends[0]!.lease.renew({ ...claimOf('one'), token, leaseMs: 60_000 })).resolves.toEqual({
      renewed: true,
    });
    await expect(start().lease.acquire(claimOf('two'))).resolves.toMatchObject({ acquired: false });
  });

  it.each([
    ['another start of the machine', "UPDATE locktable SET stamp = 'x' || stamp"],
    ['version 0.1, which renews without a stamp', 'UPDATE locktable SET renewals = renewals + 1'],
    ['version 0.1, which acquires without a stamp', 'UPDATE locktable SET stamp = NULL'],
    ['an unreadable stamp', "UPDATE locktable SET stamp = stamp || 'x'"],
    ['a later time', "UPDATE locktable SET stamp = replace(stamp, ' 0 ', ' 0 9')"],
  ])('L1 is unknown for a row of %s, so that a process waits a whole lease', async (_, text) => {
    await endedLease();
    change(text);
    await expect(start().lease.read('lease')).resolves.toMatchObject({ expiresInMs: leaseMs });
  });

  it('L1 is unknown for a row of a restored copy, so that a process waits a whole lease', async () => {
    await endedLease();
    await backends[0]!.close();
    const copy = readFileSync(file);
    rmSync(`${file}-wal`, { force: true });
    rmSync(`${file}-shm`, { force: true });
    writeFileSync(file, copy);
    await expect(start().lease.read('lease')).resolves.toMatchObject({ expiresInMs: leaseMs });
  });

  it('is known in tables of version 0.1 from their next write on', async () => {
    change(schemaSql('locktable', 'logtable').replace(', stamp TEXT', ''));
    const token = await endedLease();
    const next = start();
    await expect(next.lease.read('lease')).resolves.toMatchObject({ token });
    await expect(next.log.keys({ prefix: '', limit: 1 })).resolves.toEqual([]);
  });

  it('needs no column in a table of another program', async () => {
    change('CREATE TABLE locktable (name TEXT)');
    await expect(start().open()).rejects.toMatchObject({ code: 'INVALID_OPTIONS' });
    const database = new Database(file);
    const columns = database.prepare("SELECT name FROM pragma_table_info('locktable')").raw(true).all().flat();
    database.close();
    expect(columns).toEqual(['name']);
  });
});
