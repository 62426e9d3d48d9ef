import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { Pool } from 'pg';
import { postgres } from 'nestjs-hedge/postgres';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import type { LeaseClaim } from '../../libs/hedge/src/database/lease-table.js';
import type { PostgresServer } from '../../scripts/postgres-server.js';
import { claimOf, rowOf } from '../backend/rows.js';
import { PGBOUNCER, PgBouncer } from './pgbouncer.js';
import { sql, startServer } from './target.js';

const TIMEOUT_MS = 1_000;

let server: PostgresServer;
let open: Backend[] = [];

beforeAll(async () => {
  // Without a wait for the disk, a commit would be written half a minute later.
  server = await startServer({
    settings: { synchronous_commit: 'off', wal_writer_delay: '10s', max_connections: '30' },
  });
});

afterEach(async () => {
  for (const backend of open) await backend.close();
  open = [];
});

afterAll(() => server.stop());

function backendOf(options: Parameters<typeof postgres>[0], timeoutMs = TIMEOUT_MS): Backend {
  const backend = postgres(options).create({ timeoutMs });
  open.push(backend);
  return backend;
}

async function heldBy(backend: Backend, claim: LeaseClaim): Promise<LeaseClaim & { token: bigint }> {
  const result = await backend.lease.acquire(claim);
  if (!result.acquired) throw new Error('the lease should have been acquired');
  return { ...claim, token: result.token };
}

/** The error of a call, and that it came in time. */
async function failureOf(call: Promise<unknown>): Promise<unknown> {
  const start = performance.now();
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(performance.now() - start).toBeLessThan(TIMEOUT_MS * 3);
  return error;
}

/** Repeats what a member repeats: until the database answers again. */
async function eventually<T>(call: () => Promise<T>): Promise<T> {
  for (const end = performance.now() + 20_000; ;) {
    try {
      return await call();
    } catch (error) {
      if (performance.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

async function pidOf(backendName: string): Promise<unknown> {
  const [row] = await sql(
    server.url(),
    `SELECT pid FROM pg_stat_activity WHERE application_name = '${backendName}' LIMIT 1`,
  );
  return row?.['pid'];
}

describe('a server that is killed', () => {
  it('K1 L1 loses nothing acknowledged, though the database does not wait for the disk by default', async () => {
    const backend = backendOf({ connectionString: server.url() });
    const lease = await heldBy(backend, claimOf());
    const key = randomUUID();
    const rows = Array.from({ length: 20 }, (_, i) => rowOf(key, `${i}`));
    await sql(server.url(), 'CREATE TABLE control (n integer)');
    for (const row of rows) await backend.log.append([row], { lease: lease.name, token: lease.token });
    await sql(server.url(), 'INSERT INTO control VALUES (1)');
    await server.kill();
    expect(await failureOf(backend.lease.renew(lease))).toMatchObject({ code: 'BACKEND_UNAVAILABLE', retryable: true });
    await server.start();
    expect(await eventually(() => backend.lease.renew(lease))).toEqual({ renewed: true });
    const found = await eventually(() => backend.log.history(key, { limit: 99, order: 'oldest-first' }));
    expect(found.map(({ value }) => value)).toEqual(rows.map(({ value }) => value));
    // What the application itself wrote by the same default is gone: the test would notice.
    expect(await sql(server.url(), 'SELECT * FROM control')).toEqual([]);
  });
});

describe('a server that stands still', () => {
  it('is given up in time, and asked on a new connection afterwards', async () => {
    const backend = backendOf({ connectionString: server.url() });
    const lease = await heldBy(backend, claimOf());
    await backend.log.append([rowOf('k')]);
    server.pause();
    try {
      const calls = [backend.lease.renew(lease), backend.lease.read('other'), backend.log.append([rowOf('k')])];
      for (const call of calls) expect(await failureOf(call)).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
      const overwrite = backend.log.overwrite({ key: 'k', value: 'v', leader: '' });
      // It could not even connect, so it surely did not happen.
      expect(await failureOf(overwrite)).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    } finally {
      server.resume();
    }
    expect(await eventually(() => backend.lease.renew(lease))).toEqual({ renewed: true });
  });

  it('leaves an overwrite that was sent with an unknown outcome', async () => {
    const backend = backendOf({ connectionString: server.url() });
    await backend.log.latest('k');
    server.pause();
    const failure = failureOf(backend.log.overwrite({ key: 'k', value: 'v', leader: '' }));
    try {
      expect(await failure).toMatchObject({ code: 'OUTCOME_UNKNOWN', retryable: false });
    } finally {
      server.resume();
    }
  });
});

describe('sessions that the server ends', () => {
  it('are replaced by the next call', async () => {
    const backend = backendOf({ connectionString: `${server.url()}?application_name=ended` });
    const lease = await heldBy(backend, claimOf());
    await backend.log.latest('k');
    await sql(
      server.url(),
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ended'",
    );
    await eventually(async () => expect(await pidOf('ended')).toBeUndefined());
    expect(await backend.lease.renew(lease)).toEqual({ renewed: true });
    expect(await backend.log.latest('nothing')).toBeUndefined();
  });
});

describe('a server that reads only', () => {
  it('never holds a leader: its connection is destroyed, and the next call dials anew', async () => {
    const name = randomUUID();
    const backend = backendOf({ connectionString: `${server.url()}?application_name=${name}` });
    const lease = await heldBy(backend, claimOf());
    const before = await pidOf(name);
    await sql(server.url(), 'ALTER SYSTEM SET default_transaction_read_only = on', 'SELECT pg_reload_conf()');
    try {
      const isRefused = async () => {
        expect(await failureOf(backend.lease.renew(lease))).toMatchObject({
          code: 'BACKEND_UNAVAILABLE',
          details: { sqlState: '25006' },
        });
      };
      await eventually(isRefused);
      await isRefused();
      expect(await failureOf(backend.lease.acquire(claimOf()))).toMatchObject({ details: { sqlState: '25006' } });
    } finally {
      await sql(
        server.url(),
        'SET default_transaction_read_only = off',
        'ALTER SYSTEM RESET default_transaction_read_only',
        'SELECT pg_reload_conf()',
      );
    }
    expect(await eventually(() => backend.lease.renew(lease))).toEqual({ renewed: true });
    expect(await pidOf(name)).not.toBe(before);
  });
});

describe("the application's pool", () => {
  it('does not hold up leases when it is full, and the log waits no longer than it may', async () => {
    const pool = new Pool({ connectionString: server.url(), max: 2 });
    const backend = backendOf({ pool });
    const lease = await heldBy(backend, claimOf());
    const taken = await Promise.all([pool.connect(), pool.connect()]);
    try {
      expect(await backend.lease.renew(lease)).toEqual({ renewed: true });
      expect((await backend.lease.acquire(claimOf())).acquired).toBe(true);
      expect(await failureOf(backend.log.latest('k'))).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
      const overwrite = backend.log.overwrite({ key: 'k', value: 'v', leader: '' });
      expect(await failureOf(overwrite)).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    } finally {
      for (const client of taken) client.release();
    }
    expect(await backend.log.latest('nothing')).toBeUndefined();
    // The connections that came too late are back in the pool.
    expect(
      await Promise.all([pool.connect(), pool.connect()]).then((all) => all.map((one) => one.release())),
    ).toHaveLength(2);
    await backend.close();
    await pool.end();
  });
});

describe('a server without a free connection', () => {
  it('fails calls for now, and serves them when one is free', async () => {
    await sql(server.url(), 'CREATE ROLE few LOGIN SUPERUSER', 'CREATE ROLE one LOGIN CONNECTION LIMIT 1');
    await sql(
      server.url(),
      'GRANT USAGE ON SCHEMA hedge TO one',
      'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA hedge TO one',
    );
    const first = backendOf({ connectionString: server.url({ user: 'one' }) });
    const second = backendOf({ connectionString: server.url({ user: 'one' }) });
    await first.open();
    expect(await failureOf(second.open())).toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
      details: { sqlState: '53300' },
    });
    await first.close();
    await eventually(() => second.open());
  });
});

const withPgBouncer = PGBOUNCER === undefined ? it.skip : it;

describe('PgBouncer', () => {
  withPgBouncer('may be killed and started again', async () => {
    const bouncer = await PgBouncer.start(server.port);
    try {
      const backend = backendOf({ connectionString: bouncer.url });
      const lease = await heldBy(backend, claimOf());
      await bouncer.kill();
      expect(await failureOf(backend.lease.renew(lease))).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
      await bouncer.start();
      expect(await eventually(() => backend.lease.renew(lease))).toEqual({ renewed: true });
    } finally {
      await bouncer.stop();
    }
  });
});
