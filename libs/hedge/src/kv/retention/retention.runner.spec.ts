import { beforeEach, describe, expect, it } from '@jest/globals';
import type { Backend } from '../../database/backend.js';
import { memory } from '../../database/memory/index.js';
import { BackendFaults, faulty } from '../../testing/faults.js';
import { VirtualClock } from '../../testing/virtual-clock.js';
import { RetentionRunner, type RetentionRunnerOptions } from './retention.runner.js';

const MINUTE = 60_000;

let clock: VirtualClock;
let faults: BackendFaults;
let backend: Backend;
let warnings: string[];
let token: bigint;

beforeEach(async () => {
  clock = new VirtualClock();
  faults = new BackendFaults();
  backend = faulty(memory({ clock }), faults, clock).create({ timeoutMs: 1_000 });
  warnings = [];
  const holder = { address: 'pod:1', incarnation: 'i' };
  const taken = await backend.lease.acquire({ name: 'lease', holder, leaseMs: 1_000 });
  if (!taken.acquired) throw new Error('the first acquisition must succeed');
  ({ token } = taken);
});

function runner(options: Partial<RetentionRunnerOptions> = {}): RetentionRunner {
  const logger = { warn: (message: string) => void warnings.push(message) };
  const rules = [{ prefix: 'a/', versions: 1, tombstonesDays: 0 }];
  const { log } = backend;
  return new RetentionRunner({
    log,
    clock,
    lease: 'lease',
    key: 'own',
    address: () => 'pod:1',
    rules,
    logger,
    ...options,
  });
}

async function put(...keys: string[]): Promise<void> {
  const rows = keys.map((key, n) => ({ key, id: `${clock.now().mono}/${n}`, value: 'v', leader: '' }));
  await backend.log.append(rows);
}

async function count(key: string): Promise<number> {
  return (await backend.log.history(key, { limit: 99, order: 'newest-first' })).length;
}

describe('the retention of a leader', () => {
  it('K1 deletes old versions within a minute after they are ten minutes old, and records that', async () => {
    for (let n = 0; n < 3; n += 1) {
      await put('a/1', 'b');
      await clock.advanceAsync(1);
    }
    await backend.log.append([{ key: 'a/2', id: 'x-deleted', value: '', leader: '' }]);
    await clock.advanceAsync(1);
    runner().elected(token);
    await clock.advanceAsync(10 * MINUTE - 1_000);
    expect(await count('a/1')).toBe(3);
    await put('a/1');
    await clock.advanceAsync(2 * MINUTE);
    expect([await count('a/1'), await count('a/2'), await count('b')]).toEqual([1, 0, 3]);
    expect(await count('__hedge/compacted/a/')).toBe(1);
    await put('a/1');
    await clock.advanceAsync(8 * MINUTE);
    expect(await count('a/1')).toBe(2);
    await clock.advanceAsync(4 * MINUTE);
    expect(await count('a/1')).toBe(1);
    expect(warnings).toEqual([]);
  });

  it('compacts by hand, and reports the number of deleted versions', async () => {
    const retention = runner();
    await put('a/1');
    await clock.advanceAsync(1);
    await put('a/1');
    retention.elected(token);
    await clock.advanceAsync(10 * MINUTE + 100);
    await put('a/1');
    const early = retention.compact();
    await clock.advanceAsync(1_000);
    expect(await early).toBe(2);
    const again = retention.compact();
    await clock.advanceAsync(1_000);
    expect(await again).toBe(0);
    const cutShort = retention.compact();
    retention.ended();
    await expect(cutShort).rejects.toMatchObject({ code: 'NOT_LEADER' });
    await expect(retention.compact()).rejects.toMatchObject({ code: 'NOT_LEADER' });
    expect(() => runner({ rules: [] }).compact()).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });

  it('warns once while the database fails, and deletes later', async () => {
    await put('a/1');
    await clock.advanceAsync(1);
    await put('a/1');
    await clock.advanceAsync(1);
    runner().elected(token);
    await clock.advanceAsync(9 * MINUTE);
    faults.outage = true;
    await clock.advanceAsync(5 * MINUTE);
    expect(warnings).toEqual([expect.stringContaining('kv.retention could not delete')]);
    faults.outage = false;
    expect(await count('a/1')).toBe(2);
    await clock.advanceAsync(2 * MINUTE);
    expect(await count('a/1')).toBe(1);
  });

  it('deletes behind a key that makes each search fail', async () => {
    for (let n = 0; n < 2; n += 1) {
      await put('a/1', 'a/2', 'a/3');
      await clock.advanceAsync(1);
    }
    const { trimmable } = backend.log;
    const log: RetentionRunnerOptions['log'] = {
      ...backend.log,
      trimmable: async (query) => {
        const page = await trimmable!(query);
        if (page.keys.includes('a/2')) throw new Error('too slow');
        return page;
      },
    };
    runner({ log }).elected(token);
    await clock.advanceAsync(30 * MINUTE);
    expect([await count('a/1'), await count('a/2'), await count('a/3')]).toEqual([1, 2, 1]);
    expect(warnings).toContainEqual(expect.stringContaining('too slow'));
  });

  it('deletes nothing after another pod was elected, and does not warn of that', async () => {
    const retention = runner();
    await put('a/1');
    await clock.advanceAsync(1);
    await put('a/1');
    retention.elected(token);
    await clock.advanceAsync(9 * MINUTE);
    const holder = { address: 'pod:1', incarnation: 'i' };
    await backend.lease.acquire({ name: 'lease', holder, leaseMs: 1_000 });
    await clock.advanceAsync(10 * MINUTE);
    expect(await count('a/1')).toBe(2);
    expect(warnings).toEqual([]);
  });

  it('warns when the driver cannot delete', () => {
    const { trimmable, ...log } = backend.log;
    const retention = runner({ log });
    retention.elected(token);
    expect(trimmable).toBeDefined();
    expect(() => retention.compact()).toThrow('the driver of the database cannot delete');
    expect(warnings).toEqual([expect.stringContaining('kv.retention has no effect')]);
  });
});
