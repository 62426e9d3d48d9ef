import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { randomBytes, randomInt, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'pg';
import { postgres, type PostgresClient } from 'nestjs-hedge/postgres';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import { EXPIRED_SUFFIX } from '../../libs/hedge/src/database/log-table.js';
import { expiryPrefix } from '../../libs/hedge/src/database/row-names.js';
import { MAX_EXPIRING_KEY_BYTES } from '../../libs/hedge/src/kv/kv-limits.js';
import type { PostgresServer } from '../../scripts/postgres-server.js';
import { claimOf, rowOf } from '../backend/rows.js';
import { sql, startServer } from './target.js';

const HOUR_NS = 3_600_000_000_000n;

let server: PostgresServer;
let pool: Pool;
let open: Backend[] = [];

beforeAll(async () => {
  server = await startServer();
  pool = new Pool({ connectionString: server.url() });
});

afterEach(async () => {
  for (const backend of open) await backend.close();
  open = [];
});

afterAll(async () => {
  await pool.end();
  await server.stop();
});

function backendOf(options: Parameters<typeof postgres>[0]): Backend {
  const backend = postgres(options).create({ timeoutMs: 5_000 });
  open.push(backend);
  return backend;
}

async function tokenOf(backend: Backend, claim: ReturnType<typeof claimOf>): Promise<bigint> {
  const result = await backend.lease.acquire(claim);
  if (!result.acquired) throw new Error('the lease should have been acquired');
  return result.token;
}

/** Connections of an application to the server. */
async function countOf(name: string): Promise<unknown> {
  const [row] = await sql(
    server.url(),
    `SELECT count(*)::int AS count FROM pg_stat_activity WHERE application_name = '${name}'`,
  );
  return row?.['count'];
}

describe('what an operation costs, in statements', () => {
  let statements = 0;
  let backend: Backend;

  beforeAll(() => {
    const client: PostgresClient = {
      query(text, values) {
        statements += 1;
        return pool.query(text, values);
      },
    };
    backend = postgres({ client }).create({ timeoutMs: 5_000 });
  });

  async function costOf(work: () => Promise<unknown>): Promise<number> {
    const before = statements;
    await work();
    return statements - before;
  }

  it('a start: two', async () => {
    expect(await costOf(() => backend.open())).toBe(2);
  });

  it('leases: one for each read, acquisition, renewal and release', async () => {
    const claim = claimOf();
    let token = 0n;
    expect(await costOf(async () => (token = await tokenOf(backend, claim)))).toBe(1);
    expect(await costOf(() => backend.lease.read(claim.name))).toBe(1);
    expect(await costOf(() => backend.lease.renew({ ...claim, token }))).toBe(1);
    expect(await costOf(() => backend.lease.acquire(claimOf(claim.name)))).toBe(1);
    expect(await costOf(() => backend.lease.release({ ...claim, token }))).toBe(1);
    expect(await costOf(() => tokenOf(backend, claim))).toBe(1);
  });

  it('locks: one renews a hundred', async () => {
    const claims = Array.from({ length: 100 }, () => claimOf());
    const held = await Promise.all(claims.map(async (claim) => ({ ...claim, token: await tokenOf(backend, claim) })));
    expect(await costOf(() => backend.lease.renewAll(held))).toBe(1);
    expect(await costOf(() => backend.lease.renewAll([]))).toBe(0);
  });

  it('log: one for a batch of any size with its fence, an overwrite and a read, two for a repeated batch', async () => {
    const claim = claimOf();
    const fence = { lease: claim.name, token: await tokenOf(backend, claim) };
    const batch = Array.from({ length: 100 }, (_, i) => rowOf(`k${i}`));
    expect(await costOf(() => backend.log.append(batch, fence))).toBe(1);
    expect(await costOf(() => backend.log.append(batch, fence))).toBe(2);
    expect(await costOf(() => backend.log.overwrite({ key: 'k', value: 'v', leader: 'l' }, fence))).toBe(1);
    expect(await costOf(() => backend.log.latest('k'))).toBe(1);
    expect(await costOf(() => backend.log.latestOf!(batch.map(({ key }) => key)))).toBe(1);
    expect(await costOf(() => backend.log.history('k', { limit: 9, order: 'newest-first' }))).toBe(1);
    expect(await costOf(() => backend.log.keys({ prefix: '', limit: 9 }))).toBe(1);
  });

  it('permits: one for a write with its fence and mirrors, and for a read', async () => {
    const claim = claimOf();
    const fence = { lease: claim.name, token: await tokenOf(backend, claim) };
    const write = { name: randomUUID(), limit: 2, value: 'v', leader: 'l', holders: [{ address: 'a', value: 'v' }] };
    expect(await costOf(() => backend.permits.write({ ...write, follows: 0n }, fence))).toBe(1);
    expect(await costOf(() => backend.permits.read(write.name))).toBe(1);
  });
});

describe('connections', () => {
  it('are one for leases and at most four for the log', async () => {
    const backend = backendOf({ connectionString: `${server.url()}?application_name=counted` });
    await Promise.all(Array.from({ length: 40 }, () => backend.lease.read(randomUUID())));
    expect(await countOf('counted')).toBe(1);
    await Promise.all(Array.from({ length: 40 }, () => backend.log.latest(randomUUID())));
    expect(await countOf('counted')).toBe(5);
    await backend.close();
  });
});

describe('tokens and timestamps', () => {
  it('exceed those that are there, also an hour ahead of the clock', async () => {
    const backend = backendOf({ connectionString: server.url() });
    const claim = claimOf();
    const token = await tokenOf(backend, claim);
    await sql(server.url(), `UPDATE hedge.locktable SET token = token + ${HOUR_NS} WHERE name = '${claim.name}'`);
    // A token that this process did not know is refused once: see `LeaseTable.acquire`.
    expect((await backend.lease.acquire(claim)).acquired).toBe(false);
    expect(await tokenOf(backend, claim)).toBeGreaterThan(token + HOUR_NS);
    await sql(server.url(), `UPDATE hedge.hedge_clock SET last = last + ${HOUR_NS}`);
    const [{ last } = {}] = await sql(server.url(), 'SELECT last FROM hedge.hedge_clock');
    const [outcome] = await backend.log.append([rowOf('ahead')]);
    expect((outcome as { timestamp: bigint }).timestamp).toBe(BigInt(String(last)) + 1n);
  });
});

describe('index entries', () => {
  it('have room for the deletion of the longest key with a time to live, in the group with the longest name', async () => {
    const { log } = backendOf({ connectionString: server.url() });
    // Random, because PostgreSQL compresses texts.
    const group = Array.from({ length: 128 }, () => String.fromCodePoint(randomInt(0x1_0000, 0x11_0000))).join('');
    const key = randomBytes(MAX_EXPIRING_KEY_BYTES).toString('base64').slice(0, MAX_EXPIRING_KEY_BYTES);
    const id = `${randomUUID()}-63${EXPIRED_SUFFIX}`;
    const row = { key: expiryPrefix(group) + key, id, value: '', leader: 'a:1' };
    expect(await log.append([row])).toEqual([{ timestamp: expect.any(BigInt) }]);
  });
});

describe('a database that went back', () => {
  const LEASE_MS = 400;

  it('L1 gives nothing for a whole lease to a process that knows of a higher token, and then a higher one', async () => {
    const backend = backendOf({ connectionString: server.url() });
    const claim = { ...claimOf(), leaseMs: LEASE_MS };
    const token = await tokenOf(backend, claim);
    await sql(
      server.url(),
      `UPDATE hedge.locktable SET token = token - 1000, writer = NULL WHERE name = '${claim.name}'`,
    );
    expect((await backend.lease.renew({ ...claim, token })).renewed).toBe(false);
    const other = { ...claimOf(), leaseMs: LEASE_MS };
    expect((await backend.lease.acquire(claim)).acquired).toBe(false);
    expect((await backend.lease.acquire(other)).acquired).toBe(false);
    await sleep(LEASE_MS + 50);
    expect(await tokenOf(backend, claim)).toBeGreaterThan(token);
    expect(await tokenOf(backend, other)).toBeGreaterThan(token);
  });

  it('L1 gives a lease that was held, and has no row any more, after a whole lease', async () => {
    const [holder, contender] = [
      backendOf({ connectionString: server.url() }),
      backendOf({ connectionString: server.url() }),
    ];
    const claim = { ...claimOf(), leaseMs: LEASE_MS };
    const token = await tokenOf(holder, claim);
    const next = { ...claimOf(claim.name), leaseMs: LEASE_MS };
    expect((await contender.lease.acquire(next)).acquired).toBe(false);
    await sql(server.url(), `DELETE FROM hedge.locktable WHERE name = '${claim.name}'`);
    expect((await contender.lease.acquire(next)).acquired).toBe(false);
    expect((await holder.lease.renew({ ...claim, token })).renewed).toBe(false);
    await sleep(LEASE_MS + 50);
    await contender.lease.acquire(next);
    await sleep(LEASE_MS + 50);
    expect(await tokenOf(contender, next)).toBeGreaterThan(token);
  });
});

describe('a role with other defaults', () => {
  it('serves many writers at once under SERIALIZABLE, without a search path', async () => {
    await sql(
      server.url(),
      'CREATE ROLE strict LOGIN SUPERUSER',
      'ALTER ROLE strict SET default_transaction_isolation = serializable',
      "ALTER ROLE strict SET search_path = ''",
    );
    const backends = Array.from({ length: 3 }, () => backendOf({ connectionString: server.url({ user: 'strict' }) }));
    await Promise.all(backends.map((backend) => backend.open()));
    const key = randomUUID();
    const outcomes = await Promise.all(
      backends.flatMap((backend) => Array.from({ length: 5 }, () => backend.log.append([rowOf(key)]))),
    );
    const timestamps = outcomes.map(([outcome]) => (outcome as { timestamp: bigint }).timestamp);
    expect(new Set(timestamps).size).toBe(15);
    const name = randomUUID();
    const acquired = await Promise.all(backends.map((backend) => backend.lease.acquire(claimOf(name))));
    expect(acquired.filter((result) => result.acquired)).toHaveLength(1);
  });
});
