import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { INestApplicationContext } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import type { Pool, PoolClient } from 'pg';
import type { DataSource, EntityManager } from 'typeorm';
import { LeaderService, LockService, SemaphoreService, type Leadership, type TransactionOf } from 'nestjs-hedge';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import { memory } from 'nestjs-hedge/memory';
import { HedgeTestingModule } from 'nestjs-hedge/testing';

let app: INestApplicationContext;
let withoutFences: INestApplicationContext;

async function podWith(change: (backend: Backend) => Backend): Promise<INestApplicationContext> {
  const backend = memory();
  const factory = { create: (context: { timeoutMs: number }) => change(backend.create(context)) };
  const module = Test.createTestingModule({ imports: [HedgeTestingModule.forRoot({ backend: factory })] });
  const made = await module.compile();
  await made.init();
  return made;
}

beforeEach(async () => {
  app = await podWith((backend) => backend);
  withoutFences = await podWith((backend) => ({
    ...backend,
    transactions: undefined,
    open: async () => {},
    close: async () => {},
  }));
});

afterEach(async () => {
  await app.close();
  await withoutFences.close();
});

/** The type of the transaction follows from the data source. */
function checkTypes(
  byPg: TransactionOf<Pool>,
  byTypeorm: TransactionOf<DataSource>,
  byManager: TransactionOf<EntityManager>,
) {
  return [byPg satisfies PoolClient, byTypeorm satisfies EntityManager, byManager satisfies EntityManager];
}

describe('fence and transaction', () => {
  it('run the work with the transaction of the data source, and return its result', async () => {
    expect(checkTypes).toBeInstanceOf(Function);
    const source = { fake: true };
    const lock = await app.get(LockService).acquire('a');
    expect(await lock.transaction(source, (tx) => [tx, 1])).toEqual([source, 1]);
    await lock.fence(source);
    const permit = await app.get(SemaphoreService).get('s', { limit: 1 }).acquire();
    expect(await permit.transaction(source, async () => 2)).toBe(2);
    expect(await app.get(LeaderService).transaction(source, async () => 3)).toBe(3);
    await app.get(LeaderService).fence(source);
  });

  it('may be destructured from a lock, a permit, a term and the service', async () => {
    const lock = await app.get(LockService).acquire('a');
    const permit = await app.get(SemaphoreService).get('s', { limit: 1 }).acquire();
    const term = await new Promise<Leadership>((resolve) => void app.get(LeaderService).runWhileLeader(resolve));
    for (const { fence, transaction } of [lock, permit, term, app.get(LeaderService)]) {
      await fence({});
      expect(await transaction({}, () => 'done')).toBe('done');
    }
  });

  it('fail with LEASE_LOST after a release, before the work and after it', async () => {
    const lock = await app.get(LockService).acquire('a');
    const permit = await app.get(SemaphoreService).get('s', { limit: 1 }).acquire();
    for (const held of [lock, permit]) {
      const late = held.transaction({}, () => held.release());
      await expect(late).rejects.toMatchObject({ code: 'LEASE_LOST' });
      await expect(held.fence({})).rejects.toMatchObject({ code: 'LEASE_LOST' });
      let ran = false;
      await expect(held.transaction({}, () => (ran = true))).rejects.toMatchObject({ code: 'LEASE_LOST' });
      expect(ran).toBe(false);
    }
  });

  it('of the leader fence the term in which the work began', async () => {
    const leader = app.get(LeaderService);
    const term = await new Promise<Leadership>((resolve) => void leader.runWhileLeader(resolve));
    const late = leader.transaction({}, () => leader.resign());
    await expect(late).rejects.toMatchObject({ code: 'LEASE_LOST' });
    await expect(term.fence({})).rejects.toMatchObject({ code: 'LEASE_LOST' });
    await expect(leader.fence({})).rejects.toMatchObject({ code: 'NOT_LEADER' });
    await expect(leader.transaction({}, () => 1)).rejects.toMatchObject({ code: 'NOT_LEADER', retryable: true });
  });

  it('are refused by a backend that cannot fence, with advice, and run no work', async () => {
    const lock = await withoutFences.get(LockService).acquire('a');
    const refused = { code: 'INVALID_OPTIONS', message: expect.stringContaining('nestjs-hedge/postgres') };
    let ran = false;
    await expect(lock.fence({})).rejects.toMatchObject(refused);
    await expect(lock.transaction({}, () => (ran = true))).rejects.toMatchObject(refused);
    expect(ran).toBe(false);
  });
});
