import { MikroORM } from '@mikro-orm/postgresql';
import { PrismaPg } from '@prisma/adapter-pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { drizzle } from 'drizzle-orm/node-postgres';
import { Kysely, PostgresDialect } from 'kysely';
import makeKnex from 'knex';
import { randomUUID } from 'node:crypto';
import { Pool } from 'pg';
import { DataSource } from 'typeorm';
import { PrismaClient } from '../../../examples/prisma/generated/client.js';
import type { Backend, BackendFactory } from '../../../libs/hedge/src/database/backend.js';
import type { PostgresServer } from '../../../scripts/postgres-server.js';
import { claimOf, rowOf } from '../../backend/rows.js';
import { LENT } from '../../readme/postgres-clients.js';
import { sql, startServer } from '../target.js';

interface Lender {
  readonly factory: BackendFactory;
  readonly close: () => Promise<unknown>;
}

const LENDERS: Readonly<Record<keyof typeof LENT, (url: string) => Promise<Lender>>> = {
  async TypeORM(url) {
    const source = await new DataSource({ type: 'postgres', url }).initialize();
    return { factory: LENT.TypeORM(source), close: () => source.destroy() };
  },
  async Prisma(url) {
    const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: url }) });
    return { factory: LENT.Prisma(prisma), close: () => prisma.$disconnect() };
  },
  async Drizzle(url) {
    const db = drizzle(url);
    return { factory: LENT.Drizzle(db), close: () => db.$client.end() };
  },
  async Kysely(url) {
    const db = new Kysely<unknown>({ dialect: new PostgresDialect({ pool: new Pool({ connectionString: url }) }) });
    return { factory: LENT.Kysely(db), close: () => db.destroy() };
  },
  async Knex(url) {
    const knex = makeKnex({ client: 'pg', connection: url });
    return { factory: LENT.Knex(knex), close: () => knex.destroy() };
  },
  async MikroORM(url) {
    const orm = await MikroORM.init({ clientUrl: url, discovery: { warnWhenNoEntities: false } });
    return { factory: LENT.MikroORM(orm), close: () => orm.close() };
  },
};

let server: PostgresServer;

beforeAll(async () => {
  server = await startServer();
});

afterAll(() => server.stop());

describe.each(Object.keys(LENDERS) as (keyof typeof LENT)[])('a client that %s lends', (library) => {
  let lender: Lender;
  let backend: Backend;
  /** Two at once, of which one may get a conflict. */
  let other: Backend;

  beforeAll(async () => {
    lender = await LENDERS[library](server.url());
    [backend, other] = [0, 1].map(() => lender.factory.create({ timeoutMs: 5_000 })) as [Backend, Backend];
    await backend.open();
  });

  afterAll(async () => {
    await backend.close();
    await other.close();
    await lender.close();
  });

  async function acquired(claim: ReturnType<typeof claimOf>): Promise<bigint> {
    const result = await backend.lease.acquire(claim);
    if (!result.acquired) throw new Error('the lease should have been free');
    return result.token;
  }

  it('L1 L3 acquires, renews, reads and releases leases', async () => {
    const claim = claimOf();
    const token = await acquired(claim);
    expect(await other.lease.acquire({ ...claimOf(claim.name) })).toMatchObject({ acquired: false, record: { token } });
    expect(await backend.lease.renew({ ...claim, token })).toEqual({ renewed: true });
    expect(await backend.lease.renewAll([{ ...claim, token: token - 1n }])).toMatchObject([{ renewed: false }]);
    expect(await backend.lease.release({ ...claim, token })).toBe(true);
    expect(await other.lease.read(claim.name)).toEqual({ token, expiresInMs: 0 });
  });

  it('K1 K2 appends to the log and reads it', async () => {
    const key = `${library}/${randomUUID()}`;
    const row = rowOf(key, 'a text with ?, $1, :name, \\ and "quotes"');
    const [first] = await backend.log.append([row]);
    expect(await other.log.append([row, rowOf(key, 'b')])).toEqual([first, { timestamp: expect.any(BigInt) }]);
    expect(await backend.log.latest(key)).toMatchObject({ value: 'b' });
    expect(await backend.log.history(key, { limit: 9, order: 'oldest-first' })).toMatchObject([row, { value: 'b' }]);
    expect(await backend.log.keys({ prefix: key, limit: 9 })).toEqual([key]);
    await backend.log.overwrite({ key: `${key}/one`, value: 'c', leader: '' });
    expect(await backend.log.latest(`${key}/one`)).toMatchObject({ value: 'c' });
  });

  it('K1 refuses the write of a former holder', async () => {
    const claim = claimOf();
    const token = await acquired(claim);
    const fence = { lease: claim.name, token: token - 1n };
    await expect(backend.log.append([rowOf('key')], fence)).rejects.toMatchObject({ code: 'LEASE_LOST' });
  });

  it('S1 writes the row of a semaphore only after the version that it follows', async () => {
    const claim = claimOf();
    const fence = { lease: claim.name, token: await acquired(claim) };
    const write = { name: randomUUID(), follows: 0n, limit: 2, value: 'one', holders: [], leader: '' };
    const writes = await Promise.all([backend.permits.write(write, fence), other.permits.write(write, fence)]);
    expect(writes.filter(({ written }) => written)).toHaveLength(1);
    expect(await backend.permits.read(write.name)).toMatchObject({ limit: 2, value: 'one' });
  });
});

describe('a client that Prisma lends', () => {
  afterEach(() => sql(server.url(), `ALTER SYSTEM RESET default_transaction_isolation`, 'SELECT pg_reload_conf()'));

  // Prisma 7 hides the SQLSTATE deeper than other libraries.
  it('K1 repeats a write that conflicted with another one', async () => {
    await sql(
      server.url(),
      `ALTER SYSTEM SET default_transaction_isolation = 'serializable'`,
      'SELECT pg_reload_conf()',
    );
    const { factory, close } = await LENDERS.Prisma(server.url());
    const backend = factory.create({ timeoutMs: 30_000 });
    const key = randomUUID();
    await Promise.all(Array.from({ length: 20 }, (_, i) => backend.log.append([rowOf(key, String(i))])));
    expect(await backend.log.history(key, { limit: 99, order: 'oldest-first' })).toHaveLength(20);
    await backend.close();
    await close();
  });
});
