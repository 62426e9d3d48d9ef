import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { Client, Pool } from 'pg';
import { DataSource, type EntityManager } from 'typeorm';
import { postgres } from 'nestjs-hedge/postgres';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import type { LeaseClaim } from '../../libs/hedge/src/database/lease-table.js';
import type { Fence, LogAppend } from '../../libs/hedge/src/database/log-table.js';
import type { PermitFence, UserTransactions } from '../../libs/hedge/src/database/user-transactions.js';
import type { PostgresServer } from '../../scripts/postgres-server.js';
import { claimOf } from '../backend/rows.js';
import { PGBOUNCER, PgBouncer } from './pgbouncer.js';
import { sql, startServer } from './target.js';

const LEVELS = ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'];

let server: PostgresServer;
let pool: Pool;
let open: { close(): unknown }[] = [];
/** One for the holder, one for its successor: each judges the lease for itself. */
let holder: Backend;
let successor: Backend;
let transactions: UserTransactions;

beforeAll(async () => {
  server = await startServer();
  pool = new Pool({ connectionString: server.url() });
  await sql(server.url(), 'CREATE TABLE invoice (id text PRIMARY KEY)');
});

beforeEach(() => {
  holder = backendOf(server.url());
  successor = backendOf(server.url());
  transactions = transactionsOf(holder);
});

afterEach(async () => {
  for (const one of open) await one.close();
  open = [];
});

afterAll(async () => {
  await pool.end();
  await server.stop();
});

function backendOf(connectionString: string): Backend {
  const backend = postgres({ connectionString }).create({ timeoutMs: 5_000 });
  open.push(backend);
  return backend;
}

function transactionsOf(backend: Backend): UserTransactions {
  if (backend.transactions === undefined) throw new Error('the driver should fence transactions');
  return backend.transactions;
}

async function acquire(backend: Backend, claim: LeaseClaim): Promise<Fence> {
  const result = await backend.lease.acquire(claim);
  if (!result.acquired) throw new Error('the lease should have been acquired');
  return { lease: claim.name, token: result.token };
}

interface Held extends Fence {
  readonly claim: LeaseClaim;
}

async function hold(leaseMs = 60_000): Promise<Held> {
  const claim = { ...claimOf(), leaseMs };
  return { ...(await acquire(holder, claim)), claim };
}

/** Another member acquires the lease, after its holder has released it. */
async function succeed({ claim, token }: Held): Promise<Fence> {
  await holder.lease.release({ ...claim, token });
  return acquire(successor, claimOf(claim.name));
}

/** A permit of a new semaphore. */
async function permitOf(held: Held): Promise<PermitFence> {
  const [semaphore, id] = [randomUUID(), randomUUID()];
  const write = { name: semaphore, follows: 0n, limit: 1, value: 'v', leader: 'l', holders: [] };
  const granted = await holder.permits.write({ ...write, permits: [{ id, permitMs: 9_000 }] }, held);
  return { semaphore, id, token: (granted as { timestamp: bigint }).timestamp };
}

async function clientOf(connectionString = server.url()): Promise<Client> {
  const client = new Client({ connectionString });
  await client.connect();
  open.push({ close: () => client.end().catch(() => undefined) });
  return client;
}

async function invoices(): Promise<unknown[]> {
  return (await sql(server.url(), 'SELECT id FROM invoice')).map(({ id }) => id);
}

/** A new invoice, in the transaction. */
async function insert(client: { query(text: string, values: unknown[]): Promise<unknown> }): Promise<string> {
  const id = randomUUID();
  await client.query('INSERT INTO invoice VALUES ($1)', [id]);
  return id;
}

async function dataSourceOf(): Promise<DataSource> {
  const source = await new DataSource({ type: 'postgres', url: server.url() }).initialize();
  open.push({ close: () => source.destroy() });
  return source;
}

/** Waits until a statement of the session waits for a lock of another transaction. */
async function untilWaiting(text: string): Promise<void> {
  const waits = `SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%${text}%'`;
  for (const end = performance.now() + 20_000; (await sql(server.url(), waits)).length === 0;) {
    if (performance.now() > end) throw new Error(`no statement waits: ${text}`);
    await setTimeout(10);
  }
}

describe.each(LEVELS)('F1 a fence under %s', (level) => {
  it('holds, and lets the transaction commit', async () => {
    const held = await hold();
    const client = await clientOf();
    await client.query(`BEGIN ISOLATION LEVEL ${level}`);
    const id = await insert(client);
    await transactions.fence(client, held);
    await client.query('COMMIT');
    expect(await invoices()).toContain(id);
  });

  it('fails after a successor acquired the lease, and the transaction cannot commit', async () => {
    const held = await hold();
    const client = await clientOf();
    await client.query(`BEGIN ISOLATION LEVEL ${level}`);
    const id = await insert(client);
    await succeed(held);
    await expect(transactions.fence(client, held)).rejects.toMatchObject({ code: 'LEASE_LOST', retryable: false });
    // The error is swallowed.
    await expect(client.query('SELECT 1')).rejects.toMatchObject({ code: '25P02' });
    expect((await client.query('COMMIT')).command).toBe('ROLLBACK');
    expect(await invoices()).not.toContain(id);
  });

  it('waits for an acquisition in progress, and fails when it commits', async () => {
    const held = await hold();
    const client = await clientOf();
    const other = await clientOf();
    await client.query(`BEGIN ISOLATION LEVEL ${level}`);
    await insert(client);
    await other.query('BEGIN');
    await other.query('UPDATE hedge.locktable SET token = token + 1 WHERE name = $1', [held.lease]);
    const fenced = expect(transactions.fence(client, held)).rejects.toMatchObject({ code: 'LEASE_LOST' });
    await untilWaiting('FOR KEY SHARE');
    await other.query('COMMIT');
    await fenced;
    await client.query('ROLLBACK');
  });

  it('holds after an acquisition in progress was rolled back', async () => {
    const held = await hold();
    const client = await clientOf();
    const other = await clientOf();
    await client.query(`BEGIN ISOLATION LEVEL ${level}`);
    const id = await insert(client);
    await other.query('BEGIN');
    await other.query('UPDATE hedge.locktable SET token = token + 1 WHERE name = $1', [held.lease]);
    const fenced = transactions.fence(client, held);
    await untilWaiting('FOR KEY SHARE');
    await other.query('ROLLBACK');
    await fenced;
    await client.query('COMMIT');
    expect(await invoices()).toContain(id);
  });

  it('is not disturbed by renewals before, during and after it', async () => {
    const held = await hold();
    const client = await clientOf();
    const renew = async () => {
      expect(await holder.lease.renew({ ...held.claim, token: held.token })).toEqual({ renewed: true });
    };
    await client.query(`BEGIN ISOLATION LEVEL ${level}`);
    const id = await insert(client);
    await renew();
    await transactions.fence(client, held);
    await renew();
    await transactions.fence(client, held);
    await renew();
    await client.query('COMMIT');
    expect(await invoices()).toContain(id);
  });

  it('keeps an acquisition from committing before the transaction does', async () => {
    const held = await hold();
    const client = await clientOf();
    await client.query(`BEGIN ISOLATION LEVEL ${level}`);
    const id = await insert(client);
    await transactions.fence(client, held);
    await holder.lease.release({ ...held.claim, token: held.token });
    const claim = claimOf(held.lease);
    const early = await successor.lease.acquire(claim).catch((error: unknown) => error);
    expect(early).not.toMatchObject({ acquired: true });
    await client.query('COMMIT');
    expect((await acquire(successor, claim)).token).toBeGreaterThan(held.token);
    expect(await invoices()).toContain(id);
  });
});

describe.each(['REPEATABLE READ', 'SERIALIZABLE'])(
  'a transaction under %s that began before the acquisition',
  (level) => {
    it('cannot be fenced, and the error says to acquire first, not that the lease is lost', async () => {
      const client = await clientOf();
      const begin = async () => {
        await client.query(`BEGIN ISOLATION LEVEL ${level}`);
        return insert(client);
      };
      const refused = { code: 'INVALID_ARGUMENT', message: expect.stringContaining('Acquire first, then begin') };
      const early = await begin();
      const held = await hold();
      await expect(transactions.fence(client, held)).rejects.toMatchObject(refused);
      expect((await client.query('COMMIT')).command).toBe('ROLLBACK');
      const earlier = await begin();
      const permit = await permitOf(held);
      await expect(transactions.fencePermit(client, permit)).rejects.toMatchObject(refused);
      expect((await client.query('COMMIT')).command).toBe('ROLLBACK');
      const id = await begin();
      await transactions.fence(client, held);
      await transactions.fencePermit(client, permit);
      await client.query('COMMIT');
      const written = await invoices();
      expect([early, earlier, id].map((one) => written.includes(one))).toEqual([false, false, true]);
    });
  },
);

it('a serialization failure of another cause stays one, so that the transaction can be repeated', async () => {
  const held = await hold();
  const [client, other] = [await clientOf(), await clientOf()];
  for (const one of [client, other]) await one.query('BEGIN ISOLATION LEVEL SERIALIZABLE');
  for (const one of [client, other]) await one.query('SELECT count(*) FROM invoice');
  for (const one of [client, other]) await insert(one);
  await other.query('COMMIT');
  await expect(transactions.fence(client, held)).rejects.toMatchObject({ code: '40001' });
  await client.query('ROLLBACK');
});

describe('a fence', () => {
  it('is refused outside of a transaction, also after a write', async () => {
    const held = await hold();
    const client = await clientOf();
    await insert(client);
    for (const tx of [client, pool, {}, undefined]) {
      await expect(transactions.fence(tx, held)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
    // What it set for the transaction has no effect.
    const { rows } = await client.query('SHOW idle_in_transaction_session_timeout');
    expect(rows).toEqual([{ idle_in_transaction_session_timeout: '0' }]);
  });

  it('is refused outside of a transaction, also by a library that drops nulls, rows or the names of columns', async () => {
    const held = await hold();
    const client = await clientOf();
    const results: ((row: object) => object[])[] = [
      (row) => [Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null))],
      (row) => [Object.fromEntries(Object.entries(row).map(([name, value]) => [name.toUpperCase(), value]))],
      () => [],
    ];
    for (const result of results) {
      const query = async (text: string, values: unknown[]) => (await client.query(text, values)).rows.flatMap(result);
      await expect(transactions.fence({ query }, held)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
  });

  it('holds as the first statement of a transaction', async () => {
    const held = await hold();
    const client = await clientOf();
    await client.query('BEGIN');
    await transactions.fence(client, held);
    await client.query('COMMIT');
  });

  it('is refused in a transaction that only reads, with advice', async () => {
    const held = await hold();
    const client = await clientOf();
    await client.query('BEGIN READ ONLY');
    await expect(transactions.fence(client, held)).rejects.toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
      retryable: true,
      details: { sqlState: '25006' },
      message: expect.stringContaining('READ ONLY'),
    });
  });

  it('is refused in a transaction of which a statement has failed, and says so', async () => {
    const held = await hold();
    const client = await clientOf();
    await client.query('BEGIN');
    await expect(client.query('SELECT 1 / 0')).rejects.toThrow();
    await expect(transactions.fence(client, held)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      retryable: false,
      message: expect.stringContaining('An earlier statement of the transaction has failed'),
    });
  });

  it('makes the commit wait for the disk, and keeps a stronger setting', async () => {
    const held = await hold();
    const client = await clientOf();
    for (const [before, after] of [
      ['off', 'on'],
      ['local', 'on'],
      ['on', 'on'],
      ['remote_apply', 'remote_apply'],
    ]) {
      await client.query('BEGIN');
      await client.query(`SET LOCAL synchronous_commit = ${before}`);
      await transactions.fence(client, held);
      const { rows } = await client.query('SHOW synchronous_commit');
      expect(rows).toEqual([{ synchronous_commit: after }]);
      await client.query('COMMIT');
    }
  });

  it('bounds the idle time of the transaction to the length of the lease, and keeps a shorter one', async () => {
    const held = await hold(7_000);
    const client = await clientOf();
    for (const [before, after] of [
      ['0', '7s'],
      ['5s', '5s'],
      ['1min', '7s'],
    ]) {
      await client.query('BEGIN');
      await client.query(`SET LOCAL idle_in_transaction_session_timeout = '${before}'`);
      await transactions.fence(client, held);
      const { rows } = await client.query('SHOW idle_in_transaction_session_timeout');
      expect(rows).toEqual([{ idle_in_transaction_session_timeout: after }]);
      await client.query('COMMIT');
      const { rows: later } = await client.query('SHOW idle_in_transaction_session_timeout');
      expect(later).toEqual([{ idle_in_transaction_session_timeout: '0' }]);
    }
  });

  it('keeps an expired lease from being acquired, of which contenders then name no holder', async () => {
    const held = await hold(500);
    const client = await clientOf();
    await client.query('BEGIN');
    await transactions.fence(client, held);
    const claim = { ...claimOf(held.lease), leaseMs: 500 };
    const holders: boolean[] = [];
    for (const end = performance.now() + 20_000; holders.filter((holder) => !holder).length < 3;) {
      if (performance.now() > end) throw new Error('the contender still names the holder');
      // Not idle, so the session stays.
      await client.query('SELECT 1');
      const result = await successor.lease.acquire(claim);
      if (result.acquired) throw new Error('the lease was taken over');
      const isNamed = result.record.holder !== undefined;
      // The lease may expire while the statement runs.
      if (!isNamed) expect(result.record.expiresInMs).toBeGreaterThan(0);
      holders.push(isNamed);
      await setTimeout(50);
    }
    // First it waits for the lease to expire; from then on, the holder does not appear again.
    expect(holders.slice(-3)).toEqual([false, false, false]);
    await client.query('ROLLBACK');
    expect((await acquire(successor, claim)).token).toBeGreaterThan(held.token);
  });

  it('does not hold up a take-over for longer than that, when its process stands still', async () => {
    const held = await hold(500);
    const client = await clientOf();
    await client.query('BEGIN');
    const id = await insert(client);
    await transactions.fence(client, held);
    for (const end = performance.now() + 20_000; ;) {
      const result = await successor.lease.acquire({ ...claimOf(held.lease), leaseMs: 500 });
      if (result.acquired) break;
      if (performance.now() > end) throw new Error('the lease was not taken over');
      await setTimeout(50);
    }
    // The event of the ended session ends no process, and the commit fails.
    await expect(client.query('COMMIT')).rejects.toThrow();
    expect(await invoices()).not.toContain(id);
  });

  it('is undone by a rollback to an older savepoint, as the documentation says', async () => {
    const held = await hold();
    const client = await clientOf();
    await client.query('BEGIN');
    await client.query('SAVEPOINT older');
    await transactions.fence(client, held);
    await client.query('ROLLBACK TO older');
    expect((await succeed(held)).token).toBeGreaterThan(held.token);
    await client.query('ROLLBACK');
  });
});

describe('run', () => {
  it('commits the work on a pool, and rolls back when it rejects', async () => {
    const held = await hold();
    const id = await transactions.run(pool, async (tx) => {
      await transactions.fence(tx, held);
      return insert(tx as Client);
    });
    expect(await invoices()).toContain(id);
    let lost = '';
    const work = async (tx: unknown) => {
      lost = await insert(tx as Client);
      throw new Error('the work failed');
    };
    await expect(transactions.run(pool, work)).rejects.toThrow('the work failed');
    expect(await invoices()).not.toContain(lost);
    expect(pool.idleCount).toBe(pool.totalCount);
  });

  it('rejects when the work has swallowed the error of a statement', async () => {
    const ran = transactions.run(pool, async (tx) => {
      await insert(tx as Client);
      await (tx as Client).query('SELECT 1 / 0').catch(() => undefined);
    });
    await expect(ran).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('says how to use a client of pg, which is no data source', async () => {
    await expect(transactions.run(await clientOf(), async () => 1)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('Give the pg.Pool. Or run BEGIN on the client yourself'),
    });
  });

  it('refuses what is no data source', async () => {
    for (const source of [undefined, {}, 'postgres://', await clientOf()]) {
      await expect(transactions.run(source, async () => 1)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
  });
});

function row(): LogAppend {
  return { key: randomUUID(), id: 'done', value: 'v', leader: 'l' };
}

describe('append', () => {
  it('adds the row with the commit, after all rows that were there, and before later ones', async () => {
    const held = await hold();
    const added = row();
    const [before] = await holder.log.append([{ ...added, id: 'before' }], held);
    await transactions.run(pool, async (tx) => {
      await transactions.append(tx, added, held);
      expect((await holder.log.latest(added.key))?.id).toBe('before');
    });
    const latest = await holder.log.latest(added.key);
    expect(latest).toMatchObject(added);
    expect(latest!.timestamp).toBeGreaterThan((before as { timestamp: bigint }).timestamp);
    const [after] = await holder.log.append([{ ...added, id: 'after' }], held);
    expect((after as { timestamp: bigint }).timestamp).toBeGreaterThan(latest!.timestamp);
  });

  it('does not make other writes of the log wait, nor fail a transaction that sees an earlier state', async () => {
    const held = await hold();
    const added = row();
    const client = await clientOf();
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await insert(client);
    await holder.log.append([row()]);
    await transactions.append(client, added, held);
    await holder.log.append([row()]);
    await client.query('COMMIT');
    expect(await holder.log.latest(added.key)).toMatchObject(added);
  });

  it('does not stop the log while another row with its id waits for the end of its transaction', async () => {
    const held = await hold();
    const added = row();
    const client = await clientOf();
    await client.query('BEGIN');
    await transactions.append(client, added, held);
    const failed = () => holder.log.append([{ ...added, value: 'failed' }], held);
    const others = (async () => {
      for (let count = 0; count < 150; count += 1) await successor.log.append([row()]);
      return 'appended';
    })();
    // More often than the scheduler of a job repeats it.
    while ((await Promise.race([others, setTimeout(1)])) === undefined) {
      await expect(failed()).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE', details: { sqlState: '55P03' } });
    }
    await client.query('COMMIT');
    expect(await failed()).toMatchObject([{ code: 'CONFLICT' }]);
    expect(await holder.log.latest(added.key)).toMatchObject(added);
  });

  it('is a CONFLICT when the row is there, and then the transaction cannot commit', async () => {
    const held = await hold();
    const added = row();
    await transactions.run(pool, (tx) => transactions.append(tx, added, held));
    let id = '';
    const again = transactions.run(pool, async (tx) => {
      id = await insert(tx as Client);
      await expect(transactions.append(tx, added, held)).rejects.toMatchObject({ code: 'CONFLICT' });
    });
    await expect(again).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(await invoices()).not.toContain(id);
  });

  it('fails after a successor acquired the lease, and outside of a transaction, and adds nothing', async () => {
    const held = await hold();
    const added = row();
    await expect(transactions.append(await clientOf(), added, held)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    await succeed(held);
    const late = transactions.run(pool, (tx) => transactions.append(tx, added, held));
    await expect(late).rejects.toMatchObject({ code: 'LEASE_LOST' });
    expect(await holder.log.latest(added.key)).toBeUndefined();
  });
});

describe('TypeORM', () => {
  it('fences the EntityManager of dataSource.transaction', async () => {
    const held = await hold();
    const source = await dataSourceOf();
    const save = () =>
      source.transaction(async (tx) => {
        const id = await insert(tx);
        await transactions.fence(tx, held);
        return id;
      });
    const saved = await save();
    expect(await invoices()).toContain(saved);
    await succeed(held);
    const before = await invoices();
    await expect(save()).rejects.toMatchObject({ code: 'LEASE_LOST' });
    expect(await invoices()).toEqual(before);
  });

  it('fences a QueryRunner in a transaction, and refuses it before and after', async () => {
    const held = await hold();
    const source = await dataSourceOf();
    const runner = source.createQueryRunner();
    try {
      await expect(transactions.fence(runner, held)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
      await runner.startTransaction();
      await transactions.fence(runner, held);
      await transactions.fence(runner.manager, held);
      await runner.commitTransaction();
      await expect(transactions.fence(runner, held)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    } finally {
      await runner.release();
    }
  });

  it('runs work of a DataSource and of its EntityManager', async () => {
    const source = await dataSourceOf();
    for (const one of [source, source.manager]) {
      const id = await transactions.run(one, (tx) => insert(tx as EntityManager));
      expect(await invoices()).toContain(id);
    }
  });

  it('refuses a DataSource as a transaction, and a nested transaction', async () => {
    const held = await hold();
    const source = await dataSourceOf();
    for (const tx of [source, source.manager]) {
      await expect(transactions.fence(tx, held)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
    await source.transaction(async (tx) => {
      const nested = tx.transaction(async (inner) => transactions.fence(inner, held));
      await expect(nested).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
      await transactions.fence(tx, held);
    });
  });
});

(PGBOUNCER === undefined ? it.skip : it)('fences through PgBouncer in transaction mode', async () => {
  const bouncer = await PgBouncer.start(server.port);
  const through = new Pool({ connectionString: bouncer.url });
  try {
    const held = await hold();
    const own = transactionsOf(backendOf(bouncer.url));
    await expect(own.fence(await clientOf(bouncer.url), held)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    const save = () =>
      own.run(through, async (tx) => {
        const id = await insert(tx as Client);
        await own.fence(tx, held);
        return id;
      });
    const saved = await save();
    expect(await invoices()).toContain(saved);
    await succeed(held);
    const before = await invoices();
    await expect(save()).rejects.toMatchObject({ code: 'LEASE_LOST' });
    expect(await invoices()).toEqual(before);
    const { rows } = await through.query('SHOW idle_in_transaction_session_timeout');
    expect(rows).toEqual([{ idle_in_transaction_session_timeout: '0' }]);
  } finally {
    await through.end();
    for (const one of open.splice(0)) await one.close();
    await bouncer.stop();
  }
});

describe('a role with the rights of the documentation', () => {
  const RIGHTS = [
    'GRANT USAGE ON SCHEMA hedge TO app_writer',
    'GRANT SELECT, UPDATE (heartbeat) ON hedge.locktable TO app_writer',
    'GRANT SELECT, UPDATE (leader) ON hedge.logtable TO app_writer',
  ];

  it('can fence by a lease and by a permit, and without them learns which right it lacks', async () => {
    await sql(server.url(), 'CREATE ROLE app_writer LOGIN');
    const held = await hold();
    const permit = await permitOf(held);
    const client = await clientOf(server.url({ user: 'app_writer' }));
    await client.query('BEGIN');
    await expect(transactions.fence(client, held)).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      details: { sqlState: '42501' },
    });
    await client.query('ROLLBACK');
    await sql(server.url(), ...RIGHTS);
    await client.query('BEGIN');
    await transactions.fence(client, held);
    await transactions.fencePermit(client, permit);
    const { rows } = await client.query('SHOW idle_in_transaction_session_timeout');
    expect(rows).toEqual([{ idle_in_transaction_session_timeout: '9s' }]);
    await client.query('COMMIT');
    await client.query('BEGIN');
    await expect(transactions.append(client, row(), held)).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining('INSERT on that table'),
    });
    await client.query('ROLLBACK');

    const { semaphore: name, id, token: follows } = permit;
    const freed = { name, follows, limit: 1, value: 'v', leader: 'l', holders: [], permits: [{ id }] };
    await holder.permits.write(freed, held);
    await client.query('BEGIN');
    await expect(transactions.fencePermit(client, permit)).rejects.toMatchObject({ code: 'LEASE_LOST' });
    expect((await client.query('COMMIT')).command).toBe('ROLLBACK');
  });
});
