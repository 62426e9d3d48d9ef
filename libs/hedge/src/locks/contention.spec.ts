import { beforeEach, describe, expect, it } from '@jest/globals';
import { memory, memoryDatabase } from '../database/memory/index.js';
import { TIMING_PRESETS } from '../common/timing.js';
import { BackendFaults, faulty, type BackendCall } from '../testing/faults.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import type { MemberId } from '../common/identity.js';
import type { Link } from '../transport/transport.js';
import type { Lock } from './lock.js';
import { LockQueueRunner } from './lock-queue.runner.js';
import { LockManager } from './lock.runner.js';

const timing = TIMING_PRESETS.lan;

/** Calls of one pod to the database. */
type Calls = Map<BackendCall, number>;

describe('locks of many pods', () => {
  let clock: VirtualClock;

  beforeEach(() => {
    clock = new VirtualClock();
  });

  /** Pods on one database. Each has a link to the first one, which leads. */
  const start = (count: number) => {
    const database = memoryDatabase({ clock });
    const managers: LockManager[] = [];
    const queues: LockQueueRunner[] = [];
    const calls: Calls[] = [];
    const link = (from: number, to: number): Link =>
      ({
        peer: idOf(to),
        direction: from === 0 ? 'accepted' : 'dialled',
        send: (body) => void clock.after(1, () => queues[to]?.frame(link(to, from), body)),
      }) as Partial<Link> as Link;
    const transport = (pod: number): ConstructorParameters<typeof LockQueueRunner>[0]['transport'] => {
      const peers = (): number[] => (pod === 0 ? [...managers.keys()].slice(1) : [0]);
      const linked = ({ incarnation }: MemberId): Link | undefined => {
        const peer = peers().find((one) => idOf(one).incarnation === incarnation);
        return peer === undefined ? undefined : link(pod, peer);
      };
      return { self: idOf(pod), linked, dialled: linked, links: () => peers().map((peer) => link(pod, peer)) };
    };
    for (let pod = 0; pod < count; pod += 1) {
      const made: Calls = new Map();
      const faults = new BackendFaults().each((call) => {
        made.set(call, (made.get(call) ?? 0) + 1);
        // Each call takes a moment.
        return { delayMs: 1 };
      });
      const { lease } = faulty(memory({ database, clock }), faults, clock).create({ timeoutMs: 1_000 });
      const queue = new LockQueueRunner({
        transport: transport(pod),
        route: { current: () => ({ leader: idOf(0), epoch: 1n, self: pod === 0 }) },
        clock,
        leaseMs: timing.leaseMs,
      });
      const manager = new LockManager({
        leases: lease,
        holder: () => idOf(pod),
        queue,
        clock,
        group: 'test',
        timing,
        random: () => ((pod * 7_919 + clock.now().mono) % 997) / 997,
        logger: { log: () => undefined, warn: () => undefined },
      });
      queue.listen(manager);
      managers.push(manager);
      queues.push(queue);
      calls.push(made);
    }
    return { managers, calls };
  };

  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 10) await clock.advanceAsync(10);
  };

  it('100 waiting pods together call the database no more often than 10', async () => {
    const most: number[] = [];
    const all: number[] = [];
    for (const waiters of [10, 100]) {
      const { managers, calls } = start(waiters + 1);
      let held: Lock | undefined;
      for (const manager of managers) acquire(manager, 'one', (lock) => (held ??= lock));
      await pass(100);
      for (const made of calls) made.clear();
      await pass(30_000);
      expect(held?.isValid()).toBe(true);
      // They read the lease, and change nothing.
      expect(total(calls, 'lease.acquire')).toBe(0);
      most.push(Math.max(...calls.slice(1).map((made) => made.get('lease.read') ?? 0)));
      all.push(total(calls, 'lease.read'));
    }
    expect(all[1]).toBeLessThanOrEqual((all[0] ?? 0) + 2);
    const [few = 0, many = 0] = most;
    expect(many).toBeGreaterThan(0);
    expect(many).toBeLessThanOrEqual(few + 2);
  });

  it('100 pods hold one lock in turn, and a waiting pod makes at most three calls for each release', async () => {
    const { managers, calls } = start(100);
    let [holders, held] = [0, 0];
    for (const manager of managers) {
      acquire(manager, 'one', (lock) => {
        held += 1;
        expect(held).toBe(1);
        clock.after(200, () => {
          held -= 1;
          holders += 1;
          void lock.release();
        });
      });
    }
    for (let passed = 0; holders < managers.length && passed < 120_000; passed += 1_000) await pass(1_000);
    expect(holders).toBe(100);
    const most = Math.max(...calls.map((made) => (made.get('lease.acquire') ?? 0) + (made.get('lease.read') ?? 0)));
    expect(most).toBeLessThanOrEqual(3 * holders);
  });

  it.each([10, 50, 100])(
    '%d pods that wait for one lock hold it in order, with at most five calls for each of them',
    async (waiters) => {
      const { managers, calls } = start(waiters + 1);
      const holders: number[] = [];
      const wait = (pod: number): void =>
        acquire(managers[pod], 'one', (lock) => {
          holders.push(pod);
          clock.after(100, () => {
            void lock.release();
            // At once, the pod would pass the lock to its next caller for up to a lease.
            clock.after(20, () => wait(pod));
          });
        });
      for (const pod of managers.keys()) wait(pod);
      const handOver = async (times: number): Promise<void> => {
        const enough = holders.length + times;
        for (let passed = 0; holders.length < enough && passed < 120_000; passed += 100) await pass(100);
        expect(holders.length).toBeGreaterThanOrEqual(enough);
      };
      await handOver(2 * managers.length);
      for (const made of calls) made.clear();
      const before = holders.length;
      await handOver(2 * managers.length);
      const made = calls.flatMap((one) => [...one.values()]).reduce((sum, count) => sum + count, 0);
      expect(made).toBeLessThanOrEqual(5 * (holders.length - before));
      // Nobody holds the lock again before all others have.
      const turns = holders.slice(before, before + managers.length);
      expect(new Set(turns).size).toBe(managers.length);
      expect(holders.slice(before + managers.length, before + 2 * managers.length)).toEqual(turns);
    },
  );

  it('100 pods hold 500 locks, and each pod renews its locks in one call', async () => {
    const { managers, calls } = start(100);
    const held: Lock[] = [];
    for (const [pod, manager] of managers.entries()) {
      for (let lock = 0; lock < 5; lock += 1) acquire(manager, `${pod}/${lock}`, (one) => void held.push(one));
    }
    await pass(1_000);
    expect(held).toHaveLength(500);
    expect(total(calls, 'lease.acquire')).toBe(500);
    const thirds = 10;
    await pass((thirds * timing.leaseMs) / 3);
    expect(held.every((lock) => lock.isValid())).toBe(true);
    for (const made of calls) expect(made.get('lease.renewAll')).toBeLessThanOrEqual(thirds + 1);
  });
});

function idOf(pod: number): MemberId {
  return { address: `${pod}:1`, incarnation: `pod ${pod}` };
}

function acquire(manager: LockManager | undefined, name: string, granted: (lock: Lock) => void): void {
  manager?.acquire(name, false, { granted, notFree: fail, failed: fail });
}

function fail(): never {
  throw new Error('the lock was not granted');
}

function total(calls: readonly Calls[], call: BackendCall): number {
  return calls.reduce((sum, made) => sum + (made.get(call) ?? 0), 0);
}
