import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { spanner } from 'nestjs-hedge/spanner';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import type { LeaseRecord, LeaseTable } from '../../libs/hedge/src/database/lease-table.js';
import { TIMING_PRESETS } from '../../libs/hedge/src/common/timing.js';
import { LeaderElector } from '../../libs/hedge/src/election/leader-elector.runner.js';
import { VirtualClock } from '../../libs/hedge/src/testing/virtual-clock.js';
import { claimOf, rowOf } from '../backend/rows.js';
import { openEmulator } from './target.js';

type Calls = Readonly<Record<string, number>>;

describe('the cost of an operation, in calls to Spanner', () => {
  let target: Awaited<ReturnType<typeof openEmulator>>;
  let backend: Backend;

  beforeEach(async () => {
    target = await openEmulator();
    backend = spanner({ database: target.database }).create({ timeoutMs: 5_000 });
  });

  afterEach(async () => {
    await backend.close();
    await target.close();
  });

  async function costOf(work: () => Promise<unknown>): Promise<Calls> {
    const before = target.emulator.counters().calls;
    await work();
    const after = target.emulator.counters().calls;
    const counts = Object.entries(after).map(([method, count]) => [method, count - (before[method] ?? 0)] as const);
    return Object.fromEntries(counts.filter(([, count]) => count > 0));
  }

  it('start: one session for all, and four queries of the schema', async () => {
    expect(await costOf(() => backend.open())).toEqual({ CreateSession: 1, ExecuteSql: 4 });
  });

  it('leases: a read is one query; acquire, renew and release are a query and a commit', async () => {
    await backend.lease.read('x');
    const claim = claimOf();
    let token = 0n;
    const acquire = await costOf(async () => {
      const result = await backend.lease.acquire(claim);
      token = result.acquired ? result.token : 0n;
    });
    expect(acquire).toEqual({ ExecuteSql: 1, Commit: 1 });
    expect(await costOf(() => backend.lease.read(claim.name))).toEqual({ ExecuteSql: 1 });
    expect(await costOf(() => backend.lease.renew({ ...claim, token }))).toEqual({ ExecuteSql: 1, Commit: 1 });
    expect(await costOf(() => backend.lease.release({ ...claim, token }))).toEqual({ ExecuteSql: 1, Commit: 1 });
  });

  it('locks: a hundred are renewed by one query and one commit, and no locks by no call', async () => {
    const claims = Array.from({ length: 100 }, () => claimOf());
    const held = await Promise.all(
      claims.map(async (claim) => {
        const result = await backend.lease.acquire(claim);
        return { ...claim, token: result.acquired ? result.token : 0n };
      }),
    );
    const cost = await costOf(async () => {
      expect(await backend.lease.renewAll(held)).toEqual(held.map(() => ({ renewed: true })));
    });
    expect(cost).toEqual({ ExecuteSql: 1, Commit: 1 });
    expect(await costOf(() => backend.lease.renewAll([]))).toEqual({});
    const lost = held.map((lease) => ({ ...lease, token: 1n }));
    expect(await costOf(() => backend.lease.renewAll(lost))).toMatchObject({ ExecuteSql: 1 });
  });

  it('permits: a write with its fence and mirrors is one query and one commit, a read one single-use read', async () => {
    const claim = claimOf();
    const result = await backend.lease.acquire(claim);
    const fence = { lease: claim.name, token: result.acquired ? result.token : 0n };
    const write = { name: 's', limit: 2, value: 'v', leader: 'l', holders: [{ address: 'a', value: 'v' }] };
    let follows = 0n;
    for (const limit of [2, 2, 3]) {
      const cost = await costOf(async () => {
        const written = await backend.permits.write({ ...write, limit, follows }, fence);
        follows = written.written ? written.timestamp : 0n;
      });
      expect(cost).toEqual({ ExecuteSql: 1, Commit: 1 });
    }
    expect(await costOf(() => backend.permits.read('s'))).toEqual({ ExecuteSql: 1 });
  });

  it('log: a batch of any size is one read and one commit, a get one single-use read', async () => {
    const claim = claimOf();
    const result = await backend.lease.acquire(claim);
    const fence = { lease: claim.name, token: result.acquired ? result.token : 0n };
    const batch = Array.from({ length: 100 }, (_, i) => rowOf(`k${i}`));
    expect(await costOf(() => backend.log.append(batch))).toEqual({ Read: 1, Commit: 1 });
    expect(await costOf(() => backend.log.append([rowOf('k')], fence))).toEqual({ ExecuteSql: 1, Read: 1, Commit: 1 });
    const row = { key: 'k', value: 'v', leader: 'l' };
    expect(await costOf(() => backend.log.overwrite(row))).toEqual({ Read: 1, Commit: 1 });
    expect(await costOf(() => backend.log.latest('k'))).toEqual({ ExecuteSql: 1 });
    expect(await costOf(() => backend.log.latestOf!(['k', 'other', 'nothing']))).toEqual({ ExecuteSql: 1 });
    const all = { limit: 9, order: 'oldest-first' } as const;
    expect(await costOf(() => backend.log.history('k', all))).toEqual({ ExecuteStreamingSql: 1 });
    expect(await costOf(() => backend.log.keys({ prefix: '', limit: 9 }))).toEqual({ ExecuteStreamingSql: 1 });
  });

  it('a batch that exists already costs no commit', async () => {
    const row = rowOf('k');
    await backend.log.append([row]);
    expect(await costOf(() => backend.log.append([row]))).toMatchObject({ Read: 1 });
    expect(target.emulator.counters().calls['Commit']).toBe(1);
  });

  it('an idle driver makes no calls: no query keeps the session alive', async () => {
    await backend.open();
    expect(await costOf(() => new Promise((resolve) => setTimeout(resolve, 500)))).toEqual({});
  });
});

/** A lease with one clock for all, as in Spanner, that counts its calls. */
class CountingLeases implements LeaseTable {
  readonly observes = false;
  readonly calls = { read: 0, acquire: 0, renew: 0, release: 0 };
  readonly #row: { token: bigint; heartbeat: number; claim?: ReturnType<typeof claimOf> } = { token: 0n, heartbeat: 0 };

  constructor(private readonly clock: VirtualClock) {}

  async read(): Promise<LeaseRecord> {
    this.calls.read++;
    return this.#record();
  }

  async acquire(claim: ReturnType<typeof claimOf>): ReturnType<LeaseTable['acquire']> {
    this.calls.acquire++;
    const record = this.#record();
    if (record.expiresInMs > 0) return { acquired: false, record };
    Object.assign(this.#row, { token: this.#row.token + 1n, heartbeat: this.clock.now().mono, claim });
    return { acquired: true, token: this.#row.token };
  }

  async renew(): ReturnType<LeaseTable['renew']> {
    this.calls.renew++;
    this.#row.heartbeat = this.clock.now().mono;
    return { renewed: true };
  }

  async renewAll(leases: Parameters<LeaseTable['renewAll']>[0]): ReturnType<LeaseTable['renewAll']> {
    return Promise.all(leases.map(() => this.renew()));
  }

  async release(): Promise<boolean> {
    this.calls.release++;
    return true;
  }

  #record(): LeaseRecord {
    const { token, heartbeat, claim } = this.#row;
    if (claim === undefined) return { token, expiresInMs: 0 };
    return { token, holder: claim.holder, expiresInMs: Math.max(0, heartbeat + claim.leaseMs - this.clock.now().mono) };
  }
}

describe('the cost of an idle minute', () => {
  it.each(['local', 'lan', 'wan'] as const)(
    'with the timing %s: the leader renews thrice a lease, a follower reads at most twice, isLeader() asks nothing',
    async (preset) => {
      const timing = TIMING_PRESETS[preset];
      const clock = new VirtualClock();
      const tables = new CountingLeases(clock);
      const pods = Array.from({ length: 2 }, (_, i) => {
        const transport = {
          self: { address: `pod:${i}`, incarnation: `${i}` },
          dial: async () => ({ send: () => undefined, close: () => undefined }) as never,
          links: () => [],
        };
        const logger = { log: () => undefined, warn: () => undefined };
        const options = { leases: tables, transport, clock, timing, logger };
        return new LeaderElector({ ...options, group: 'g', campaigns: true, drainMs: 1_000 });
      });
      for (const pod of pods) pod.start();
      await clock.advanceAsync(timing.leaseMs * 3);
      expect(pods.filter((pod) => pod.isLeader())).toHaveLength(1);

      const before = { ...tables.calls };
      const leases = 60_000 / timing.leaseMs;
      for (let second = 0; second < 60; second++) {
        await clock.advanceAsync(1_000);
        for (let i = 0; i < 1_000; i++) for (const pod of pods) pod.isLeader();
      }
      const calls = Object.entries(tables.calls).map(([name, count]) => [
        name,
        count - before[name as keyof typeof before],
      ]);
      const { read = 0, acquire, renew = 0, release } = Object.fromEntries(calls) as Record<string, number>;
      expect({ acquire, release }).toEqual({ acquire: 0, release: 0 });
      expect(renew).toBeLessThanOrEqual(Math.ceil(3 * leases) + 1);
      expect(read).toBeLessThanOrEqual(Math.ceil(2 * leases));
      expect(read).toBeGreaterThan(0);
      for (const pod of pods) await Promise.all([pod.stop(), clock.advanceAsync(5_000)]);
    },
  );
});
