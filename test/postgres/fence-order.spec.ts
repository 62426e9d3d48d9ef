import { afterAll, beforeAll, beforeEach, expect, it } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'pg';
import { postgres } from 'nestjs-hedge/postgres';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import type { PostgresServer } from '../../scripts/postgres-server.js';
import { claimOf } from '../backend/rows.js';
import { sql, startServer, TABLES } from './target.js';

const TRANSACTIONS = 400;
const WRITERS = 6;
const LEVELS = ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'];

/** Commits under a token although a later acquisition was committed before, by the database's own record. */
const STALE = `SELECT written.token FROM written WHERE EXISTS (SELECT FROM acquired WHERE acquired.token > written.token
  AND pg_xact_commit_timestamp(acquired.xmin) < pg_xact_commit_timestamp(written.xmin))`;

let server: PostgresServer;
let pool: Pool;
let backend: Backend;
const claim = claimOf();

beforeAll(async () => {
  server = await startServer({ settings: { track_commit_timestamp: 'on' } });
  pool = new Pool({ connectionString: server.url() });
  backend = postgres({ connectionString: server.url() }).create({ timeoutMs: 5_000 });
  await sql(
    server.url(),
    'CREATE TABLE written (token bigint)',
    'CREATE TABLE acquired (token bigint)',
    `CREATE FUNCTION record() RETURNS trigger LANGUAGE plpgsql AS
      'BEGIN INSERT INTO acquired VALUES (new.token); RETURN NULL; END'`,
    `CREATE TRIGGER record AFTER INSERT OR UPDATE OF token ON "${TABLES.schema}"."${TABLES.lockTable}"
      FOR EACH ROW EXECUTE FUNCTION record()`,
  );
});

beforeEach(() => sql(server.url(), 'TRUNCATE written, acquired'));

afterAll(async () => {
  await backend.close();
  await pool.end();
  await server.stop();
});

const pause = (mostMs: number): Promise<void> => sleep(Math.random() * mostMs);

/** A transaction that writes under the token that the lease has now. */
async function write(fenced: boolean): Promise<void> {
  const { token } = await backend.lease.read(claim.name);
  const tx = await pool.connect();
  try {
    const level = LEVELS[Math.floor(Math.random() * LEVELS.length)];
    await tx.query(`BEGIN ISOLATION LEVEL ${level}`);
    await tx.query('INSERT INTO written VALUES ($1)', [String(token)]);
    await pause(4);
    if (fenced) await backend.transactions?.fence(tx, { lease: claim.name, token });
    await pause(4);
    await tx.query('COMMIT');
  } catch {
    // Replaced, or a serialization failure.
    await tx.query('ROLLBACK');
  } finally {
    tx.release();
  }
}

/** Writers, while the lease is acquired again and again. @returns tokens of stale commits, and the number of all commits */
async function race(fenced: boolean): Promise<{ readonly stale: unknown[]; readonly commits: number }> {
  const writer = async (): Promise<void> => {
    for (let written = 0; written < TRANSACTIONS / WRITERS; written += 1) {
      await write(fenced);
      await pause(10);
    }
  };
  const writing = new AbortController();
  const acquirer = async (): Promise<void> => {
    while (!writing.signal.aborted) {
      await backend.lease.acquire(claim);
      await pause(10);
    }
  };
  await backend.lease.acquire(claim);
  const writers = Promise.all(Array.from({ length: WRITERS }, writer)).finally(() => writing.abort());
  await Promise.all([acquirer(), writers]);
  const [counted] = await sql(server.url(), 'SELECT count(*)::integer AS commits FROM written');
  return { stale: await sql(server.url(), STALE), commits: Number(counted?.['commits']) };
}

it(`no fenced transaction commits after a later acquisition (F1), in ${TRANSACTIONS} random ones`, async () => {
  const { stale, commits } = await race(true);
  expect(stale).toEqual([]);
  expect(commits).toBeGreaterThan(TRANSACTIONS / 10);
});

it('transactions without a fence do, so that the test before can fail', async () => {
  expect((await race(false)).stale.length).toBeGreaterThan(0);
});
