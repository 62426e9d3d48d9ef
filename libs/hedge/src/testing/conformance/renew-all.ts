import assert from 'node:assert/strict';
import { MOST_RENEWALS, type Renewal } from '../../database/lease-table.js';
import type { Backend } from '../../database/backend.js';
import { claimOf, member, newName, rejectsWith, tokenOf, type Suite } from './suite.js';

export function renewAllConformance(suite: Suite): void {
  const { it, describe } = suite.runner;

  describe('lease: renewAll', () => {
    it('keeps the tokens, and sets the length of each row', async () => {
      const client = await suite.client();
      const leases = await Promise.all([1_000, 1_000, 1_000].map((leaseMs) => held(client, leaseMs)));
      const longer = leases.map((lease, i) => ({ ...lease, leaseMs: 60_000 * (i + 1) }));
      assert.deepEqual(
        await client.lease.renewAll(longer),
        longer.map(() => ({ renewed: true })),
      );
      for (const { name, token, leaseMs, holder } of longer) {
        const record = await client.lease.read(name);
        assert.deepEqual({ token: record.token, holder: record.holder }, { token, holder });
        assert.ok(record.expiresInMs > leaseMs - 60_000 && record.expiresInMs <= leaseMs);
      }
    });

    it('L3 checks each lease by its own token and incarnation, in order, and renews the others when it refuses one', async () => {
      const [client, other] = [await suite.client(), await suite.client()];
      const [first, superseded, foreign, released, last] = (await Promise.all(
        Array.from({ length: 5 }, () => held(client)),
      )) as [Renewal, Renewal, Renewal, Renewal, Renewal];
      const token = tokenOf(await client.lease.acquire(superseded));
      await client.lease.release(released);
      const stranger = { ...foreign, holder: member() };
      const never = { ...claimOf(newName()), token: 0n };
      const all = [first, superseded, stranger, released, never, last].map((lease) => ({ ...lease, leaseMs: 90_000 }));
      const results = await other.lease.renewAll(all);

      const found = results.map((result) => (result.renewed ? 'renewed' : [result.record.token, result.record.holder]));
      assert.deepEqual(found, [
        'renewed',
        [token, superseded.holder],
        [foreign.token, foreign.holder],
        [released.token, undefined],
        [0n, undefined],
        'renewed',
      ]);
      for (const { name } of [first, last]) assert.ok((await client.lease.read(name)).expiresInMs > 60_000);
      for (const { name } of [superseded, foreign]) assert.ok((await client.lease.read(name)).expiresInMs <= 60_000);
      for (const { name } of [released, never]) assert.equal((await client.lease.read(name)).holder, undefined);
    });

    it('L1 keeps contenders out, as renew does', async () => {
      const [a, b] = [await suite.client(), await suite.client()];
      const leases = await Promise.all([held(a, 2_000), held(a, 2_000)]);
      const contend = () => Promise.all(leases.map(({ name }) => b.lease.acquire(claimOf(name, 2_000))));
      for (let i = 0; i < 5; i++) {
        assert.deepEqual(
          (await contend()).map(({ acquired }) => acquired),
          [false, false],
        );
        await suite.time.pass(450);
        assert.deepEqual(await a.lease.renewAll(leases), [{ renewed: true }, { renewed: true }]);
      }
      assert.deepEqual(
        (await contend()).map(({ acquired }) => acquired),
        [false, false],
      );
    });

    it('can be repeated', async () => {
      const client = await suite.client();
      const lease = await held(client);
      for (let i = 0; i < 3; i++) assert.deepEqual(await client.lease.renewAll([lease]), [{ renewed: true }]);
    });

    it(`accepts none, and ${MOST_RENEWALS}, and refuses more`, async () => {
      const client = await suite.client();
      assert.deepEqual(await client.lease.renewAll([]), []);
      const leases = Array.from({ length: MOST_RENEWALS }, () => ({ ...claimOf(newName()), token: 1n }));
      const one = await held(client);
      const results = await client.lease.renewAll([one, ...leases.slice(1)]);
      assert.equal(results.length, MOST_RENEWALS);
      assert.deepEqual(results.map(({ renewed }) => renewed).lastIndexOf(true), 0);
      await rejectsWith('INVALID_ARGUMENT', client.lease.renewAll([one, ...leases]));
    });
  });
}

async function held(client: Backend, leaseMs?: number): Promise<Renewal> {
  const claim = claimOf(newName(), leaseMs);
  return { ...claim, token: tokenOf(await client.lease.acquire(claim)) };
}
