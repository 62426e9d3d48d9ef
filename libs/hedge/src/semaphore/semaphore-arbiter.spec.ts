import { describe, expect, it } from '@jest/globals';
import type { SemaphoreRow } from '../backend/permits.js';
import { memory } from '../backends/memory/index.js';
import type { HedgeError } from '../common/errors.js';
import { TIMING_PRESETS } from '../common/timing.js';
import type { Encoded } from '../messaging/message.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import { formatPermits } from './permit-row.js';
import { SemaphoreArbiter } from './semaphore-arbiter.js';
import { renewedOf, renewRequest } from './semaphore-messages.js';
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
});
