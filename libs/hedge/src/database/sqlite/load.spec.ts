import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import Database from 'libsql';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Backend } from '../backend.js';
import type { LogEntry } from '../log-table.js';
import { sqlite } from './index.js';

let folder: string;
let file: string;
let backend: Backend;

const holder = { address: 'a:1', incarnation: 'one' };
const claim = { name: 'lease', holder, leaseMs: 60_000 };

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'hedge-load-'));
  file = join(folder, 'hedge.db');
  // The time of one call with the timing `lan`.
  await open(1_500);
});

afterEach(async () => {
  await backend.close();
  rmSync(folder, { recursive: true });
});

async function open(timeoutMs: number): Promise<void> {
  backend = sqlite({ file }).create({ timeoutMs });
  await backend.open();
}

/** With time for calls that a slow machine cannot end: where only their order counts. */
async function openWithTime(): Promise<void> {
  await backend.close();
  await open(50_000);
}

/** That many versions of one key, in one commit. */
function fill(key: string, versions: number, value = 'value'): void {
  const database = new Database(file);
  database
    .prepare(
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${versions})
        INSERT INTO logtable (id, key, value, leader, timestamp) SELECT printf('%08d', i), ?, ?, 'a:1', i FROM n`,
    )
    .run(key, value);
  database.close();
}

async function token(): Promise<bigint> {
  const result = await backend.lease.acquire(claim);
  if (!result.acquired) throw new Error('the lease is free');
  return result.token;
}

describe('sqlite: during many reads', () => {
  it('a lease is renewed, and a value is read and written, before 40 earlier requests for long histories have ended', async () => {
    await openWithTime();
    fill('long', 20_000);
    const held = { ...claim, token: await token() };
    let ended = 0;
    const histories = Array.from({ length: 40 }, async () => {
      const found = await backend.log.history('long', { limit: 10_000, order: 'newest-first' });
      ended += 1;
      return found.length;
    });
    await expect(backend.lease.renew(held)).resolves.toEqual({ renewed: true });
    await backend.log.append([{ key: 'k', id: 'i', value: 'v', leader: 'a:1' }]);
    await expect(backend.log.latest('k')).resolves.toMatchObject({ value: 'v' });
    expect(ended).toBe(0);
    expect(await Promise.all(histories)).toEqual(histories.map(() => 10_000));
  }, 60_000);

  it('a lease is renewed before 100 earlier requests for values of 2.5 MiB have ended', async () => {
    await openWithTime();
    fill('large', 1, 'x'.repeat(2_621_440));
    const held = { ...claim, token: await token() };
    let ended = 0;
    const values = Array.from({ length: 100 }, async () => {
      const found = await backend.log.latest('large');
      ended += 1;
      return found?.value.length;
    });
    await expect(backend.lease.renew(held)).resolves.toEqual({ renewed: true });
    expect(ended).toBeLessThan(100);
    expect(await Promise.all(values)).toEqual(values.map(() => 2_621_440));
  }, 60_000);

  it('a history of 400,000 versions is read completely, although no single call could read it in time', async () => {
    fill('endless', 400_000);
    const found = await backend.log.history('endless', { limit: Infinity, order: 'oldest-first' });
    expect(found).toHaveLength(400_000);
    expect(found.every(({ timestamp }: LogEntry, index) => timestamp === BigInt(index + 1))).toBe(true);
  }, 120_000);

  it('a cancelled history ends after the current page', async () => {
    fill('long', 20_000);
    const controller = new AbortController();
    const read = backend.log.history('long', { limit: Infinity, order: 'newest-first', signal: controller.signal });
    controller.abort(new Error('the request was closed'));
    await expect(read).rejects.toMatchObject({ code: 'CANCELLED', cause: new Error('the request was closed') });
  });

  it('K2 a value written after a page of large versions is read, although the history was cancelled there', async () => {
    fill('large', 300, 'x'.repeat(10_000));
    for (const order of ['newest-first', 'oldest-first'] as const) {
      const controller = new AbortController();
      const read = backend.log.history('large', { limit: Infinity, order, signal: controller.signal });
      controller.abort();
      await expect(read).rejects.toMatchObject({ code: 'CANCELLED' });
      await backend.log.append([{ key: 'k', id: order, value: order, leader: 'a:1' }]);
      await expect(backend.log.latest('k')).resolves.toMatchObject({ value: order });
    }
  });

  it('a history is read completely and in order, whatever the sizes of its versions', async () => {
    const sizes = [1, 300_000, 0, 0, 0, 0, 0, 90_000, 90_000, 90_000, ...Array.from({ length: 30 }, () => 10_000), 1];
    const ids = sizes.map((_, i) => String(i).padStart(2, '0'));
    for (const [i, size] of sizes.entries()) {
      await backend.log.append([{ key: 'mixed', id: ids[i] ?? '', value: 'v'.repeat(size), leader: 'a:1' }]);
    }
    for (const limit of [1, 4, 5, 11, Infinity]) {
      const oldest = await backend.log.history('mixed', { limit, order: 'oldest-first' });
      expect(oldest.map(({ id }) => id)).toEqual(ids.slice(0, limit));
      const newest = await backend.log.history('mixed', { limit, order: 'newest-first' });
      expect(newest.map(({ id }) => id)).toEqual([...ids].reverse().slice(0, limit));
    }
  });

  it('all of 2,500 keys are listed, in order', async () => {
    const names = Array.from({ length: 2_500 }, (_, i) => `key/${String(i).padStart(4, '0')}`);
    await backend.log.append(names.map((key) => ({ key, id: 'i', value: '', leader: 'a:1' })));
    await expect(backend.log.keys({ prefix: 'key/', limit: 2 ** 31 - 1 })).resolves.toEqual(names);
    await expect(backend.log.keys({ prefix: 'key/', limit: 2_100, after: 'key/0099' })).resolves.toEqual(
      names.slice(100, 2_200),
    );
  });
});

describe('sqlite: while another process holds the write lock', () => {
  it('an acquisition of a held lease is refused at once, because it needs no lock', async () => {
    await openWithTime();
    const held = await token();
    const other = new Database(file);
    other.exec('BEGIN IMMEDIATE');
    try {
      const wanted = { ...claim, holder: { address: 'b:1', incarnation: 'two' } };
      const refused = await Promise.all(Array.from({ length: 100 }, () => backend.lease.acquire(wanted)));
      for (const result of refused) expect(result).toMatchObject({ acquired: false, record: { token: held, holder } });
    } finally {
      other.close();
    }
  });

  it('renewals go before acquisitions that have waited longer', async () => {
    await openWithTime();
    const held = { ...claim, token: await token() };
    const other = new Database(file);
    other.exec('BEGIN IMMEDIATE');
    let last = '';
    // More than share one transaction.
    const acquisitions = Array.from({ length: 600 }, async (_, lock) => {
      await backend.lease.acquire({ ...claim, name: `lock ${lock}` });
      last = 'acquisition';
    });
    await backend.log.latest('key');
    const renewal = backend.lease.renew(held).then((result) => {
      last = 'renewal';
      return result;
    });
    await backend.log.latest('key');
    other.close();
    await expect(renewal).resolves.toEqual({ renewed: true });
    await Promise.all(acquisitions);
    expect(last).toBe('acquisition');
  });
});
