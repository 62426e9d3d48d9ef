import { describe, expect, it } from '@jest/globals';
import type { RenewResult } from '../../database/lease-table.js';
import { TIMING_PRESETS } from '../../common/timing.js';
import { VirtualClock } from '../../testing/virtual-clock.js';
import type { FromRenewalThread } from './renewal.messages.js';
import { RenewalThread } from './renewal-thread.js';
import { Liveness } from './liveness.js';
import { SharedTerm } from './shared-term.js';

const timing = TIMING_PRESETS.lan;

/** A thread that holds the lease of the leader, and whose database answers after `answerMs`. */
function start(answerMs: number, answer: () => Promise<RenewResult>) {
  const clock = new VirtualClock();
  const liveness = new Liveness();
  const posted: FromRenewalThread[] = [];
  const lease = {
    renew: async () => {
      await new Promise<void>((resolve) => clock.after(answerMs, resolve));
      return answer();
    },
  };
  const thread = new RenewalThread({
    backend: { lease, close: async () => undefined } as never,
    clock,
    timing,
    maxStallMs: 60_000,
    liveness: liveness.memory,
    post: (message) => void posted.push(message),
  });
  liveness.turned(clock.now().mono);
  const term = { id: 1, validSince: clock.now(), lastRenewal: 0, batched: false };
  const holder = { address: 'a:1', incarnation: 'a' };
  thread.receive({ type: 'hold', name: 'l', holder, token: 1n, term, memory: new SharedTerm().memory });
  const measured = () => posted.flatMap((message) => (message.type === 'measured' ? [message.renewal] : []));
  return { clock, measured };
}

describe('the renewal thread', () => {
  it('measures the time of each renewal, and the margin that it left', async () => {
    const { clock, measured } = start(100, async () => ({ renewed: true }));
    await clock.advanceAsync(2 * (timing.leaseMs / 3 + 100));
    const [first, second] = measured();
    for (const renewal of [first, second])
      expect(renewal).toMatchObject({ lease: 'leader', ms: 100, outcome: 'renewed' });
    // Counted from the start of the renewal before.
    expect(first?.margins[0]).toBeCloseTo(timing.renewDeadlineMs - timing.leaseMs / 3 - 100);
    expect(second?.margins[0]).toBeCloseTo(timing.renewDeadlineMs - timing.leaseMs / 3 - 100);
  });

  it('reports a renewal that fails without a margin', async () => {
    const { clock, measured } = start(0, () => Promise.reject(new Error('down')));
    await clock.advanceAsync(timing.leaseMs / 3 + 10);
    expect(measured()[0]).toMatchObject({ lease: 'leader', outcome: 'failed', margins: [] });
  });
});
