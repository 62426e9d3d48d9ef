import { protos, Spanner as Spanner8 } from '@google-cloud/spanner';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { Spanner as Spanner9 } from 'spanner9';
import { spanner } from 'nestjs-hedge/spanner';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import type { Fence } from '../../libs/hedge/src/database/log-table.js';
import type { UserTransactions } from '../../libs/hedge/src/database/user-transactions.js';
import { acquireFence, claimOf, rowOf, staleFence } from '../backend/rows.js';
import { databaseOf, INVOICE_DDL, openTarget, TABLE_DDL, type Target } from './target.js';

const { ReadWrite, IsolationLevel } = protos.google.spanner.v1.TransactionOptions;
const { OPTIMISTIC } = ReadWrite.ReadLockMode;
const { REPEATABLE_READ } = IsolationLevel;

const lost = { code: 'LEASE_LOST' };
const refused = { code: 'INVALID_ARGUMENT' };

describe.each([
  [8, Spanner8],
  [9, Spanner9 as unknown as typeof Spanner8],
])('F1 a transaction of @google-cloud/spanner %i', (_version, Spanner) => {
  let target: Target;
  let client: Spanner8;
  let database: ReturnType<ReturnType<Spanner8['instance']>['database']>;
  let backend: Backend;
  let transactions: UserTransactions;
  let id: string;

  beforeAll(async () => {
    target = await openTarget([...TABLE_DDL, INVOICE_DDL]);
    client = new Spanner({ projectId: 'p', disableBuiltInMetrics: true });
    database = databaseOf(client, target);
    backend = spanner({ database: target.database }).create({ timeoutMs: 10_000 });
    if (backend.transactions === undefined) throw new Error('the driver should fence transactions');
    transactions = backend.transactions;
  });

  beforeEach(() => {
    id = randomUUID();
  });

  afterAll(async () => {
    await backend.close();
    await client.close();
    await target.close();
  });

  type Tx = Parameters<Parameters<typeof database.runTransactionAsync>[1]>[0];

  const acquire = (lease?: string) => acquireFence(backend, lease);
  const stale = () => staleFence(backend);
  const insert = (tx: unknown) =>
    (tx as Tx).runUpdate({ sql: 'INSERT INTO invoice (id, cents) VALUES (@id, 100)', params: { id } });
  const fenced = (fence: Fence) => (tx: unknown) => transactions.fence(tx, fence);

  async function isCommitted(): Promise<boolean> {
    const [rows] = await database.run({ sql: 'SELECT 1 FROM invoice WHERE id = @id', params: { id } });
    return rows.length > 0;
  }

  it('commits for the holder, with DML and with mutations', async () => {
    const holder = await acquire();
    await database.runTransactionAsync(async (tx) => {
      tx.insert('invoice', { id, cents: 100 });
      await transactions.fence(tx, holder);
      await tx.commit();
    });
    expect(await isCommitted()).toBe(true);
    id = randomUUID();
    await expect(transactions.run(database, async (tx) => [await insert(tx), 7][1], fenced(holder))).resolves.toBe(7);
    expect(await isCommitted()).toBe(true);
  });

  it('commits nothing for a stale holder, also if it swallows the error', async () => {
    const fence = await stale();
    const begun = database.runTransactionAsync(async (tx) => {
      await insert(tx);
      await expect(transactions.fence(tx, fence)).rejects.toMatchObject(lost);
      await tx.commit();
    });
    await expect(begun).rejects.toThrow();
    expect(await isCommitted()).toBe(false);
    await expect(transactions.run(database, insert, fenced(fence))).rejects.toMatchObject(lost);
    expect(await isCommitted()).toBe(false);
  });

  it('commits nothing when a successor acquires the lease between an optimistic fence and the commit', async () => {
    const holder = await acquire();
    await holder.release();
    let attempts = 0;
    const begun = database.runTransactionAsync({ readLockMode: OPTIMISTIC }, async (tx) => {
      attempts += 1;
      await insert(tx);
      await transactions.fence(tx, holder);
      if (attempts === 1) await acquire(holder.lease);
      await tx.commit();
    });
    await expect(begun).rejects.toMatchObject(lost);
    expect(attempts).toBe(2);
    expect(await isCommitted()).toBe(false);
  });

  it('lets a renewal pass between the fence and the commit', async () => {
    const claim = claimOf();
    const result = await backend.lease.acquire(claim);
    if (!result.acquired) throw new Error('the lease should have been free');
    const { token } = result;
    let attempts = 0;
    await database.runTransactionAsync(async (tx) => {
      attempts += 1;
      await insert(tx);
      await transactions.fence(tx, { lease: claim.name, token });
      await expect(backend.lease.renew({ ...claim, token })).resolves.toEqual({ renewed: true });
      await tx.commit();
    });
    expect(attempts).toBe(1);
    expect(await isCommitted()).toBe(true);
  });

  it('passes the error of the work unchanged, and leaves nothing', async () => {
    const error = new Error('of the work');
    const work = async (tx: unknown) => {
      await insert(tx);
      throw error;
    };
    await expect(transactions.run(database, work, fenced(await acquire()))).rejects.toBe(error);
    expect(await isCommitted()).toBe(false);
  });

  it('commits a row of the log with the writes of the holder, once', async () => {
    const holder = await acquire();
    const row = rowOf(randomUUID());
    const append = (tx: unknown) => transactions.append(tx, row, holder);
    await transactions.run(database, insert, append);
    expect(await backend.log.latest(row.key)).toMatchObject(row);
    expect(await isCommitted()).toBe(true);
    id = randomUUID();
    await expect(transactions.run(database, insert, append)).rejects.toMatchObject({ code: 'CONFLICT' });
    expect(await isCommitted()).toBe(false);
  });

  it('is fenced by a permit, until it is freed', async () => {
    const { lease, token } = await acquire();
    const name = randomUUID();
    const write = { name, follows: 0n, limit: 1, value: id, holders: [], leader: '' };
    const granted = await backend.permits.write({ ...write, permits: [{ id, permitMs: 60_000 }] }, { lease, token });
    if (!granted.written) throw new Error('the permit should have been granted');
    const fence = { semaphore: name, id, token: granted.timestamp };
    const last = (tx: unknown) => transactions.fencePermit(tx, fence);
    await transactions.run(database, insert, last);
    expect(await isCommitted()).toBe(true);
    const freed = { ...write, follows: granted.timestamp, value: '', permits: [{ id }] };
    await backend.permits.write(freed, { lease, token });
    await expect(transactions.run(database, async () => undefined, last)).rejects.toMatchObject(lost);
  });

  it('is refused outside of a read-write transaction, and with REPEATABLE_READ', async () => {
    const holder = await acquire();
    const [snapshot] = await database.getSnapshot();
    let ended: unknown;
    await database.runTransactionAsync(async (tx) => {
      ended = tx;
      await insert(tx);
      await tx.commit();
    });
    for (const tx of [database, snapshot, ended, undefined, {}]) {
      await expect(transactions.fence(tx, holder)).rejects.toMatchObject(refused);
    }
    snapshot.end();
    const weak = database.runTransactionAsync({ isolationLevel: REPEATABLE_READ }, async (tx) =>
      transactions.fence(tx, holder),
    );
    await expect(weak).rejects.toMatchObject(refused);
    await expect(transactions.run({}, async () => undefined)).rejects.toMatchObject(refused);
  });
});
