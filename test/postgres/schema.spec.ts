import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { postgres } from 'nestjs-hedge/postgres';
import type { HedgeError } from '../../libs/hedge/src/common/errors.js';
import { schemaDdl } from '../../libs/hedge/src/database/postgres/schema.js';
import { PostgresServer } from '../../scripts/postgres-server.js';
import { claimOf, rowOf } from '../backend/rows.js';
import { nestjsHedge, Running } from '../cli/command-line.js';
import { sql, TABLES } from './target.js';

let server: PostgresServer;
let database: string;
let url: string;

beforeAll(async () => {
  server = await PostgresServer.start();
  await sql(server.url(), 'CREATE ROLE app LOGIN');
});

beforeEach(async () => {
  database = `d${randomUUID().slice(0, 8)}`;
  await sql(server.url(), `CREATE DATABASE ${database}`);
  url = server.url({ database });
});

afterAll(() => server.stop());

async function refusalOf(
  connectionString: string,
  names: Partial<typeof TABLES> = {},
): Promise<HedgeError | undefined> {
  const backend = postgres({ connectionString, ...names }).create({ timeoutMs: 10_000 });
  try {
    await backend.open();
    return undefined;
  } catch (error) {
    return error as HedgeError;
  } finally {
    await backend.close();
  }
}

/** The statements of an error, one after the other. */
async function mend(error: HedgeError | undefined): Promise<void> {
  expect(error).toMatchObject({ code: 'INVALID_OPTIONS' });
  const [, statements = ''] = /:\n([^]+)$/.exec(error?.message ?? '') ?? [];
  await sql(url, statements);
}

describe('a start', () => {
  it('on an empty database fails with the statements that make the tables', async () => {
    const error = await refusalOf(url);
    expect(error?.details['lacks']).toContain('schema hedge');
    await mend(error);
    expect(await refusalOf(url)).toBeUndefined();
  });

  it.each([
    ['DROP TABLE hedge.logtable', 'table logtable'],
    ['ALTER TABLE hedge.locktable DROP COLUMN heartbeat', 'column locktable.heartbeat'],
    ['ALTER TABLE hedge.locktable DROP CONSTRAINT locktable_pkey', 'primary key (name) of table locktable'],
    ['DROP INDEX hedge.locktable_fence', 'index (name, token) of table locktable'],
    ['DROP INDEX hedge.logtable_commits', 'index ("timestamp") of table logtable'],
    ['DROP INDEX hedge.logtable_semaphore', 'index (key) of table logtable'],
    ['DELETE FROM hedge.hedge_clock', 'the row of table hedge_clock'],
  ])('after %s fails with the statement that mends it', async (damage, lack) => {
    await sql(url, ...schemaDdl(TABLES), damage);
    const error = await refusalOf(url);
    expect(error?.details['lacks']).toContain(lack);
    await mend(error);
    expect(await refusalOf(url)).toBeUndefined();
  });

  it.each([
    [
      'ALTER TABLE hedge.logtable ALTER COLUMN key TYPE text COLLATE "default"',
      /type text COLLATE "C".* of column logtable.key/,
    ],
    [
      'ALTER TABLE hedge.logtable ALTER COLUMN timestamp TYPE numeric',
      /type bigint NOT NULL of column logtable.timestamp/,
    ],
  ])('after %s fails, and does not offer to convert', async (damage, message) => {
    await sql(url, ...schemaDdl(TABLES), damage);
    expect(await refusalOf(url)).toMatchObject({ code: 'INVALID_OPTIONS', message: expect.stringMatching(message) });
  });

  it('of a role without rights fails with the grants, and needs no others', async () => {
    await sql(url, ...schemaDdl(TABLES));
    const own = server.url({ user: 'app', database });
    const first = await refusalOf(own);
    expect(first?.message).toContain('GRANT USAGE ON SCHEMA "hedge" TO "app"');
    await mend(first);
    const backend = postgres({ connectionString: own }).create({ timeoutMs: 10_000 });
    await backend.open();
    const claim = claimOf();
    const result = await backend.lease.acquire(claim);
    const token = result.acquired ? result.token : 0n;
    const fence = { lease: claim.name, token };
    expect(await backend.lease.renew({ ...claim, token })).toEqual({ renewed: true });
    await backend.log.append([rowOf('k')], fence);
    await backend.log.overwrite({ key: 'k', value: 'v', leader: 'l' }, fence);
    const write = { name: 's', limit: 1, value: 'v', leader: 'l', follows: 0n };
    const written = await backend.permits.write(
      { ...write, holders: [{ address: 'a', value: 'v' }, { address: 'b' }] },
      fence,
    );
    expect(written.written).toBe(true);
    expect(await backend.lease.release({ ...claim, token })).toBe(true);
    await backend.close();
  });

  it('without the right user or database fails for good', async () => {
    expect(await refusalOf(server.url({ user: 'nobody' }))).toMatchObject({ code: 'INVALID_OPTIONS' });
    expect(await refusalOf(server.url({ database: 'nowhere' }))).toMatchObject({ code: 'INVALID_OPTIONS' });
  });
});

describe('nestjs-hedge schema --dialect postgres', () => {
  it('prints one transaction, which may run again', async () => {
    const { code, out, err } = await nestjsHedge('schema', '--dialect', 'postgres', '--lock-table', 'locks');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatch(/^BEGIN;\n[^]*"hedge"\."locks"[^]*\nCOMMIT;\n\n$/);
    await sql(url, out, out);
    expect(await refusalOf(url, { lockTable: 'locks' })).toBeUndefined();
  });

  it('applies the schema, again and again', async () => {
    const names = ['--schema', 'other', '--lock-table', 'locks', '--log-table', 'log'];
    for (let times = 0; times < 2; times++) {
      const finished = await nestjsHedge('schema', '--dialect', 'postgres', ...names, '--apply', '--url', url);
      expect(finished).toMatchObject({
        code: 0,
        err: `Applied to postgres 127.0.0.1:${server.port}/${database}.\n`,
      });
    }
    expect(await refusalOf(url, { schema: 'other', lockTable: 'locks', logTable: 'log' })).toBeUndefined();
    expect(await sql(url, 'SELECT * FROM other.hedge_schema')).toEqual([
      { lock_table: 'locks', log_table: 'log', version: 1 },
    ]);
  });

  it('prints only the error when it cannot apply the schema', async () => {
    const nowhere = 'postgres://postgres@127.0.0.1:1/db';
    const running = new Running(['schema', '--dialect', 'postgres', '--apply', '--url', nowhere]);
    expect(await running.ended).toEqual({
      code: 1,
      out: '',
      err: 'Applying the schema to postgres 127.0.0.1:1/db failed: connect ECONNREFUSED 127.0.0.1:1. Correct the cause, and run the command again: that is safe.\n',
    });
  });

  it.each([
    [['--apply'], 2, '--apply needs --url'],
    [['--index'], 2, '--index and --database go with --dialect googlesql'],
    [['--schema', 'A'], 2, 'schema "A" is no usable name'],
    [['--apply', '--url', 'mysql://host/db'], 2, 'connectionString must be postgres://'],
  ])('refuses %j', async (args, code, message) => {
    const finished = await nestjsHedge('schema', '--dialect', 'postgres', ...args);
    expect(finished).toMatchObject({ code, err: expect.stringContaining(message) });
  });
});
