import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { Clock, Instant } from '../../common/clock.js';
import type { Backend } from '../../database/backend.js';
import { isTombstone, type LogEntry } from '../../database/log-table.js';
import { expiryPrefix } from '../../database/row-names.js';
import { DEFAULT_EXPIRY_LIMITS } from '../../kv/expiry/expiry.core.js';
import { ExpiryRunner } from '../../kv/expiry/expiry.runner.js';
import { DEFAULT_GROUP_COMMIT_LIMITS } from '../../kv/group-commit.messages.js';
import { GroupCommitter } from '../../kv/group-commit.runner.js';
import { claimOf, newName, tokenOf, type Suite } from './suite.js';

/** A clock on the time of the suite, whose timers fire in `until`. */
class SuiteClock implements Clock {
  readonly #timers = new Set<{ readonly at: number; readonly run: () => void }>();

  constructor(private readonly time: Suite['time']) {}

  now(): Instant {
    return { mono: this.time.now(), wall: this.time.now() };
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.time.now() + ms, run };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  async until(done: () => Promise<boolean>): Promise<void> {
    while (!(await done())) {
      await this.time.pass(10);
      for (const timer of this.#timers) {
        if (timer.at <= this.time.now() && this.#timers.delete(timer)) timer.run();
      }
    }
  }
}

/** A leader that puts keys with a time to live. */
class Leader {
  readonly clock: SuiteClock;
  readonly #committer: GroupCommitter;
  readonly #expiry: ExpiryRunner;

  constructor(
    { time }: Suite,
    private readonly backend: Backend,
    /** The name of the lease, too. */
    readonly group: string,
    readonly token: bigint,
  ) {
    const { log } = backend;
    const clock = (this.clock = new SuiteClock(time));
    const lease = group;
    const limits = { ...DEFAULT_GROUP_COMMIT_LIMITS, retryMs: 100 };
    this.#committer = new GroupCommitter({ log, clock, lease, address: () => 'leader', limits });
    const expiryLimits = { ...DEFAULT_EXPIRY_LIMITS, rows: 2 };
    this.#expiry = new ExpiryRunner({ log, committer: this.#committer, clock, lease, group, limits: expiryLimits });
    this.#expiry.elected(token);
  }

  async put(key: string, ttlMs: number): Promise<void> {
    const put = { key, id: randomUUID(), lifetime: { ttlMs } };
    const items = [{ key, append: { id: put.id, value: 'v' } }, this.#expiry.rowOf(put)];
    let written = false;
    const writing = this.#expiry
      .follow([put], () => this.#committer.transact({ items, fence: this.token }, 10_000))
      .then(() => (written = true));
    await this.clock.until(async () => written);
    await writing;
  }

  history(key: string): Promise<readonly LogEntry[]> {
    return this.backend.log.history(key, { limit: 100, order: 'oldest-first' });
  }

  expiryRows(key: string): Promise<readonly LogEntry[]> {
    return this.history(expiryPrefix(this.group) + key);
  }

  end(): void {
    this.#expiry.ended();
  }
}

async function lead(suite: Suite): Promise<Leader> {
  const client = await suite.client();
  const claim = claimOf(newName());
  return new Leader(suite, client, claim.name, tokenOf(await client.lease.acquire(claim)));
}

export function expiryConformance(suite: Suite): void {
  const { it, describe } = suite.runner;

  describe('log: keys with a time to live', () => {
    it('K6 are deleted by a tombstone when it has passed, and their expiry rows vanish', async () => {
      const leader = await lead(suite);
      const key = newName();
      const begun = suite.time.now();
      await leader.put(key, 300);
      const [row] = await leader.history(key);
      const [own] = await leader.expiryRows(key);
      assert.deepEqual(own && [own.id, own.timestamp, own.value], row && [row.id, row.timestamp, '{"ttlMs":300}']);
      await leader.clock.until(async () => (await leader.history(key)).length === 2);
      assert.ok(suite.time.now() - begun >= 300);
      const last = (await leader.history(key)).at(-1);
      assert.ok(last !== undefined && isTombstone(last));
      assert.equal(last.id, `${row?.id}-expired-deleted`);
      await leader.clock.until(async () => (await leader.expiryRows(key)).length === 0);
    });

    it('K6 stay while they are renewed, with few expiry rows, and when another writer puts them for good', async () => {
      const leader = await lead(suite);
      const [renewed, kept] = [newName(), newName()];
      await leader.put(kept, 300);
      await (await suite.client()).log.append([{ key: kept, id: randomUUID(), value: 'kept', leader: 'another' }]);
      for (let puts = 0; puts < 8; puts += 1) await leader.put(renewed, 60_000);
      await leader.clock.until(async () => (await leader.expiryRows(kept)).length === 0);
      await leader.clock.until(async () => (await leader.expiryRows(renewed)).length <= 2);
      assert.equal((await leader.history(kept)).at(-1)?.value, 'kept');
      assert.equal((await leader.history(renewed)).length, 8);
    });

    it('K6 are deleted by the next leader, and not by a former one', async () => {
      const client = await suite.client();
      const claim = claimOf(newName());
      const former = new Leader(suite, client, claim.name, tokenOf(await client.lease.acquire(claim)));
      const key = newName();
      await former.put(key, 300);
      await client.lease.release({ ...claim, token: former.token });
      const next = new Leader(suite, client, claim.name, tokenOf(await client.lease.acquire(claim)));
      const triedUntil = suite.time.now() + 600;
      await former.clock.until(async () => suite.time.now() >= triedUntil);
      former.end();
      assert.equal((await next.history(key)).length, 1);
      await next.clock.until(async () => (await next.history(key)).length === 2);
      await next.clock.until(async () => (await next.expiryRows(key)).length === 0);
    });
  });
}
