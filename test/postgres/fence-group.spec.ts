import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { INestApplicationContext } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { Client, Pool } from 'pg';
import { type Lock, LeaderService, LockService, SemaphoreService } from 'nestjs-hedge';
import { postgres } from 'nestjs-hedge/postgres';
import { HedgeTestingModule, MemoryNetwork } from 'nestjs-hedge/testing';
import type { PostgresServer } from '../../scripts/postgres-server.js';
import { sql, startServer } from './target.js';

const TIMING = { preset: 'local' } as const;

let server: PostgresServer;
let pool: Pool;
let apps: INestApplicationContext[];
let clients: Client[];
let stopBusy = () => {};

beforeAll(async () => {
  server = await startServer();
  pool = new Pool({ connectionString: server.url() });
  await sql(server.url(), 'CREATE TABLE invoice (id text PRIMARY KEY)');
});

beforeEach(() => {
  apps = [];
  clients = [];
});

afterEach(async () => {
  stopBusy();
  await Promise.all(clients.map((client) => client.end()));
  await Promise.all(apps.map((app) => app.close()));
  await sql(server.url(), 'DELETE FROM hedge.logtable', 'DELETE FROM hedge.locktable');
});

afterAll(async () => {
  await pool.end();
  await server.stop();
});

async function begin(): Promise<Client> {
  const client = new Client({ connectionString: server.url() });
  clients.push(client);
  await client.connect();
  await client.query('BEGIN');
  return client;
}

async function pods(count: number): Promise<INestApplicationContext[]> {
  const network = new MemoryNetwork();
  for (let i = 1; i <= count; i += 1) {
    const options = { network, backend: postgres({ connectionString: server.url() }), address: `pod:${i}` };
    const module = Test.createTestingModule({ imports: [HedgeTestingModule.forRoot({ ...options, timing: TIMING })] });
    const app = await module.compile();
    apps.push(app);
    await app.init();
  }
  return apps;
}

async function until(what: string, isDone: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 60_000; !(await isDone());) {
    if (performance.now() > end) throw new Error(`Not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Takes locks and fences them in one transaction, which stays open until the function that it returns is called. */
async function fencedLocks(locks: LockService, names: string[]): Promise<() => Promise<void>> {
  const held: Lock[] = [];
  for (const name of names) held.push(await locks.acquire(name));
  const client = await begin();
  // The bound of the idle time would end the transaction.
  const keepBusy = setInterval(() => void client.query('SELECT 1').catch(() => undefined), 200);
  stopBusy = () => clearInterval(keepBusy);
  for (const lock of held) await lock.fence(client);
  for (const lock of held) await lock.release();
  return async () => {
    stopBusy();
    await client.query('COMMIT');
  };
}

/** How often the lease of the leader of the group was renewed in its present term. */
async function renewals(): Promise<number> {
  const [row] = await sql(server.url(), "SELECT renewals FROM hedge.locktable WHERE name = 'hedge/lease/test'");
  return Number(row?.['renewals']);
}

describe('acquisitions that wait for open fenced transactions', () => {
  it('delay no renewal: a pod with 50 of them keeps its leadership and its locks', async () => {
    const [pod, other] = (await pods(2)) as [INestApplicationContext, INestApplicationContext];
    const [locks, leader] = [pod.get(LockService), pod.get(LeaderService)];
    await until('the first pod leads', () => leader.isLeader());
    const token = leader.fencingToken;
    const mine = await Promise.all(Array.from({ length: 30 }, (_, i) => locks.acquire(`mine/${i}`)));
    const names = Array.from({ length: 50 }, (_, i) => `contended/${i}`);
    const commit = await fencedLocks(other.get(LockService), names);
    const waiting = names.map((name) => locks.acquire(name, { timeoutMs: Infinity }));
    let granted = 0;
    for (const lock of waiting)
      void lock.then(
        () => (granted += 1),
        () => undefined,
      );
    const before = await renewals();
    // Four leases.
    await until('the leader renewed', async () => (await renewals()) >= before + 12);
    // Another lock is acquired meanwhile.
    await (await locks.acquire('free', { timeoutMs: 5_000 })).release();
    expect(granted).toBe(0);
    expect(leader.fencingToken).toBe(token);
    expect(mine.filter((lock) => lock.isValid())).toHaveLength(30);
    await commit();
    const all = await Promise.all(waiting);
    expect(all.filter((lock) => lock.isValid())).toHaveLength(50);
  });
});

describe('a fence that fails on this pod', () => {
  it('keeps the transaction from committing, also when its code swallows the error', async () => {
    const [pod, other] = (await pods(2)) as [INestApplicationContext, INestApplicationContext];
    const lock = await pod.get(LockService).acquire('orders');
    const permit = await pod.get(SemaphoreService).get('reports', { limit: 1 }).acquire();
    await Promise.all([lock.release(), permit.release()]);
    const leaders = [pod, other].map((app) => app.get(LeaderService));
    await until('a pod leads', () => leaders.some((leader) => leader.isLeader()));
    const follower = leaders.find((leader) => !leader.isLeader()) as LeaderService;
    for (const [fenced, code] of [
      [lock, 'LEASE_LOST'],
      [permit, 'LEASE_LOST'],
      [follower, 'NOT_LEADER'],
    ] as const) {
      const client = await begin();
      await client.query("INSERT INTO invoice VALUES ('stale')");
      await expect(fenced.fence(client)).rejects.toMatchObject({ code });
      expect((await client.query('COMMIT')).command).toBe('ROLLBACK');
    }
    expect(await sql(server.url(), "SELECT FROM invoice WHERE id = 'stale'")).toHaveLength(0);
  });
});

describe('permits', () => {
  it('F1 a freed permit cannot commit, and an open fenced transaction holds up the free of this permit only', async () => {
    const [pod, other] = (await pods(2)) as [INestApplicationContext, INestApplicationContext];
    const semaphore = pod.get(SemaphoreService).get('reports', { limit: 1 });
    const next = other.get(SemaphoreService).get('reports', { limit: 1 });
    const permit = await semaphore.acquire();
    await permit.transaction(pool, (tx) => tx.query("INSERT INTO invoice VALUES ('first')"));
    const client = await begin();
    await permit.fence(client);
    const released = permit.release();
    let granted = false;
    const second = next.acquire({ timeoutMs: 20_000 }).then((got) => {
      granted = true;
      return got;
    });
    // Other semaphores go on.
    await pod.get(SemaphoreService).use('others', { limit: 1 }, () => undefined);
    expect(granted).toBe(false);
    await client.query("INSERT INTO invoice VALUES ('second')");
    await client.query('COMMIT');
    await released;
    await (await second).release();
    expect((await sql(server.url(), 'SELECT id FROM invoice ORDER BY id')).map(({ id }) => id)).toEqual([
      'first',
      'second',
    ]);
    await expect(permit.fence(await begin())).rejects.toMatchObject({ code: 'LEASE_LOST' });
  });
});
