import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { startSpannerEmulator } from 'hedge-spanner-emulator';
import { spanner } from 'nestjs-hedge/spanner';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import type { SemaphoreWrite } from '../../libs/hedge/src/database/permit-table.js';
import { claimOf, rowOf } from '../backend/rows.js';
import { openEmulator, TABLE_DDL } from './target.js';

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

/** A second backend on the same database, with a short timeout. */
/** Gives up soon, but not before an answer on a busy machine. */
function impatient(): Backend {
  return spanner({ database: target.database }).create({ timeoutMs: 750 });
}

async function acquired(claim = claimOf()) {
  const result = await backend.lease.acquire(claim);
  if (!result.acquired) throw new Error('the lease is free');
  return { ...claim, token: result.token };
}

function semaphoreOf(): SemaphoreWrite {
  return { name: 's', follows: 0n, limit: 2, value: 'v', holders: [{ address: 'a', value: 'v' }], leader: 'l' };
}

/** The commit takes effect, and its answer is lost. */
function loseNextCommitAnswer(): void {
  target.emulator.faults.fail({ method: 'Commit', code: 'UNAVAILABLE', when: 'after', times: 1 });
}

describe('a commit whose answer is lost', () => {
  it('K1 appends once, and yields the timestamp of that append', async () => {
    const row = rowOf('k');
    loseNextCommitAnswer();
    const outcomes = await backend.log.append([row, rowOf('k', 'other')]);
    const entries = await backend.log.history('k', { limit: 9, order: 'oldest-first' });
    expect(entries).toHaveLength(2);
    expect(outcomes).toEqual(entries.map(() => ({ timestamp: entries[0]?.timestamp })));
  });

  it('L1 acquires, with the token of the row', async () => {
    loseNextCommitAnswer();
    const { name, token, holder } = await acquired();
    expect(await backend.lease.read(name)).toMatchObject({ token, holder });
    expect(target.emulator.counters().calls['Commit']).toBe(2);
  });

  it('renews', async () => {
    const lease = await acquired();
    loseNextCommitAnswer();
    expect(await backend.lease.renew(lease)).toEqual({ renewed: true });
  });

  it('L3 releases, and reports it, although the second attempt finds the lease released', async () => {
    const lease = await acquired();
    loseNextCommitAnswer();
    expect(await backend.lease.release(lease)).toBe(true);
    expect(await backend.lease.release(lease)).toBe(false);
  });

  it('renews many', async () => {
    const leases = [await acquired(), await acquired()];
    loseNextCommitAnswer();
    expect(await backend.lease.renewAll(leases)).toEqual([{ renewed: true }, { renewed: true }]);
  });

  it('S1 writes a semaphore once, and yields the timestamp of that write', async () => {
    const { name: lease, token } = await acquired();
    loseNextCommitAnswer();
    const result = await backend.permits.write(semaphoreOf(), { lease, token });
    expect(result).toEqual({ written: true, timestamp: expect.any(BigInt) });
    const row = { limit: 2, value: 'v', timestamp: result.written && result.timestamp };
    expect(await backend.permits.read('s')).toEqual(row);
    expect(target.emulator.counters().calls['Commit']).toBe(2);
  });

  it('K1 leaves an overwrite unknown, and does not repeat it', async () => {
    loseNextCommitAnswer();
    const overwrite = backend.log.overwrite({ key: 'k', value: 'v', leader: 'l' });
    await expect(overwrite).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    expect(target.emulator.counters().calls['Commit']).toBe(1);
    expect(await backend.log.latest('k')).toMatchObject({ value: 'v' });
  });
});

describe('an overwrite that has certainly not happened', () => {
  it('is retried after its transaction was aborted', async () => {
    target.emulator.faults.set({ abortRate: 0.7 });
    const { timestamp } = await backend.log.overwrite({ key: 'k', value: 'v', leader: 'l' });
    expect(target.emulator.counters().calls['Read']).toBeGreaterThan(1);
    expect(await backend.log.latest('k')).toMatchObject({ value: 'v', timestamp });
  });

  it('is BACKEND_UNAVAILABLE when no commit was sent', async () => {
    target.emulator.faults.fail({ method: 'Read', code: 'UNAVAILABLE', when: 'before' });
    const overwrite = impatient().log.overwrite({ key: 'k', value: 'v', leader: 'l' });
    await expect(overwrite).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    expect(target.emulator.counters().calls['Commit']).toBeUndefined();
  });
});

describe('L4 a process that dies between its read and its commit', () => {
  let dead: Backend;

  beforeEach(() => {
    target.emulator.faults.set({
      rules: [
        { method: 'Commit', code: 'UNAVAILABLE', when: 'before' },
        { method: 'Rollback', code: 'UNAVAILABLE', when: 'before' },
      ],
    });
    dead = impatient();
  });

  afterEach(() => dead.close());

  /** No attempt of it reaches the server any more. The next one takes its place. */
  async function die(): Promise<void> {
    await dead.close();
    dead = impatient();
  }

  it('does not block another acquisition of the lease, nor its renewals', async () => {
    const claim = claimOf();
    await expect(dead.lease.acquire(claim)).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    await die();
    target.emulator.faults.clear();
    const lease = await acquired({ ...claimOf(), name: claim.name });
    target.emulator.faults.set({ rules: [{ method: 'Commit', code: 'UNAVAILABLE', when: 'before' }] });
    await expect(dead.lease.acquire(claim)).resolves.toMatchObject({ acquired: false });
    target.emulator.faults.clear();
    expect(await backend.lease.renew(lease)).toEqual({ renewed: true });
  });

  it('does not block an append or overwrite of the same row', async () => {
    const row = rowOf('k');
    await expect(dead.log.append([row])).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    await expect(dead.log.overwrite(row)).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    await die();
    target.emulator.faults.clear();
    const { timestamp } = await backend.log.overwrite({ ...row, value: 'next' });
    expect(await backend.log.append([row])).toEqual([{ timestamp: expect.any(BigInt) }]);
    const all = await backend.log.history('k', { limit: 9, order: 'oldest-first' });
    expect(all).toMatchObject([{ value: 'next', timestamp }, { id: row.id }]);
  });
});

const OPERATIONS: readonly [string, (backend: Backend) => Promise<unknown>][] = [
  ['open', (backend) => backend.open()],
  ['lease.read', ({ lease }) => lease.read('x')],
  ['lease.acquire', ({ lease }) => lease.acquire(claimOf())],
  ['lease.renew', ({ lease }) => lease.renew({ ...claimOf(), token: 1n })],
  ['lease.renewAll', ({ lease }) => lease.renewAll([{ ...claimOf(), token: 1n }])],
  ['lease.release', ({ lease }) => lease.release({ ...claimOf(), token: 1n })],
  ['log.append', ({ log }) => log.append([rowOf('k')])],
  ['log.overwrite', ({ log }) => log.overwrite({ key: 'k', value: 'v', leader: 'l' })],
  ['log.latest', ({ log }) => log.latest('k')],
  ['log.history', ({ log }) => log.history('k', { limit: 9, order: 'oldest-first' })],
  ['log.keys', ({ log }) => log.keys({ prefix: '', limit: 9 })],
  ['permits.read', ({ permits }) => permits.read('s')],
];

describe.each(OPERATIONS)('%s', (name, run) => {
  it('times out when the database does not answer, and works again when it does', async () => {
    const client = impatient();
    await client.open();
    target.emulator.faults.pause();
    await expect(run(client)).rejects.toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
      message: expect.stringContaining(`${name} on spanner`),
    });
    target.emulator.faults.resume();
    await run(backend);
    await client.close();
  });

  it('creates another session after a loss', async () => {
    await run(backend);
    target.emulator.faults.loseSessions();
    await run(backend);
    expect(target.emulator.counters().calls['CreateSession']).toBe(2);
  });

  it('continues when calls fail for a moment', async () => {
    target.emulator.faults.fail({ method: '*', code: 'UNAVAILABLE', when: 'before', times: 4 });
    await run(backend);
  });
});

describe('a server', () => {
  it('that restarts is used again, although all sessions are lost', async () => {
    const emulator = await startSpannerEmulator({ port: 0, ddl: TABLE_DDL });
    process.env['SPANNER_EMULATOR_HOST'] = emulator.address;
    const client = impatient();
    await client.log.append([rowOf('k')]);
    emulator.close();
    await expect(client.log.latest('k')).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE', retryable: true });
    await expect(client.log.append([rowOf('k')])).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    const again = await startSpannerEmulator({ port: emulator.port, ddl: TABLE_DDL });
    const row = rowOf('k', 'after');
    for (let tries = 0; ; tries++) {
      const outcome = await client.log.append([row]).catch((error: Error) => error);
      if (!(outcome instanceof Error)) break;
      expect(tries).toBeLessThan(100);
    }
    expect(await client.log.latest('k')).toMatchObject({ value: 'after' });
    await client.close();
    again.close();
  });

  it('K2 that gives several commits one timestamp still has one order of versions', async () => {
    target.emulator.faults.set({ equalCommitTimestamps: true, latencyMs: 5 });
    const rows = Array.from({ length: 20 }, (_, i) => rowOf('k', `v${i}`));
    await Promise.all(rows.map((row) => backend.log.append([row])));
    const entries = await backend.log.history('k', { limit: 99, order: 'oldest-first' });
    const order = entries.map(({ timestamp, id }) => `${timestamp}/${id}`);
    expect(order).toEqual([...order].sort());
    expect(entries).toHaveLength(20);
    expect(new Set(entries.map(({ timestamp }) => timestamp)).size).toBeLessThan(20);
    expect(await backend.log.latest('k')).toEqual(entries.at(-1));
    expect(await backend.log.history('k', { limit: 99, order: 'newest-first' })).toEqual([...entries].reverse());
  });
});
