import assert from 'node:assert/strict';
import type { Backend } from '../../database/backend.js';
import type { LeaseClaim } from '../../database/lease-table.js';
import { claimOf, member, newName, rejectsWith, tokenOf, type Suite } from './suite.js';

/** A contender that has not won after this many attempts has lost for good. */
const MOST_TRIES = 400;

export function leaseConformance(suite: Suite): void {
  const { it, describe } = suite.runner;

  describe('lease: acquire', () => {
    it('reads a row that was never acquired as free, with token 0', async () => {
      const client = await suite.client();
      assert.deepEqual(await client.lease.read(newName()), { token: 0n, expiresInMs: 0 });
    });

    it('acquires a free lease, and all clients see the holder', async () => {
      const [a, b] = await twoClients(suite);
      const claim = claimOf(newName());
      const token = tokenOf(await a.lease.acquire(claim));
      assert.ok(token > 0n);
      for (const client of [a, b]) {
        const record = await client.lease.read(claim.name);
        assert.deepEqual(record.holder, claim.holder);
        assert.equal(record.token, token);
        assert.ok(record.expiresInMs > 0 && record.expiresInMs <= claim.leaseMs, `expires in ${record.expiresInMs}`);
      }
    });

    it('L1 refuses other contenders while it is held, and returns the holder', async () => {
      const [a, b] = await twoClients(suite);
      const claim = claimOf(newName());
      const token = tokenOf(await a.lease.acquire(claim));
      const result = await b.lease.acquire({ ...claim, holder: member(8081) });
      assert.ok(!result.acquired);
      assert.deepEqual(result.record.holder, claim.holder);
      assert.equal(result.record.token, token);
      assert.ok(result.record.expiresInMs > 0);
    });

    it('L1 returns a new token when the same incarnation acquires it again', async () => {
      const client = await suite.client();
      const claim = claimOf(newName());
      const first = tokenOf(await client.lease.acquire(claim));
      const second = tokenOf(await client.lease.acquire(claim));
      assert.ok(second > first);
      assert.ok(!(await client.lease.renew({ ...claim, token: first })).renewed);
    });

    it('L1 refuses a restarted process: same address, another incarnation', async () => {
      const client = await suite.client();
      const claim = claimOf(newName());
      tokenOf(await client.lease.acquire(claim));
      assert.ok(!(await client.lease.acquire({ ...claim, holder: member() })).acquired);
    });

    it('L1 has exactly one winner among many contenders', async () => {
      const clients = await suite.clients(4);
      for (let round = 0; round < 5; round++) {
        const name = newName();
        const results = await Promise.all(
          clients.flatMap((client) => [client.lease.acquire(claimOf(name)), client.lease.acquire(claimOf(name))]),
        );
        assert.equal(results.filter(({ acquired }) => acquired).length, 1);
      }
    });

    for (const text of ['a\0b', 'a\ud800b']) {
      it(`rejects ${JSON.stringify(text)} in the name and the holder, which not every database can hold`, async () => {
        const { lease } = await suite.client();
        const named = { ...claimOf(newName() + text), token: 1n };
        const held = { ...claimOf(newName(), 60_000, { address: text, incarnation: 'i' }), token: 1n };
        await rejectsWith('INVALID_ARGUMENT', lease.read(named.name));
        for (const wrong of [named, held]) {
          await rejectsWith('INVALID_ARGUMENT', lease.acquire(wrong));
          await rejectsWith('INVALID_ARGUMENT', lease.renew(wrong));
          await rejectsWith('INVALID_ARGUMENT', lease.renewAll([wrong]));
          await rejectsWith('INVALID_ARGUMENT', lease.release(wrong));
        }
      });
    }

    it('keeps leases of different names apart', async () => {
      const client = await suite.client();
      const holder = member();
      const [one, two] = [claimOf(newName(), 60_000, holder), claimOf(newName(), 60_000, member())];
      const token = tokenOf(await client.lease.acquire(one));
      tokenOf(await client.lease.acquire(two));
      assert.ok(await client.lease.release({ ...one, token }));
      assert.deepEqual((await client.lease.read(two.name)).holder, two.holder);
    });
  });

  describe('lease: expiry', () => {
    it('L1 admits a contender after a whole lease without renewal, not before', async () => {
      const [a, b] = await twoClients(suite);
      const claim = claimOf(newName(), 400);
      const start = suite.time.now();
      const token = tokenOf(await a.lease.acquire(claim));
      const next = await acquireWithPatience(suite, b, claimOf(claim.name, 400));
      assert.ok(suite.time.now() - start >= claim.leaseMs, 'a contender acquired the lease before its end');
      assert.ok(next > token);
      assert.ok(!(await a.lease.renew({ ...claim, token })).renewed);
    });

    it('L1 expires a lease by the length in its row, not by the length of the contender', async () => {
      const [a, b] = await twoClients(suite);
      const long = claimOf(newName(), 60_000);
      const short = claimOf(newName(), 400);
      tokenOf(await a.lease.acquire(long));
      tokenOf(await a.lease.acquire(short));
      await acquireWithPatience(suite, b, claimOf(short.name, 60_000));
      assert.ok(!(await b.lease.acquire(claimOf(long.name, 1))).acquired);
      assert.ok(!(await b.lease.acquire(claimOf(long.name, 1))).acquired);
    });

    it('L1 never admits a contender while the holder renews in time', async () => {
      const [a, b] = await twoClients(suite);
      const claim = claimOf(newName(), 2_000);
      const token = tokenOf(await a.lease.acquire(claim));
      for (let i = 0; i < 6; i++) {
        assert.ok(!(await b.lease.acquire(claimOf(claim.name, 2_000))).acquired);
        await suite.time.pass(450);
        assert.ok((await a.lease.renew({ ...claim, token })).renewed);
      }
      assert.ok(!(await b.lease.acquire(claimOf(claim.name, 2_000))).acquired);
    });

    it('allows the holder to renew an expired lease that no contender has acquired', async () => {
      const client = await suite.client();
      const claim = claimOf(newName(), 50);
      const token = tokenOf(await client.lease.acquire(claim));
      await suite.time.pass(200);
      assert.ok((await client.lease.renew({ ...claim, token })).renewed);
    });
  });

  describe('lease: renew', () => {
    it('keeps the token, and can change the length', async () => {
      const client = await suite.client();
      const claim = claimOf(newName(), 1_000);
      const token = tokenOf(await client.lease.acquire(claim));
      assert.deepEqual(await client.lease.renew({ ...claim, token, leaseMs: 90_000 }), { renewed: true });
      const record = await client.lease.read(claim.name);
      assert.equal(record.token, token);
      assert.ok(record.expiresInMs > 1_000, `expires in ${record.expiresInMs}`);
    });

    it('L1 counts a lease from the announcement of its renewal as from a read', async () => {
      const [a, b] = await twoClients(suite);
      if (b.lease.observeRenewal === undefined) return;
      const claim = claimOf(newName(), 2_000);
      const other = claimOf(claim.name, 2_000);
      const token = tokenOf(await a.lease.acquire(claim));
      assert.ok(!(await b.lease.acquire(other)).acquired);
      await suite.time.pass(700);
      assert.deepEqual(await a.lease.renew({ ...claim, token, renewals: 7n }), { renewed: true });
      const start = suite.time.now();
      b.lease.observeRenewal(claim.name, { token, renewals: 7n });
      await suite.time.pass(300);
      assert.ok(!(await b.lease.acquire(other)).acquired, 'a contender acquired the lease before its end');
      const left = (await b.lease.read(claim.name)).expiresInMs;
      assert.ok(left > 0 && left <= 1_700, `expires in ${left} ms, 300 ms after the announcement`);
      const next = await acquireWithPatience(suite, b, other);
      assert.ok(suite.time.now() - start >= claim.leaseMs, 'a contender acquired the lease before its end');
      assert.ok(next > token);
    });

    it('L1 waits a whole lease when the announced renewal is not in the row', async () => {
      const [a, b] = await twoClients(suite);
      if (b.lease.observeRenewal === undefined) return;
      const claim = claimOf(newName(), 600);
      const token = tokenOf(await a.lease.acquire(claim));
      assert.ok(!(await b.lease.acquire(claimOf(claim.name, 600))).acquired);
      b.lease.observeRenewal(claim.name, { token, renewals: 7n });
      await suite.time.pass(700);
      const { expiresInMs } = await b.lease.read(claim.name);
      assert.ok(expiresInMs > 500, `expires in ${expiresInMs}`);
    });

    it('L3 refuses a renewal that a later one has overtaken, and changes nothing', async () => {
      const [client] = await twoClients(suite);
      if (client.lease.observeRenewal === undefined) return;
      const claim = claimOf(newName());
      const token = tokenOf(await client.lease.acquire(claim));
      assert.ok((await client.lease.renew({ ...claim, token, renewals: 5n })).renewed);
      assert.ok(!(await client.lease.renew({ ...claim, token, renewals: 4n })).renewed);
      assert.deepEqual(await client.lease.renewAll([{ ...claim, token, renewals: 6n }]), [{ renewed: true }]);
      assert.ok((await client.lease.renew({ ...claim, token })).renewed);
    });

    it('L3 refuses the token or incarnation of another holder, and changes nothing', async () => {
      const client = await suite.client();
      const claim = claimOf(newName());
      const token = tokenOf(await client.lease.acquire(claim));
      for (const wrong of [{ token: token - 1n }, { token: token + 1n }, { holder: member() }]) {
        const result = await client.lease.renew({ ...claim, token, ...wrong });
        assert.ok(!result.renewed);
        assert.deepEqual(result.record.holder, claim.holder);
        assert.equal(result.record.token, token);
      }
      assert.ok((await client.lease.renew({ ...claim, token })).renewed);
    });

    it('L3 does not revive a released lease', async () => {
      const client = await suite.client();
      const claim = claimOf(newName());
      const token = tokenOf(await client.lease.acquire(claim));
      await client.lease.release({ ...claim, token });
      const result = await client.lease.renew({ ...claim, token });
      assert.deepEqual(result, { renewed: false, record: { token, expiresInMs: 0 } });
    });

    it('does not acquire a row that was never acquired', async () => {
      const client = await suite.client();
      const claim = claimOf(newName());
      assert.ok(!(await client.lease.renew({ ...claim, token: 0n })).renewed);
    });
  });

  describe('lease: release', () => {
    it('frees the lease at once for all contenders, and keeps the token', async () => {
      const [a, b] = await twoClients(suite);
      const claim = claimOf(newName());
      const token = tokenOf(await a.lease.acquire(claim));
      assert.equal(await a.lease.release({ ...claim, token }), true);
      assert.deepEqual(await b.lease.read(claim.name), { token, expiresInMs: 0 });
      const next = tokenOf(await b.lease.acquire(claimOf(claim.name)));
      assert.ok(next > token);
    });

    it('L3 can be repeated, and then changes nothing, also when another contender holds the lease', async () => {
      const client = await suite.client();
      const claim = claimOf(newName());
      const token = tokenOf(await client.lease.acquire(claim));
      assert.equal(await client.lease.release({ ...claim, token }), true);
      assert.equal(await client.lease.release({ ...claim, token }), false);
      const next = claimOf(claim.name);
      tokenOf(await client.lease.acquire(next));
      assert.equal(await client.lease.release({ ...claim, token }), false);
      assert.deepEqual((await client.lease.read(claim.name)).holder, next.holder);
    });

    it('L3 refuses the token or incarnation of another holder', async () => {
      const client = await suite.client();
      const claim = claimOf(newName());
      const token = tokenOf(await client.lease.acquire(claim));
      for (const wrong of [{ token: token - 1n }, { token: token + 1n }, { holder: member() }]) {
        assert.equal(await client.lease.release({ ...claim, token, ...wrong }), false);
      }
      assert.deepEqual((await client.lease.read(claim.name)).holder, claim.holder);
      assert.equal(await client.lease.release({ ...claim, name: newName(), token: 0n }), false);
    });
  });

  describe('lease: tokens', () => {
    it('L1 rise over many acquisitions and releases by different clients', async () => {
      const clients = await suite.clients(3);
      const name = newName();
      const tokens: bigint[] = [];
      for (let i = 0; i < 12; i++) {
        const client = clients[i % clients.length] as Backend;
        const claim = claimOf(name);
        const token = tokenOf(await client.lease.acquire(claim));
        tokens.push(token);
        await client.lease.release({ ...claim, token });
      }
      assert.deepEqual(tokens, [...new Set(tokens)].sort(ascending));
    });

    const { setClockBack } = suite.conformance;
    if (setClockBack !== undefined) {
      it('L1 rise also when the clock is set back', async () => {
        const client = await suite.client();
        const claim = claimOf(newName());
        const before = tokenOf(await client.lease.acquire(claim));
        await setClockBack();
        const second = tokenOf(await client.lease.acquire(claim));
        await client.lease.release({ ...claim, token: second });
        const third = tokenOf(await client.lease.acquire(claimOf(claim.name)));
        assert.deepEqual([before, second, third].sort(ascending), [before, second, third]);
        assert.equal(new Set([before, second, third]).size, 3);
      });
    }
  });

  describe('lease: list, in a driver that has it', () => {
    it('lists the leases with a holder, with their tokens and the time since their renewal, by UTF-8 bytes', async () => {
      const [a, b] = await twoClients(suite);
      if (a.lease.list === undefined) return;
      const prefix = `${newName()}_%/`;
      const names = ['b', 'é', '\uffff', '😀', 'a'].map((name) => prefix + name);
      const tokens = new Map<string, bigint>();
      for (const name of names) tokens.set(name, tokenOf(await a.lease.acquire(claimOf(name))));
      tokenOf(await a.lease.acquire(claimOf(`${prefix.replace('%', 'x')}other`)));
      const released = claimOf(`${prefix}released`);
      await a.lease.release({ ...released, token: tokenOf(await a.lease.acquire(released)) });
      const sorted = ['a', 'b', 'é', '\uffff', '😀'].map((name) => prefix + name);
      const listed = (await b.lease.list?.({ prefix, limit: 100 })) ?? [];
      assert.deepEqual(
        listed.map(({ name, token, leaseMs, holder }) => [name, token, leaseMs, holder.address]),
        sorted.map((name) => [name, tokens.get(name), 60_000, member().address]),
      );
      for (const { name, ageMs } of listed) assert.ok(ageMs >= 0, `${name} is ${ageMs} ms old`);
      const page = (await b.lease.list?.({ prefix, limit: 2, after: sorted[1] })) ?? [];
      assert.deepEqual(
        page.map(({ name }) => name),
        sorted.slice(2, 4),
      );
    });

    it('counts the age of a lease from its last renewal', async () => {
      const client = await suite.client();
      if (client.lease.list === undefined) return;
      const claim = claimOf(newName());
      const token = tokenOf(await client.lease.acquire(claim));
      const age = async (): Promise<number> => {
        const [found] = (await client.lease.list?.({ prefix: claim.name, limit: 1 })) ?? [];
        return found?.ageMs ?? -1;
      };
      await suite.time.pass(300);
      assert.ok((await age()) >= 290, 'the lease looks younger than it is');
      const before = suite.time.now();
      assert.ok((await client.lease.renew({ ...claim, token })).renewed);
      const renewed = await age();
      assert.ok(renewed >= 0 && renewed <= suite.time.now() - before + 10, `${renewed} ms since the renewal`);
    });

    it('rejects a text that no database can hold', async () => {
      const { lease } = await suite.client();
      if (lease.list === undefined) return;
      for (const text of ['\0', '\ud800']) {
        await rejectsWith('INVALID_ARGUMENT', lease.list({ prefix: text, limit: 1 }));
        await rejectsWith('INVALID_ARGUMENT', lease.list({ prefix: '', limit: 1, after: text }));
      }
    });
  });
}

async function twoClients(suite: Suite): Promise<[Backend, Backend]> {
  return [await suite.client(), await suite.client()];
}

/** Tries to acquire the lease, as a contender does, until it wins. */
async function acquireWithPatience(suite: Suite, client: Backend, claim: LeaseClaim): Promise<bigint> {
  for (let i = 0; i < MOST_TRIES; i++) {
    const result = await client.lease.acquire(claim);
    if (result.acquired) return result.token;
    await suite.time.pass(Math.max(1, Math.min(40, result.record.expiresInMs)));
  }
  throw new Error('no contender acquired the lease of a holder that is gone');
}

function ascending(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
