import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { Client, Pool } from 'pg';
import { postgres } from 'nestjs-hedge/postgres';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import type { PostgresServer } from '../../scripts/postgres-server.js';
import { claimOf, rowOf } from '../backend/rows.js';
import { PGBOUNCER, PgBouncer } from './pgbouncer.js';
import { eventually, failureOf, heldBy, sessionsOf, sql, startServer, TIMEOUT_MS } from './target.js';

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

const CRASHES: readonly [string, () => Promise<void>][] = [
  ['whose processes are killed', () => server.kill()],
  ['that is shut down immediately', () => server.kill('SIGQUIT')],
  // As the kernel does when the memory is full. The server then ends all sessions, and recovers.
  [
    'one of whose sessions is killed',
    async () => void process.kill((await sessionsOf(server, 'crashed'))[0]!, 'SIGKILL'),
  ],
];

describe('a server', () => {
  it.each(CRASHES)('K1 L1 %s loses nothing acknowledged, whatever it does by default', async (_, crash) => {
    const backend = backendOf({ connectionString: `${server.url()}?application_name=crashed` });
    const lease = await heldBy(backend, claimOf());
    const key = randomUUID();
    const rows = Array.from({ length: 20 }, (_empty, i) => rowOf(key, `${i}`));
    const control = `control_${key.slice(0, 8)}`;
    await sql(server.url(), `CREATE TABLE ${control} (n integer)`);
    for (const row of rows) await backend.log.append([row], { lease: lease.name, token: lease.token });
    await sql(server.url(), `INSERT INTO ${control} VALUES (1)`);
    await crash();
    if (!server.isRunning) {
      expect(await failureOf(backend.lease.renew(lease))).toMatchObject({
        code: 'BACKEND_UNAVAILABLE',
        retryable: true,
      });
      await server.start();
    }
    expect(await eventually(() => backend.lease.renew(lease))).toEqual({ renewed: true });
    const found = await eventually(() => backend.log.history(key, { limit: 99, order: 'oldest-first' }));
    expect(found.map(({ value }) => value)).toEqual(rows.map(({ value }) => value));
    // What the application itself wrote by the same default is gone: the test would notice.
    expect(await sql(server.url(), `SELECT * FROM ${control}`)).toEqual([]);
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

describe('one session that stands still', () => {
  const stopped: number[] = [];
  const stop = (pid: number) => {
    stopped.push(pid);
    process.kill(pid, 'SIGSTOP');
  };
  const resume = () => {
    for (const pid of stopped.splice(0)) process.kill(pid, 'SIGCONT');
  };
  afterEach(resume);

  it('that of leases: it is given up in time, the next call has another one, and the log does not wait', async () => {
    const name = randomUUID();
    const backend = backendOf({ connectionString: `${server.url()}?application_name=${name}` });
    const lease = await heldBy(backend, claimOf());
    stop((await sessionsOf(server, name))[0]!);
    const renewal = failureOf(backend.lease.renew(lease));
    await backend.log.append([rowOf('k')], { lease: lease.name, token: lease.token });
    expect(await renewal).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    expect(await backend.lease.renew(lease)).toEqual({ renewed: true });
    resume();
    // The old one executes its statement, finds nobody to answer, and ends.
    await eventually(async () => expect(await sessionsOf(server, name)).toHaveLength(2));
    expect(await backend.lease.renew(lease)).toEqual({ renewed: true });
  });

  it('leaves a lease to the acquisition that was answered, when it executes an earlier one late', async () => {
    const name = randomUUID();
    const backend = backendOf({ connectionString: `${server.url()}?application_name=${name}` });
    const claim = claimOf();
    await backend.lease.read(claim.name);
    const [late] = await sessionsOf(server, name);
    stop(late!);
    expect(await failureOf(backend.lease.acquire(claim))).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    const lease = await heldBy(backend, claim);
    resume();
    await eventually(async () => expect(await sessionsOf(server, name)).not.toContain(late));
    expect(await backend.lease.renew(lease)).toEqual({ renewed: true });
  });

  it('L1 K1 in the middle of a write: renewals go on, writes fail in time, and nothing is lost afterwards', async () => {
    const name = randomUUID();
    const backend = backendOf({ connectionString: `${server.url()}?application_name=${name}` });
    const lease = await heldBy(backend, claimOf());
    const fence = { lease: lease.name, token: lease.token };
    const [first, second] = [rowOf(name, 'first'), rowOf(name, 'second')];
    // It stops while it has the clock of the log, and waits for this transaction, which inserts the same row.
    const blocker = new Client({ connectionString: server.url() });
    await blocker.connect();
    await blocker.query('BEGIN');
    const columns = [first.key, first.id, first.value, first.leader, 1];
    await blocker.query(
      'INSERT INTO hedge.logtable (key, id, value, leader, timestamp) VALUES ($1, $2, $3, $4, $5)',
      columns,
    );
    // Each of these waits for a moment only.
    let isStopped = false;
    const writes = async (): Promise<unknown> => {
      const failure = await failureOf(backend.log.append([first], fence));
      return isStopped ? failure : writes();
    };
    const write = writes();
    const waiting = async (): Promise<number[]> => {
      // In a transaction, the statistics stay as they were first read.
      await blocker.query('SELECT pg_stat_clear_snapshot()');
      const { rows } = await blocker.query<{ pid: number }>(
        "SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'",
        [name],
      );
      return rows.map(({ pid }) => pid);
    };
    while (!isStopped) {
      const [pid] = await waiting();
      if (pid === undefined) continue;
      stop(pid);
      // It may have ended its wait meanwhile. A stopped one stays as it is.
      isStopped = (await waiting()).includes(pid);
      if (!isStopped) resume();
    }
    await blocker.end();
    expect(await write).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    for (let calls = 0; calls < 2; calls++) {
      expect(await failureOf(backend.log.append([second], fence))).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
      expect(await backend.lease.renew(lease)).toEqual({ renewed: true });
    }
    resume();
    for (const row of [first, second]) await eventually(() => backend.log.append([row], fence));
    const entries = await backend.log.history(name, { limit: 9, order: 'oldest-first' });
    expect(entries.map(({ id }) => id).sort()).toEqual([first.id, second.id].sort());
  });
});

describe('sessions that the server ends', () => {
  it('are replaced by the next call', async () => {
    const backend = backendOf({ connectionString: `${server.url()}?application_name=ended` });
    const lease = await heldBy(backend, claimOf());
    await backend.log.latest('k');
    await sql(server.url(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ended'");
    await eventually(async () => expect(await sessionsOf(server, 'ended')).toEqual([]));
    expect(await backend.lease.renew(lease)).toEqual({ renewed: true });
    expect(await backend.log.latest('nothing')).toBeUndefined();
  });
});

describe('a server that reads only', () => {
  it('never holds a leader: its connection is destroyed, and the next call dials anew', async () => {
    const name = randomUUID();
    const backend = backendOf({ connectionString: `${server.url()}?application_name=${name}` });
    const lease = await heldBy(backend, claimOf());
    const [before] = await sessionsOf(server, name);
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
    expect(await sessionsOf(server, name)).not.toContain(before);
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
