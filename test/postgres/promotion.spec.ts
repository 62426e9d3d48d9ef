import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { Pool } from 'pg';
import { postgres } from 'nestjs-hedge/postgres';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import type { PostgresServer } from '../../scripts/postgres-server.js';
import { claimOf, rowOf } from '../backend/rows.js';
import { sql, startServer } from './target.js';

const LEASE_MS = 1_500;

let primary: PostgresServer;
let standby: PostgresServer;
let pools: Pool[] = [];
let open: Backend[] = [];
/** The server that the members reach, as by a name that moves at the failover. */
let current: Pool;

beforeAll(async () => {
  primary = await startServer({ settings: { wal_level: 'replica' } });
  standby = await primary.standby();
  pools = [primary, standby].map((server) => new Pool({ connectionString: server.url() }));
  // The sessions of a killed server end with errors that nobody awaits.
  for (const pool of pools) pool.on('error', () => undefined);
});

afterEach(async () => {
  for (const backend of open) await backend.close();
  open = [];
});

afterAll(async () => {
  for (const pool of pools) await pool.end();
  await standby.stop();
  await primary.stop();
});

function member(): Backend {
  const backend = postgres({ client: { query: (text, values) => current.query(text, values) } }).create({
    timeoutMs: 2_000,
  });
  open.push(backend);
  return backend;
}

async function until(what: string, isDone: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 20_000; !(await isDone());) {
    if (performance.now() > end) throw new Error(`Not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe('the promotion of a replica that lacks the last commits', () => {
  it('L1 gives the lost lease to nobody who knows of it for a whole lease, and then a higher token', async () => {
    current = pools[0]!;
    const [leader, follower, hearer] = [member(), member(), member()];
    const name = randomUUID();
    const first = { ...claimOf(name), leaseMs: LEASE_MS };
    const early = await follower.lease.acquire(first);
    const token = early.acquired ? early.token : 0n;
    await follower.log.append([rowOf('replicated', 'kept')]);
    const isThere = async () =>
      (await sql(standby.url(), "SELECT FROM hedge.logtable WHERE key = 'replicated'")).length > 0;
    await until('the standby has the rows', isThere);

    // A standby serves no read, however new it is.
    current = pools[1]!;
    await expect(follower.log.latest('replicated')).rejects.toMatchObject({ details: { sqlState: '25006' } });
    await expect(follower.lease.read(name)).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    current = pools[0]!;

    // From here on, the replica receives nothing.
    await sql(standby.url(), "ALTER SYSTEM SET primary_conninfo = ''", 'SELECT pg_reload_conf()');
    const isAlone = async () => (await sql(standby.url(), 'SELECT FROM pg_stat_wal_receiver')).length === 0;
    await until('the standby is alone', isAlone);
    await follower.lease.release({ ...first, token });
    const claim = { ...claimOf(name), leaseMs: LEASE_MS };
    const result = await leader.lease.acquire(claim);
    const held = { ...claim, token: result.acquired ? result.token : 0n };
    expect(held.token).toBeGreaterThan(token);
    expect((await follower.lease.read(name)).token).toBe(held.token);
    // A third member hears of the new leader by a link, and has not read the row.
    hearer.lease.heard?.(name, held.token, LEASE_MS);
    await leader.log.append([rowOf('lost')], { lease: name, token: held.token });

    await primary.kill();
    await sql(standby.url(), 'SELECT pg_promote()');
    current = pools[1]!;
    const found = performance.now();
    const asked = await follower.lease.acquire(first);
    expect(asked.acquired).toBe(false);
    // The row has this holder again, who could acquire it at once if it did not know more.
    expect((await hearer.lease.acquire(first)).acquired).toBe(false);
    expect((await leader.lease.renew(held)).renewed).toBe(false);
    await expect(leader.log.append([rowOf('lost')], { lease: name, token: held.token })).rejects.toMatchObject({
      code: 'LEASE_LOST',
    });
    let next = 0n;
    await until('the follower acquires the lease', async () => {
      const again = await follower.lease.acquire(first);
      if (again.acquired) next = again.token;
      return again.acquired;
    });
    expect(performance.now() - found).toBeGreaterThanOrEqual(LEASE_MS);
    expect(next).toBeGreaterThan(held.token);
    const renewal = { ...first, token: next };
    expect((await follower.lease.renew(renewal)).renewed).toBe(true);
    follower.lease.heard?.(name, next + 1n, LEASE_MS);
    expect((await follower.lease.renew(renewal)).renewed).toBe(false);
    expect(await follower.log.latest('lost')).toBeUndefined();
    expect((await follower.log.latest('replicated'))?.value).toBe('kept');
  });
});
