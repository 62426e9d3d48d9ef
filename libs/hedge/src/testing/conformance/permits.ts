import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { Backend } from '../../database/backend.js';
import type { Fence } from '../../database/log-table.js';
import type { SemaphoreWrite } from '../../database/permit-table.js';
import { HedgeError } from '../../common/errors.js';
import { lead, mirrorOf, newAddress, timestampOf, writeOf } from './semaphore-writes.js';
import { claimOf, newName, rejectsWith, tokenOf, type Suite } from './suite.js';

export function permitConformance(suite: Suite): void {
  const { it, describe } = suite.runner;

  describe('permits: versions', () => {
    it('find no row for a semaphore that was never written', async () => {
      assert.equal(await (await suite.client()).permits.read(newName()), undefined);
    });

    it('S1 show a write to all clients at once, with the timestamp that it returned', async () => {
      const [one, two] = [await suite.client(), await suite.client()];
      const fence = await lead(one);
      const write = writeOf({ limit: 3, value: 'first' });
      const timestamp = timestampOf(await one.permits.write(write, fence));
      for (const { permits } of [one, two]) {
        assert.deepEqual(await permits.read(write.name), { limit: 3, value: 'first', timestamp });
      }
    });

    it('S1 refuse a write that follows another version, return the present row, and change nothing', async () => {
      const client = await suite.client();
      const fence = await lead(client);
      const write = writeOf({ holders: [{ address: newAddress(), value: 'first' }] });
      const first = timestampOf(await client.permits.write(write, fence));
      const follows = timestampOf(await client.permits.write({ ...write, follows: first }, fence));
      const row = await client.permits.read(write.name);
      const stale = { ...write, limit: 9, value: 'stale', holders: write.holders.map(({ address }) => ({ address })) };
      for (const wrong of [0n, first, follows - 1n, follows + 1n]) {
        assert.deepEqual(await client.permits.write({ ...stale, follows: wrong }, fence), { written: false, row });
      }
      assert.deepEqual(await client.permits.read(write.name), row);
      assert.equal((await mirrorOf(client, write))?.value, 'first');
    });

    it('S1 refuse a write that follows a version when there is no row', async () => {
      const client = await suite.client();
      const write = writeOf({ follows: 1n });
      const result = await client.permits.write(write, await lead(client));
      assert.deepEqual(result, { written: false, row: undefined });
      assert.equal(await client.permits.read(write.name), undefined);
    });

    it('rise strictly, whichever client writes', async () => {
      const clients = await suite.clients(3);
      const fence = await lead(clients[0] as Backend);
      const write = writeOf();
      let follows = 0n;
      for (let i = 0; i < 12; i++) {
        const client = clients[i % clients.length] as Backend;
        const timestamp = timestampOf(await client.permits.write({ ...write, follows }, fence));
        assert.ok(timestamp > follows, 'the timestamp must rise');
        follows = timestamp;
      }
    });

    const { setClockBack } = suite.conformance;
    if (setClockBack !== undefined) {
      it('rise also when the clock is set back', async () => {
        const client = await suite.client();
        const fence = await lead(client);
        const write = writeOf();
        const follows = timestampOf(await client.permits.write(write, fence));
        await setClockBack();
        assert.ok(timestampOf(await client.permits.write({ ...write, follows }, fence)) > follows);
      });
    }

    it('keep semaphores of different names apart', async () => {
      const client = await suite.client();
      const fence = await lead(client);
      const name = newName();
      const names = [name, `${name}/`, `${name}/a`, `${name}%`, name.toUpperCase()];
      await Promise.all(
        names.map(async (each) => timestampOf(await client.permits.write(writeOf({ name: each, value: each }), fence))),
      );
      for (const each of names) assert.equal((await client.permits.read(each))?.value, each);
    });
  });

  describe('permits: concurrent writers', () => {
    it('S1 commit at most one of the writes that follow one version, also of first writes', async () => {
      const clients = await suite.clients(3);
      const fence = await lead(clients[0] as Backend);
      const name = newName();
      for (let round = 0, follows = 0n; round < 4; round++) {
        const writes = [...clients, ...clients].map((client, i) => {
          return { client, write: writeOf({ name, follows, limit: 1 + i, value: `${round}/${i}` }) };
        });
        const results = await Promise.all(
          writes.map(async ({ client, write }) => ({
            value: write.value,
            result: await outcomeOf(client, write, fence),
          })),
        );
        const row = await clients[0]?.permits.read(name);
        const mayHave = results.filter(({ result }) => result !== 'refused');
        const have = results.filter(({ result }) => result === 'written');
        assert.ok(mayHave.some(({ value }) => value === row?.value));
        assert.ok(
          have.every(({ value }) => value === row?.value),
          'two writes followed one version',
        );
        follows = row?.timestamp ?? 0n;
      }
    });

    it('S1 lose no change of many clients that read, change and write one row', async () => {
      const clients = await suite.clients(3);
      const fence = await lead(clients[0] as Backend);
      const name = newName();
      const changes = await Promise.all(
        clients.map(async (client) => {
          const own = Array.from({ length: 6 }, () => randomUUID());
          for (const change of own) await addTo(client, name, change, fence);
          return own;
        }),
      );
      const stored = (await clients[0]?.permits.read(name))?.value.split(' ');
      assert.deepEqual(stored?.sort(), changes.flat().sort());
    });
  });

  describe('permits: fence', () => {
    it('S1 allows only the last acquirer to write', async () => {
      const client = await suite.client();
      const claim = claimOf(newName());
      const old = { lease: claim.name, token: tokenOf(await client.lease.acquire(claim)) };
      const write = writeOf({ holders: [{ address: newAddress(), value: 'old' }] });
      const follows = timestampOf(await client.permits.write(write, old));
      const fence = { lease: claim.name, token: tokenOf(await client.lease.acquire(claim)) };
      const next = { ...write, follows, limit: 7, value: 'next', holders: [{ ...write.holders[0], value: 'next' }] };
      await rejectsWith('LEASE_LOST', client.permits.write(next as SemaphoreWrite, old));
      const row = { limit: write.limit, value: write.value, timestamp: follows };
      assert.deepEqual(await client.permits.read(write.name), row);
      assert.equal((await mirrorOf(client, write))?.value, 'old');
      timestampOf(await client.permits.write(next as SemaphoreWrite, fence));
    });

    it('refuses the token of a lease that was never acquired', async () => {
      const client = await suite.client();
      const write = writeOf();
      await rejectsWith('LEASE_LOST', client.permits.write(write, { lease: newName(), token: 1n }));
      assert.equal(await client.permits.read(write.name), undefined);
    });

    it('stays valid after renewals', async () => {
      const client = await suite.client();
      const claim = claimOf(newName());
      const token = tokenOf(await client.lease.acquire(claim));
      await client.lease.renew({ ...claim, token });
      await client.lease.renewAll([{ ...claim, token }]);
      timestampOf(await client.permits.write(writeOf(), { lease: claim.name, token }));
    });
  });
}

async function outcomeOf(
  client: Backend,
  write: SemaphoreWrite,
  fence: Fence,
): Promise<'written' | 'refused' | 'unknown'> {
  try {
    return (await client.permits.write(write, fence)).written ? 'written' : 'refused';
  } catch (error) {
    if (!(error instanceof HedgeError) || error.code !== 'BACKEND_UNAVAILABLE') throw error;
    return 'unknown';
  }
}

/** Follows the contract: reads the row and writes the changed row, until the row contains its change. */
async function addTo(client: Backend, name: string, change: string, fence: Fence): Promise<void> {
  for (;;) {
    const row = await client.permits.read(name);
    const changes = row?.value.split(' ') ?? [];
    if (changes.includes(change)) return;
    const value = [...changes, change].join(' ');
    const result = await outcomeOf(client, writeOf({ name, follows: row?.timestamp ?? 0n, value }), fence);
    if (result === 'written') return;
  }
}
