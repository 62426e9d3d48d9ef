import type { Pool, PoolClient } from 'pg';
import type { DataSource, EntityManager } from 'typeorm';
import { type LeaderService, type Leadership, type LockService, WhileLeader } from 'nestjs-hedge';

interface Invoice {
  readonly id: string;
}
declare function writeInvoice(tx: EntityManager, invoice: Invoice): Promise<void>;
declare function nextInvoice(signal: AbortSignal): Promise<Invoice>;

export async function byTypeorm(locks: LockService, dataSource: DataSource, invoice: Invoice) {
  // #region typeorm
  await locks.use(`invoices/${invoice.id}`, async (lock) => {
    await lock.transaction(dataSource, async (tx) => {
      await writeInvoice(tx, invoice); // tx is an EntityManager
    }); // fenced as its last statement: LEASE_LOST if the lock is not ours any more, and nothing is written
  });
  // #endregion
}

export async function byPg(locks: LockService, pool: Pool, invoice: Invoice) {
  // #region pg
  await locks.use(`invoices/${invoice.id}`, async ({ transaction }) => {
    await transaction(pool, async (tx) => {
      await tx.query('INSERT INTO invoice (id) VALUES ($1)', [invoice.id]); // tx is a PoolClient
    });
  });
  // #endregion
}

export async function inOwnTransaction(locks: LockService, dataSource: DataSource, invoice: Invoice) {
  const lock = await locks.acquire('invoices');
  // #region own
  await dataSource.transaction('SERIALIZABLE', async (tx) => {
    await writeInvoice(tx, invoice);
    await lock.fence(tx); // as the last statement
  });
  // #endregion
}

export async function byClient(locks: LockService, client: PoolClient) {
  const lock = await locks.acquire('invoices');
  // #region client
  await client.query('BEGIN');
  try {
    await client.query("UPDATE invoice SET state = 'sent' WHERE state = 'new'");
    await lock.fence(client);
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined); // fails if the session has ended
    throw error;
  }
  // #endregion
}

export class InvoiceService {
  constructor(
    private readonly dataSource: DataSource,
    private readonly leader: LeaderService,
  ) {}

  // #region leader
  @WhileLeader()
  async sendInvoices({ signal, transaction }: Leadership) {
    while (!signal.aborted) {
      const invoice = await nextInvoice(signal);
      await transaction(this.dataSource, (tx) => writeInvoice(tx, invoice)); // by exactly this term
    }
  }

  async sendNow(invoice: Invoice) {
    await this.leader.transaction(this.dataSource, (tx) => writeInvoice(tx, invoice)); // NOT_LEADER on another pod
  }
  // #endregion
}
