import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { PrismaPg } from '@prisma/adapter-pg';
import { DataSource } from 'typeorm';
import { postgres } from 'nestjs-hedge/postgres';
import { PrismaClient } from '../../examples/prisma/generated/client.js';
import { InvoicesService as PrismaInvoices } from '../../examples/prisma/invoices.service.js';
import { Invoice } from '../../examples/typeorm/invoice.entity.js';
import { InvoicesService as TypeormInvoices } from '../../examples/typeorm/invoices.service.js';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import { fencedTransactions } from '../../libs/hedge/src/database/fenced-transactions.js';
import type { PostgresServer } from '../../scripts/postgres-server.js';
import { claimOf } from '../backend/rows.js';
import { heldBy, sql, startServer } from '../postgres/target.js';

const FIRE_TIME = new Date('2026-01-02T03:00:00Z');

let server: PostgresServer;
let dataSource: DataSource;
let prisma: PrismaClient;
let leader: Backend;
let nextLeader: Backend;

beforeAll(async () => {
  server = await startServer();
  await sql(server.url(), 'CREATE TABLE "Invoice" (id text PRIMARY KEY, cents integer NOT NULL, "sentAt" timestamp)');
  dataSource = new DataSource({ type: 'postgres', url: server.url(), entities: [Invoice], synchronize: true });
  await dataSource.initialize();
  prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: server.url() }) });
});

beforeEach(() => {
  [leader, nextLeader] = [backend(), backend()];
});

afterEach(() => Promise.all([leader.close(), nextLeader.close()]));

afterAll(async () => {
  await dataSource.destroy();
  await prisma.$disconnect();
  await server.stop();
});

function backend(): Backend {
  return postgres({ connectionString: server.url() }).create({ timeoutMs: 5_000 });
}

/** A term, and a run of the job in it, which commits as `@LeaderCron` does. */
async function begin() {
  const term = await heldBy(leader, claimOf());
  const row = { key: `example/${randomUUID()}`, id: randomUUID(), value: 'done', leader: 'l' };
  const { transaction } = fencedTransactions({
    what: 'a firing',
    transactions: leader.transactions,
    isHeld: () => true,
    fence: (transactions, tx) => transactions.append(tx, row, { lease: term.name, token: term.token }),
  });
  const { signal } = new AbortController();
  return { term, run: { fireTime: FIRE_TIME, attempt: 1, fencingToken: term.token, signal, transaction } };
}

const EXAMPLES = {
  TypeORM: { table: 'invoice', service: () => new TypeormInvoices(dataSource.getRepository(Invoice)) },
  Prisma: { table: '"Invoice"', service: () => new PrismaInvoices(prisma) },
};

describe.each(Object.entries(EXAMPLES))('the example with %s', (_, { table, service }) => {
  async function unsent(): Promise<number> {
    return (await sql(server.url(), `SELECT FROM ${table} WHERE "sentAt" IS NULL`)).length;
  }

  beforeEach(() => sql(server.url(), `INSERT INTO ${table} (id, cents) VALUES ('${randomUUID()}', 100)`));

  it('sends the invoices, and cannot commit the same firing twice', async () => {
    const { run } = await begin();
    await service().sendInvoices(run);
    expect(await unsent()).toBe(0);
    await expect(service().sendInvoices(run)).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  it('cannot commit after another pod has become the leader', async () => {
    const { term, run } = await begin();
    await leader.lease.release(term);
    await heldBy(nextLeader, claimOf(term.name));
    await expect(service().sendInvoices(run)).rejects.toMatchObject({ code: 'LEASE_LOST' });
    expect(await unsent()).toBe(1);
  });
});
