import { describe, expect, it } from '@jest/globals';
import type { SemaphoreRow } from '../backend/permits.js';
import { memory } from '../backends/memory/index.js';
import { HedgeError } from '../common/errors.js';
import { TIMING_PRESETS } from '../common/timing.js';
import type { Encoded } from '../messaging/message.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import { formatPermits } from './permit-row.js';
import { SemaphoreArbiter } from './semaphore-arbiter.js';
import { acquireRequest, renewedOf, renewRequest } from './semaphore-messages.js';
import { semaphoreTiming } from './semaphore-timing.js';

const caller = { address: 'pod:1', incarnation: 'i' };

describe('semaphore arbiter', () => {
  it('S2: a row that nobody can read costs its own permits only, and not those of other semaphores', async () => {
    const permit = { id: 'good', holder: caller, permits: 1, permitMs: 1_000, token: 5n };
    const rows: Record<string, SemaphoreRow> = {
      readable: { limit: 1, value: formatPermits('g', [permit]), timestamp: 7n },
      unreadable: { limit: 1, value: 'x', timestamp: 7n },
    };
    const { permits } = memory().create({ timeoutMs: 1_000 });
    const arbiter = new SemaphoreArbiter({
      table: { read: async (name) => rows[name], write: (...args) => permits.write(...args) },
      clock: new VirtualClock(),
      group: 'g',
      address: () => 'leader:1',
      timing: semaphoreTiming(TIMING_PRESETS.lan),
      maxWaiting: 10,
      logger: { warn: () => undefined },
    });
    arbiter.elected(1n);
    const held = new Map([
      ['readable', ['good']],
      ['unreadable', ['bad']],
    ]);
    const { signal } = new AbortController();
    const about = { ...renewRequest(held), requestId: 'r', sequence: 1, attempt: 1, caller, epoch: 1n };
    const reply = await new Promise<Encoded>((resolve, reject: (error: HedgeError) => void) =>
      arbiter.take({ ...about, timeoutMs: 1_000, signal }, resolve, reject),
    );
    expect(renewedOf(reply).unknown).toEqual(['bad']);
  });

  it('tells once that a row can be read and not written, as on a full disk, and asks at growing intervals', async () => {
    const clock = new VirtualClock();
    const warnings: string[] = [];
    const written: number[] = [];
    const timing = semaphoreTiming(TIMING_PRESETS.lan);
    const arbiter = new SemaphoreArbiter({
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
    arbiter.elected(1n);
    const acquire = { name: 's', id: 'one', permits: 1, limit: 1, wait: true, timeoutMs: 60_000 };
    const { signal } = new AbortController();
    const about = { ...acquireRequest(acquire), requestId: 'r', sequence: 1, attempt: 1, caller, epoch: 1n };
    arbiter.take(
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
        arbiter.take(
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
});
