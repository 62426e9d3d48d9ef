import { Injectable, Logger } from '@nestjs/common';
import type { INestApplicationContext } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import Database from 'libsql';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { JobsService, KvStore, LeaderInterval, LeaderService, LockService, SemaphoreService } from 'nestjs-hedge';
import type { HedgeOptions } from 'nestjs-hedge';
import { sqlite } from 'nestjs-hedge/sqlite';
import { Pods, until } from './apps.js';

const warnings: string[] = [];

@Injectable()
class Ticker {
  @LeaderInterval(1_000, { name: 'tick' }) tick() {}
}

let directory: string;
let file: string;
let pods: Pods;

beforeEach(() => {
  warnings.length = 0;
  jest.spyOn(Logger.prototype, 'warn').mockImplementation((message: unknown) => void warnings.push(String(message)));
  directory = mkdtempSync(join(tmpdir(), 'hedge-groups-'));
  file = join(directory, 'hedge.db');
  pods = new Pods({ providers: [Ticker] });
});

afterEach(async () => {
  await pods.close();
  rmSync(directory, { recursive: true });
  jest.restoreAllMocks();
});

/** A pod that leads its group. All groups use one database file. */
async function leaderOf(group: string, options: Partial<HedgeOptions> = {}): Promise<INestApplicationContext> {
  const app = await pods.start({ group, backend: sqlite({ file }), ...options });
  await until(() => app.get(LeaderService).isLeader(), `a leader of ${group}`);
  return app;
}

async function lastRun(app: INestApplicationContext) {
  return (await app.get(JobsService).history('tick', { limit: 1 }))[0];
}

const isWarned = (text: string): boolean => warnings.some((warning) => warning.includes(text));

describe('two groups on one database', () => {
  it('log a warning that they share keys, unless a prefix separates them', async () => {
    const [first, second] = [await leaderOf('first'), await leaderOf('second')];
    await until(() => isWarned('Group second shares its keys in KvStore with first'), 'a warning');
    await first.get(KvStore).put('rate', '1');
    expect((await second.get(KvStore).get('rate'))?.value).toBe('1');

    warnings.length = 0;
    const third = (await leaderOf('third', { kv: { prefix: 'third/' } })).get(KvStore);
    const fourth = (await leaderOf('fourth', { kv: { prefix: 'fourth/' } })).get(KvStore);
    await third.put('rate', '3');
    await third.put('table', 'overwritten', { append: false });
    await fourth.put('rate', '4');
    expect((await third.get('rate'))?.value).toBe('3');
    expect(await third.history('rate')).toMatchObject([{ key: 'rate', value: '3' }]);
    expect(await third.keys('')).toEqual(['rate', 'table']);
    expect(await third.keys('', { after: 'rate' })).toEqual(['table']);
    expect(await fourth.keys('r')).toEqual(['rate']);
    expect(await fourth.history('rate')).toMatchObject([{ key: 'rate', value: '4' }]);
  });

  it('share no lock, no job and no semaphore, also under the same names', async () => {
    const [nested, outer] = [await leaderOf('a/b'), await leaderOf('a')];
    const held = await nested.get(LockService).acquire('c');
    const others = [await outer.get(LockService).acquire('b/c'), await outer.get(LockService).acquire('c')];
    expect([held, ...others].map((lock) => lock.isValid())).toEqual([true, true, true]);
    await Promise.all([held, ...others].map((lock) => lock.release()));

    for (const app of [nested, outer]) {
      while ((await lastRun(app))?.event !== 'done') await new Promise(setImmediate);
    }
    const [ofNested, ofOuter] = [await lastRun(nested), await lastRun(outer)];
    expect(ofNested?.pod).not.toBe(ofOuter?.pod);

    await nested.get(SemaphoreService).use('s', { limit: 1 }, async () => undefined);
    await expect(outer.get(SemaphoreService).use('s', { limit: 1 }, async () => undefined)).rejects.toMatchObject({
      code: 'CONFLICT',
      message: expect.stringContaining('belongs to group a/b'),
    });
  });
});

describe('keys of a version without prefixes', () => {
  it('are readable as they are, and under a prefix after a move in SQL', async () => {
    const before = await leaderOf('orders');
    const first = await before.get(KvStore).put('rate', '1');
    await before.get(KvStore).put('rate', '2');
    await before.close();
    const database = new Database(file);
    const moved = database.prepare(
      "UPDATE logtable SET key = 'orders/' || key WHERE key NOT LIKE '\\_\\_hedge/%' ESCAPE '\\' AND key NOT LIKE '\\_\\_caller=%' ESCAPE '\\'",
    );
    expect(moved.run().changes).toBe(2);
    database.close();
    const kv = (await leaderOf('orders', { kv: { prefix: 'orders/' } })).get(KvStore);
    await until(() => isWarned('begin with "orders/" now, and began with no prefix before'), 'a warning');
    expect((await kv.history('rate')).map(({ value }) => value)).toEqual(['2', '1']);
    expect(await kv.history('rate', { after: first })).toMatchObject([{ value: '2' }]);
    await kv.put('rate', '3');
    expect((await kv.get('rate'))?.value).toBe('3');
  });
});

describe('the row of an unused semaphore', () => {
  it('can be deleted in SQL: the next request creates it again', async () => {
    const semaphores = (await leaderOf('g')).get(SemaphoreService);
    await semaphores.use('s', { limit: 1 }, async () => undefined);
    const database = new Database(file);
    expect(database.prepare("DELETE FROM logtable WHERE key = '__hedge/semaphore/s'").run().changes).toBe(1);
    database.close();
    await semaphores.use('s', { limit: 1 }, async (permit) => expect(permit.isValid()).toBe(true));
    expect(await semaphores.get('s', { limit: 1 }).holders()).toEqual([]);
  });
});
