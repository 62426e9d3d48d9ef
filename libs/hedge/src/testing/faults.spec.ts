import { describe, expect, it } from '@jest/globals';
import type { LeaseClaim } from '../database/lease-table.js';
import { memory } from '../database/memory/index.js';
import { BackendFaults, faulty } from './faults.js';
import { VirtualClock } from './virtual-clock.js';

const claim: LeaseClaim = { name: 'lease', holder: { address: 'a:1', incarnation: 'one' }, leaseMs: 1_000 };
const row = { key: 'key', id: 'id', value: 'value', leader: 'a:1' };
const unavailable = expect.objectContaining({ code: 'BACKEND_UNAVAILABLE' });

function make() {
  const faults = new BackendFaults();
  const clock = new VirtualClock();
  const backend = faulty(memory({ clock }), faults, clock).create({ timeoutMs: 1_000 });
  return { faults, clock, backend };
}

describe('faulty', () => {
  it('calls the backend unchanged when no fault is planned', async () => {
    const { backend } = make();
    await backend.open();
    await expect(backend.lease.acquire(claim)).resolves.toMatchObject({ acquired: true });
    await backend.log.append([row]);
    await expect(backend.log.latest('key')).resolves.toMatchObject(row);
  });

  it('fails once before the effect', async () => {
    const { faults, backend } = make();
    faults.once('log.append', { fails: 'before-effect' });
    await expect(backend.log.append([row])).rejects.toEqual(unavailable);
    await expect(backend.log.latest('key')).resolves.toBeUndefined();
    await backend.log.append([row]);
    await expect(backend.log.latest('key')).resolves.toMatchObject(row);
  });

  it('fails once after the effect, as an unknown outcome', async () => {
    const { faults, backend } = make();
    faults.once('log.append', { fails: 'after-effect' }).once('log.overwrite', { fails: 'after-effect' });
    await expect(backend.log.append([row])).rejects.toEqual(unavailable);
    await expect(backend.log.latest('key')).resolves.toMatchObject(row);
    await expect(backend.log.overwrite({ ...row, key: 'other' })).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    await expect(backend.log.latest('other')).resolves.toMatchObject({ value: 'value' });
  });

  it.each(['before-effect', 'after-effect'] as const)(
    'S1 fails writes of semaphores and batched renewals %s, as the rows then show',
    async (fails) => {
      const { faults, clock, backend } = make();
      const result = await backend.lease.acquire(claim);
      const token = result.acquired ? result.token : 0n;
      const holders = [{ address: 'a:1', value: 'held' }];
      const write = { name: 's', follows: 0n, limit: 2, value: 'v', holders, leader: 'a:1' };
      const fence = { lease: claim.name, token };
      faults.once('permits.write', { fails }).once('lease.renewAll', { fails });

      await expect(backend.permits.write(write, fence)).rejects.toEqual(unavailable);
      const row = await backend.permits.read('s');
      expect(row?.value).toBe(fails === 'after-effect' ? 'v' : undefined);
      const again = await backend.permits.write(write, fence);
      expect(again).toEqual(row === undefined ? expect.objectContaining({ written: true }) : { written: false, row });

      await backend.lease.read(claim.name);
      await clock.advanceAsync(900);
      await expect(backend.lease.renewAll([{ ...claim, token }])).rejects.toEqual(unavailable);
      const { expiresInMs } = await backend.lease.read(claim.name);
      expect(expiresInMs).toBe(fails === 'after-effect' ? 1_000 : 100);
      await expect(backend.lease.renewAll([{ ...claim, token }])).resolves.toEqual([{ renewed: true }]);
    },
  );

  it('fails every call during an outage, and none after it', async () => {
    const { faults, backend } = make();
    faults.outage = true;
    await expect(backend.open()).rejects.toEqual(unavailable);
    await expect(backend.lease.read('lease')).rejects.toEqual(unavailable);
    faults.outage = false;
    await expect(backend.lease.read('lease')).resolves.toMatchObject({ token: 0n });
  });

  it('delays the effect or the answer by the given clock', async () => {
    const { faults, clock, backend } = make();
    const settled: string[] = [];
    faults.once('log.append', { delayMs: 100 });
    void backend.log.append([row]).then(() => settled.push('append'));
    await clock.advanceAsync(99);
    await expect(backend.log.latest('key')).resolves.toBeUndefined();
    await clock.advanceAsync(1);
    await expect(backend.log.latest('key')).resolves.toMatchObject(row);
    faults.once('lease.acquire', { answerDelayMs: 100 });
    void backend.lease.acquire(claim).then(() => settled.push('acquire'));
    await clock.advanceAsync(99);
    await expect(backend.lease.read('lease')).resolves.toMatchObject({ holder: claim.holder });
    expect(settled).toEqual(['append']);
    await clock.advanceAsync(1);
    expect(settled).toEqual(['append', 'acquire']);
  });

  it('asks the plan for every call that has no fault of its own', async () => {
    const { faults, backend } = make();
    faults.each((call) => (call.startsWith('log.') ? { fails: 'before-effect' } : undefined));
    await expect(backend.log.keys({ prefix: '', limit: 1 })).rejects.toEqual(unavailable);
    await expect(backend.lease.read('lease')).resolves.toMatchObject({ token: 0n });
  });
});
