import { describe, expect, it } from '@jest/globals';
import type { Fence, LogAppend, LogTable } from '../database/log-table.js';
import { memory } from '../database/memory/index.js';
import { HedgeError } from '../common/errors.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import { DEFAULT_GROUP_COMMIT_LIMITS, type PutRow } from './group-commit.messages.js';
import { GroupCommitter } from './group-commit.runner.js';

const unavailable = new HedgeError('BACKEND_UNAVAILABLE', 'away');

function row(id: string, over: Partial<PutRow> = {}): PutRow {
  return { key: 'k', value: `v-${id}`, id, overwrite: false, fence: 0n, ...over };
}

function setUp() {
  const clock = new VirtualClock();
  const backend = memory({ clock }).create({ timeoutMs: 1_000 });
  const calls: { ids: string[]; fence?: Fence }[] = [];
  /** Failures of the next calls. `after` fails when the effect has happened. */
  const failures: { when: 'before' | 'after' }[] = [];
  const failing = async <T>(call: () => Promise<T>): Promise<T> => {
    const failure = failures.shift();
    if (failure?.when === 'before') throw unavailable;
    const result = await call();
    if (failure?.when === 'after') throw unavailable;
    return result;
  };
  const log: LogTable = {
    append(rows: readonly LogAppend[], fence?: Fence) {
      calls.push({ ids: rows.map(({ id }) => id), ...(fence && { fence }) });
      return failing(() => backend.log.append(rows, fence));
    },
    appendIf: (rows, fence) => failing(() => backend.log.appendIf(rows, fence)),
    overwrite: (each, fence) => failing(() => backend.log.overwrite(each, fence)),
    latest: (key) => backend.log.latest(key),
    history: (key, query) => backend.log.history(key, query),
    keys: (query) => backend.log.keys(query),
    changes: (query) => backend.log.changes(query),
    lastTimestamp: (prefix) => backend.log.lastTimestamp(prefix),
  };
  const committer = new GroupCommitter({
    log,
    clock,
    lease: 'hedge/lease/g',
    address: () => 'pod:1',
    limits: { ...DEFAULT_GROUP_COMMIT_LIMITS, retryMs: 100 },
  });
  return { clock, backend, calls, failures, log, committer };
}

describe('group committer', () => {
  it('commits the puts of one turn in one call, and writes its address into the rows', async () => {
    const { committer, calls, log } = setUp();
    const times = await Promise.all(['1', '2', '3'].map((id) => committer.put(row(id), 1_000)));
    expect(new Set(times).size).toBe(1);
    expect(calls).toEqual([{ ids: ['1', '2', '3'] }]);
    expect(await log.latest('k')).toMatchObject({ id: '3', leader: 'pod:1', timestamp: times[0] });
  });

  it('retries after BACKEND_UNAVAILABLE, and a commit whose answer was lost stays one row (K1)', async () => {
    const { committer, clock, failures, log } = setUp();
    failures.push({ when: 'before' }, { when: 'after' });
    const put = committer.put(row('1'), 10_000);
    await clock.advanceAsync(1_000);
    const timestamp = await put;
    expect(await log.history('k', { limit: 10, order: 'oldest-first' })).toMatchObject([{ id: '1', timestamp }]);
  });

  it('rejects at the deadline while the database is unavailable', async () => {
    const { committer, clock, failures } = setUp();
    failures.push(...Array.from({ length: 20 }, () => ({ when: 'before' as const })));
    const put = expect(committer.put(row('1'), 500)).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    await clock.advanceAsync(2_000);
    await put;
  });

  it('fences puts with the lease of its group', async () => {
    const { committer, backend, calls } = setUp();
    const holder = { address: 'pod:1', incarnation: 'i' };
    const taken = await backend.lease.acquire({ name: 'hedge/lease/g', holder, leaseMs: 1_000 });
    if (!taken.acquired) throw new Error('the first acquisition must succeed');
    await committer.put(row('1', { fence: taken.token }), 1_000);
    expect(calls[0]?.fence).toEqual({ lease: 'hedge/lease/g', token: taken.token });
    const stale = row('2', { fence: taken.token - 1n });
    await expect(committer.put(stale, 1_000)).rejects.toMatchObject({ code: 'LEASE_LOST' });
    await expect(committer.put({ ...stale, overwrite: true }, 1_000)).rejects.toMatchObject({ code: 'LEASE_LOST' });
  });

  it('retries an overwrite only if it certainly did not happen', async () => {
    const { committer, clock, failures, log } = setUp();
    failures.push({ when: 'before' });
    const put = committer.put(row('1', { overwrite: true }), 10_000);
    await clock.advanceAsync(1_000);
    const timestamp = await put;
    expect(await log.latest('k')).toMatchObject({ id: '-', value: 'v-1', timestamp });
  });
});
