import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { Client, Pool } from 'pg';
import { postgres } from 'nestjs-hedge/postgres';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import type { PostgresServer } from '../../scripts/postgres-server.js';
import { claimOf, rowOf } from '../backend/rows.js';
import { Proxy } from './proxy.js';
import { eventually, failureOf, fillConnections, heldBy, sessionsOf, sql, startServer, TIMEOUT_MS } from './target.js';

const UNAVAILABLE = { code: 'BACKEND_UNAVAILABLE' };

let server: PostgresServer;
let proxy: Proxy;
/** Of this test, at the server. */
let application: string;
let open: Backend[] = [];

beforeAll(async () => {
  server = await startServer({ settings: { max_connections: '20' } });
  await sql(
    server.url(),
    'CREATE ROLE app LOGIN',
    'GRANT USAGE ON SCHEMA hedge TO app',
    'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA hedge TO app',
  );
});

beforeEach(async () => {
  proxy = await Proxy.start(server.port);
  application = randomUUID();
});

afterEach(async () => {
  for (const backend of open) await backend.close();
  open = [];
  await proxy.close();
});

afterAll(() => server.stop());

function backendOf(options: Parameters<typeof postgres>[0], timeoutMs = TIMEOUT_MS): Backend {
  const backend = postgres(options).create({ timeoutMs });
  open.push(backend);
  return backend;
}

const remote = () => `${proxy.url()}?application_name=${application}`;

const sessionsAre = (count: number) =>
  eventually(async () => expect(await sessionsOf(server, application)).toHaveLength(count));

describe('a network that is silent', () => {
  it('K1 L1 fails calls in time, and leaves no session behind', async () => {
    const backend = backendOf({ connectionString: remote() });
    const lease = await heldBy(backend, claimOf());
    const fence = { lease: lease.name, token: lease.token };
    const row = rowOf(application);
    await backend.log.latest('k');
    await sessionsAre(2);
    proxy.silence();
    // The first append reaches the server when the network is back. The caller repeats it under the same id.
    expect(await failureOf(backend.log.append([row], fence))).toMatchObject(UNAVAILABLE);
    for (let calls = 0; calls < 2; calls++) {
      const both = [backend.lease.renew(lease), backend.log.append([row], fence)];
      for (const call of both) expect(await failureOf(call)).toMatchObject(UNAVAILABLE);
    }
    proxy.heal();
    expect(await eventually(() => backend.lease.renew(lease))).toEqual({ renewed: true });
    await eventually(() => backend.log.append([row], fence));
    await sessionsAre(2);
    expect(await backend.log.history(application, { limit: 9, order: 'oldest-first' })).toHaveLength(1);
  });

  it("destroys the connections of the application's pool instead of releasing them to it", async () => {
    const pool = new Pool({ connectionString: remote(), max: 3 });
    const backend = backendOf({ pool });
    await Promise.all([backend.log.latest('a'), backend.log.latest('b')]);
    const before = await sessionsOf(server, application);
    proxy.silence();
    const calls = [backend.log.latest('a'), backend.log.append([rowOf('k')])];
    for (const call of calls) expect(await failureOf(call)).toMatchObject(UNAVAILABLE);
    expect(pool.totalCount).toBe(0);
    proxy.heal();
    expect(await eventually(() => backend.log.latest('a'))).toBeUndefined();
    await sessionsAre(1);
    expect(before).not.toContain((await sessionsOf(server, application))[0]);
    await backend.close();
    await pool.end();
  });
});

describe('a network that breaks', () => {
  it('fails the calls in flight, and the next ones connect again', async () => {
    const pool = new Pool({ connectionString: remote() });
    const backend = backendOf({ pool });
    const lease = await heldBy(backend, claimOf());
    await backend.log.latest('k');
    proxy.delayMs = 200;
    const calls = [backend.lease.renew(lease), backend.log.latest('k')].map(failureOf);
    await new Promise((resolve) => setTimeout(resolve, 100));
    proxy.cut();
    for (const call of calls) expect(await call).toMatchObject(UNAVAILABLE);
    proxy.delayMs = 0;
    expect(await backend.lease.renew(lease)).toEqual({ renewed: true });
    expect(await backend.log.latest('nothing')).toBeUndefined();
    await sessionsAre(2);
    await backend.close();
    await pool.end();
  });
});

describe('a network that takes 500 ms for an answer', () => {
  it('is used with the same connections', async () => {
    const backend = backendOf({ connectionString: remote() }, 5_000);
    proxy.delayMs = 250;
    const lease = await heldBy(backend, claimOf());
    const fence = { lease: lease.name, token: lease.token };
    for (let calls = 0; calls < 3; calls++) {
      expect(await backend.lease.renew(lease)).toEqual({ renewed: true });
      await backend.log.append([rowOf('k')], fence);
    }
    expect(proxy.accepted).toBe(2);
    proxy.delayMs = 0;
  });
});

describe('a row that another transaction keeps locked', () => {
  it('fails writes in time, and does not fill the server with sessions that wait', async () => {
    const backend = backendOf({ connectionString: remote() });
    const blocker = new Client({ connectionString: server.url() });
    await blocker.connect();
    await blocker.query('BEGIN');
    await blocker.query('UPDATE hedge.hedge_clock SET last = last');
    try {
      for (let calls = 0; calls < 4; calls++) {
        expect(await failureOf(backend.log.append([rowOf('k')]))).toMatchObject(UNAVAILABLE);
      }
      // One waits for as long as it may, and is used again; those that were given up have ended.
      await eventually(async () => expect((await sessionsOf(server, application)).length).toBeLessThan(2));
    } finally {
      await blocker.end();
    }
    await eventually(() => backend.log.append([rowOf('k')]));
  });
});

describe('a server without a free connection', () => {
  it.each(['app', 'postgres'])(
    'L1 for role %s: keeps its leader, refuses others for now, and serves them when one is free',
    async (user) => {
      const url = server.url({ user });
      const [leader, other] = [backendOf({ connectionString: url }), backendOf({ connectionString: url })];
      const lease = await heldBy(leader, claimOf());
      const release = await fillConnections(url);
      try {
        expect(await leader.lease.renew(lease)).toEqual({ renewed: true });
        for (const call of [other.open(), other.lease.read(lease.name), leader.log.latest('k')]) {
          expect(await failureOf(call)).toMatchObject({ ...UNAVAILABLE, details: { sqlState: '53300' } });
        }
      } finally {
        await release();
      }
      await eventually(() => other.open());
      await eventually(() => leader.log.latest('k'));
    },
  );
});
