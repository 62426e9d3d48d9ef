import { describe, expect, it } from '@jest/globals';
import { memory, memoryDatabase } from '../../database/memory/index.js';
import { leaseName } from '../../database/row-names.js';
import { TIMING_PRESETS } from '../../common/timing.js';
import { BackendFaults, faulty, type BackendCall } from '../../testing/faults.js';
import { VirtualClock } from '../../testing/virtual-clock.js';
import { semaphoreTiming } from '../semaphore-timing.js';
import { acquireRequest, releaseRequest, type SemaphoreRequest } from '../semaphore-wire.js';
import { SemaphoreServer } from './semaphore-server.runner.js';

const HOLD_MS = 100;

/** One caller of each pod acquires the only permit of a semaphore. Counts the calls of the leader to the database. */
async function contend(pods: number) {
  const clock = new VirtualClock();
  const calls: BackendCall[] = [];
  const faults = new BackendFaults().each((call) => {
    calls.push(call);
    // Each call takes a moment.
    return { delayMs: 1 };
  });
  const backend = faulty(memory({ database: memoryDatabase({ clock }), clock }), faults, clock).create({
    timeoutMs: 1_000,
  });
  const taken = backend.lease.acquire({
    name: leaseName('g'),
    holder: { address: 'leader:1', incarnation: 'leader' },
    leaseMs: 600_000,
  });
  await clock.advanceAsync(10);
  const lease = await taken;
  if (!lease.acquired) throw new Error('the lease is free');
  const server = new SemaphoreServer({
    table: backend.permits,
    clock,
    soon: (run) => void clock.after(0, run),
    group: 'g',
    address: () => 'leader:1',
    timing: { ...semaphoreTiming(TIMING_PRESETS.lan), heardWithinMs: Infinity },
    maxWaiting: 1_000,
    logger: { warn: () => undefined },
  });
  server.elected(lease.token);
  const { signal } = new AbortController();
  const ask = (pod: number, request: SemaphoreRequest, done: () => void): void =>
    server.handle(
      {
        ...request,
        requestId: `${pod}`,
        attempt: 1,
        caller: { address: `${pod}:1`, incarnation: `${pod}` },
        epoch: lease.token,
        timeoutMs: 600_000,
        signal,
      },
      done,
      (error) => {
        throw error;
      },
    );
  const served: number[] = [];
  let [held, most] = [0, 0];
  for (let pod = 0; pod < pods; pod += 1) {
    const id = `permit ${pod}`;
    const request = acquireRequest({ name: 's', id, permits: 1, limit: 1, wait: true, timeoutMs: 600_000 });
    ask(pod, request, () => {
      most = Math.max(most, (held += 1));
      clock.after(HOLD_MS, () => {
        held -= 1;
        ask(pod, releaseRequest('s', id), () => served.push(pod));
      });
    });
  }
  await clock.advanceAsync(HOLD_MS / 2);
  const before = calls.length;
  await clock.advanceAsync(HOLD_MS / 4);
  const whileHeld = calls.length - before;
  for (let passed = 0; served.length < pods && passed < 120_000; passed += HOLD_MS) await clock.advanceAsync(HOLD_MS);
  expect([served.length, most]).toEqual([pods, 1]);
  return { whileHeld, perPermit: calls.length / pods };
}

describe('one semaphore of many pods', () => {
  it('costs the database as many calls for each permit with 100 pods as with 10, and none while they wait', async () => {
    const [few, many] = [await contend(10), await contend(100)];
    expect([few.whileHeld, many.whileHeld]).toEqual([0, 0]);
    expect(many.perPermit).toBeGreaterThan(0);
    expect(many.perPermit).toBeLessThanOrEqual(few.perPermit);
    expect(many.perPermit).toBeLessThanOrEqual(2);
  });
});
