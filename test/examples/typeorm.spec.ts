import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import Database from 'libsql';
import { DataSource, type Repository } from 'typeorm';
import { Fence } from '../../examples/typeorm/fence.entity.js';
import { Invoice } from '../../examples/typeorm/invoice.entity.js';
import { InvoicesService } from '../../examples/typeorm/invoices.service.js';

const fireTime = new Date('2026-01-02T03:00:00Z');

let source: DataSource;
let invoices: Repository<Invoice>;
beforeEach(async () => {
  // libsql has the API of better-sqlite3.
  const entities = [Fence, Invoice];
  source = new DataSource({
    type: 'better-sqlite3',
    driver: Database,
    database: ':memory:',
    entities,
    synchronize: true,
  });
  await source.initialize();
  invoices = source.getRepository(Invoice);
  await invoices.save([
    { id: 'a', cents: 100, sentAt: null },
    { id: 'b', cents: 200, sentAt: '2026-01-01T03:00:00.000Z' },
  ]);
});
afterEach(() => source.destroy());

function send(fencingToken: bigint, signal = new AbortController().signal): Promise<void> {
  return new InvoicesService(invoices).sendInvoices({ fireTime, fencingToken, signal });
}

async function sentAt(id: string): Promise<string | null> {
  return (await invoices.findOneByOrFail({ id })).sentAt;
}

describe('the TypeORM example', () => {
  it('sends the invoices that are not sent yet', async () => {
    await send(9n);
    expect([await sentAt('a'), await sentAt('b')]).toEqual(['2026-01-02T03:00:00.000Z', '2026-01-01T03:00:00.000Z']);
  });

  it('accepts the write of the next leader, whose token has one digit more', async () => {
    await send(9n);
    await invoices.update({ id: 'a' }, { sentAt: null });
    await send(10n);
    expect(await sentAt('a')).not.toBeNull();
  });

  it('rejects the write of a leader that was replaced', async () => {
    await send(10n);
    await invoices.update({ id: 'a' }, { sentAt: null });
    await expect(send(9n)).rejects.toThrow('another pod leads');
    expect(await sentAt('a')).toBeNull();
  });

  it('stops when the lease is lost', async () => {
    await expect(send(9n, AbortSignal.abort(new Error('lost')))).rejects.toThrow('lost');
    expect(await sentAt('a')).toBeNull();
  });
});
