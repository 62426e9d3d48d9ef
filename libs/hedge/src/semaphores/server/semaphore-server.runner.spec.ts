import { describe, expect, it } from '@jest/globals';
import { leaseName } from '../../database/row-names.js';
import type { SemaphoreRow } from '../../database/permit-table.js';
import { memory } from '../../database/memory/index.js';
import { HedgeError } from '../../common/errors.js';
import { TIMING_PRESETS } from '../../common/timing.js';
import type { Encoded } from '../../messaging/message.js';
import { DEFAULT_MESSAGING_LIMITS } from '../../messaging/limits.js';
import { RequestServer } from '../../messaging/server/request-server.runner.js';
import { Timeline } from '../../messaging/server/timeline.js';
import type { Origin } from '../../messaging/server/server-call.js';
import { type Reply } from '../../wire/hedge/v1/link.js';
import { VirtualClock } from '../../testing/virtual-clock.js';
import { formatPermits } from './permit-row.js';
import { SemaphoreServer } from './semaphore-server.runner.js';
import { ACQUIRE, acquiredOf, acquireRequest, renewedOf, renewRequest } from '../semaphore-wire.js';
import { semaphoreTiming } from '../semaphore-timing.js';

const caller = { address: 'pod:1', incarnation: 'i' };

describe('SemaphoreServer', () => {
  it('S2: an unreadable row costs only its own permits, and not those of other semaphores', async () => {
    const permit = { id: 'good', holder: caller, permits: 1, permitMs: 1_000, token: 5n };
    const rows: Record<string, SemaphoreRow> = {
      readable: { limit: 1, value: formatPermits('g', [permit]), timestamp: 7n },
      unreadable: { limit: 1, value: 'x', timestamp: 7n },
    };
    const { permits } = memory().create({ timeoutMs: 1_000 });
    const server = new SemaphoreServer({
      table: { read: async (name) => rows[name], write: (...args) => permits.write(...args) },
      clock: new VirtualClock(),
      group: 'g',
      address: () => 'leader:1',
      timing: semaphoreTiming(TIMING_PRESETS.lan),
      maxWaiting: 10,
      logger: { warn: () => undefined },
    });
    server.elected(1n);
    const held = new Map([
      ['readable', ['good']],
      ['unreadable', ['bad']],
    ]);
    const { signal } = new AbortController();
    const about = { ...renewRequest(held), requestId: 'r', sequence: 1, attempt: 1, caller, epoch: 1n };
    const reply = await new Promise<Encoded>((resolve, reject: (error: HedgeError) => void) =>
      server.handle({ ...about, timeoutMs: 1_000, signal }, resolve, reject),
    );
    expect(renewedOf(reply).unknown).toEqual(['bad']);
  });

  it('S1: grants nothing while permits of a replaced database may be valid, and answers callers that do not wait', async () => {
    const clock = new VirtualClock();
    const { permits, lease } = memory().create({ timeoutMs: 1_000 });
    const leader = await lease.acquire({ name: leaseName('g'), holder: caller, leaseMs: 60_000 });
    if (!leader.acquired) throw new Error('the lease is free');
    const replacedAt = clock.now().mono;
    const server = new SemaphoreServer({
      table: {
        read: (name) => permits.read(name),
        write: (...args) => permits.write(...args),
        unseenForMs: (permitMs) => Math.max(0, replacedAt + permitMs - clock.now().mono),
      },
      clock,
      soon: (run) => void clock.after(0, run),
      group: 'g',
      address: () => 'leader:1',
      timing: { ...semaphoreTiming(TIMING_PRESETS.lan), heardWithinMs: Infinity },
      maxWaiting: 10,
      logger: { warn: () => undefined },
    });
    server.elected(leader.token);
    const { permitMs } = semaphoreTiming(TIMING_PRESETS.lan);
    const { signal } = new AbortController();
    const outcomes: string[] = [];
    const acquire = (id: string, wait: boolean): void => {
      const request = acquireRequest({ name: 's', id, permits: 1, limit: 1, wait, timeoutMs: 60_000 });
      const about = { requestId: id, sequence: 1, attempt: 1, caller, epoch: leader.token, timeoutMs: 60_000, signal };
      server.handle(
        { ...request, ...about },
        (reply) => outcomes.push(`${id} ${acquiredOf(reply).granted ? 'granted' : 'not free'}`),
        (error) => outcomes.push(`${id} ${error.code}`),
      );
    };
    acquire('impatient', false);
    acquire('patient', true);
    await clock.advanceAsync(permitMs - 1);
    expect(outcomes).toEqual(['impatient not free']);
    await clock.advanceAsync(2);
    expect(outcomes).toEqual(['impatient not free', 'patient granted']);
  });

  it('warns once that a row can be read and not written, as on a full disk, and retries at growing intervals', async () => {
    const clock = new VirtualClock();
    const warnings: string[] = [];
    const written: number[] = [];
    const timing = semaphoreTiming(TIMING_PRESETS.lan);
    const server = new SemaphoreServer({
      table: {
        read: async () => undefined,
        write: async () => {
          written.push(clock.now().mono);
          throw new HedgeError('BACKEND_UNAVAILABLE', 'disk is full');
        },
      },
      clock,
      soon: (run) => void clock.after(0, run),
      group: 'g',
      address: () => 'leader:1',
      timing,
      maxWaiting: 10,
      logger: { warn: (line) => void warnings.push(line) },
    });
    server.elected(1n);
    const acquire = { name: 's', id: 'one', permits: 1, limit: 1, wait: true, timeoutMs: 60_000 };
    const { signal } = new AbortController();
    const about = { ...acquireRequest(acquire), requestId: 'r', sequence: 1, attempt: 1, caller, epoch: 1n };
    server.handle(
      { ...about, timeoutMs: 60_000, signal },
      () => undefined,
      () => undefined,
    );
    const heard = renewRequest(new Map([['s', ['one']]]));
    for (let passed = 0; passed < 30_000; passed += 50) {
      // Nothing is granted to a caller that is not heard.
      if (passed % 500 === 0) {
        const renewal = {
          ...heard,
          requestId: 'n',
          sequence: 2,
          attempt: 1,
          caller,
          epoch: 1n,
          timeoutMs: 1_000,
          signal,
        };
        server.handle(
          renewal,
          () => undefined,
          () => undefined,
        );
      }
      await clock.advanceAsync(50);
    }
    expect(written.length).toBeGreaterThan(5);
    expect(warnings).toEqual([expect.stringContaining('disk is full')]);
    const pauses = written.slice(1).map((at, index) => at - (written[index] ?? 0));
    expect(pauses.slice(4).every((pause) => pause >= 2 * timing.retryMs)).toBe(true);
  });

  describe('callers that stop waiting', () => {
    const clock = new VirtualClock();
    const self: Origin = { peer: { address: 'leader:1', incarnation: 'leader' }, here: true };
    const remote: Origin = { peer: caller };
    let receiver: RequestServer;
    let replies: Reply[];
    let requests = 0;
    let epoch = 0n;

    /** One permit is held, and 20 callers wait for it. */
    const queueUp = async (origin: Origin): Promise<number[]> => {
      replies = [];
      const { permits, lease } = memory().create({ timeoutMs: 1_000 });
      const leader = await lease.acquire({ name: leaseName('g'), holder: self.peer, leaseMs: 60_000 });
      epoch = leader.acquired ? leader.token : 0n;
      const server = new SemaphoreServer({
        table: permits,
        clock,
        group: 'g',
        address: () => 'leader:1',
        timing: semaphoreTiming(TIMING_PRESETS.lan),
        maxWaiting: 20,
        logger: { warn: () => undefined },
      });
      receiver = new RequestServer({
        clock,
        timeline: new Timeline(),
        route: {
          current: () => undefined,
          leads: (term) => term === epoch,
          refresh: async () => undefined,
          onChange: () => () => undefined,
        },
        limits: DEFAULT_MESSAGING_LIMITS,
        reply: (_origin, reply) => replies.push(reply) > 0,
      });
      receiver.serve(ACQUIRE, (request) => new Promise((resolve, reject) => server.handle(request, resolve, reject)));
      server.elected(epoch);
      await acquire(self);
      return Promise.all(Array.from({ length: 20 }, () => acquire(origin)));
    };
    const acquire = async (origin: Origin): Promise<number> => {
      requests += 1;
      const sequence = requests;
      const asked = { name: 's', id: `id-${sequence}`, limit: 1, permits: 1, wait: true, timeoutMs: 60_000 };
      const { type, topic, payload } = acquireRequest(asked);
      const { encoding, bytes } = payload;
      const request = {
        sequence,
        kind: type.kind,
        topic,
        encoding,
        payload: bytes,
        timeoutMs: 60_000,
        attempt: 1,
        epoch,
      };
      receiver.receive(origin, { ...request, id: String(sequence) });
      await clock.advanceAsync(1);
      return sequence;
    };
    /** The callers that still wait, as a drain counts them. */
    const drained = async (): Promise<boolean> => {
      let done = false;
      void receiver.drain(epoch).then(() => (done = true));
      await clock.advanceAsync(1);
      return done;
    };

    it.each([
      ['of this very pod', self],
      ['of another pod', remote],
    ])('%s leave the queue and the count at once, and a drain does not wait for them', async (_, origin) => {
      const waiting = await queueUp(origin);
      for (const sequence of waiting) receiver.cancel(origin.peer, sequence);
      await clock.advanceAsync(1);
      expect(replies.map(({ sequence }) => sequence)).toEqual(expect.arrayContaining(waiting));
      const next = await acquire(origin);
      expect(replies.filter(({ sequence }) => sequence === next)).toEqual([]);
      receiver.cancel(origin.peer, next);
      expect(await drained()).toBe(true);
    });

    it('are no longer counted when their pod is gone', async () => {
      await queueUp(remote);
      receiver.left(remote.peer);
      await clock.advanceAsync(DEFAULT_MESSAGING_LIMITS.rememberCallerMs);
      expect(await drained()).toBe(true);
    });
  });
});
