import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { eventually, Pods } from './pods.js';

describe('the holder of a lock that is gone or stands still', () => {
  let pods: Pods;
  beforeEach(async () => {
    pods = await Pods.make();
  });
  afterEach(() => pods.close());

  it('killed: who waits has it once the lease has run out, with a higher token (L1, L4)', async () => {
    const [one, two] = await pods.startGroup(2);
    const first = await one!.call('lock', 'invoices', 0);
    const waiting = two!.call('lock', 'invoices', 30_000);
    await expect(two!.call('lock', 'invoices', 0)).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    await one!.kill();
    expect(await waiting).toBeGreaterThan(first);
    expect(await two!.call('held', 'invoices')).toMatchObject({ valid: true, lost: undefined });
  }, 60_000);

  it('stopped for longer than its lease, then continued: it has lost it, and knows at once (L2, L3)', async () => {
    const [one, two] = await pods.startGroup(2);
    await one!.call('lock', 'invoices', 0);
    one!.signal('SIGSTOP');
    const next = await two!.call('lock', 'invoices', 30_000);

    // Asked while it stands still, so that it answers before it can learn anything from others.
    const state = one!.call('held', 'invoices');
    one!.signal('SIGCONT');
    const { valid, token } = await state;
    expect([valid, token < next]).toEqual([false, true]);
    const told = await eventually('the signal aborts', async () => {
      const { lost } = await one!.call('held', 'invoices');
      return lost;
    });
    expect(told).toBe('LEASE_LOST');
    expect(await two!.call('held', 'invoices')).toMatchObject({ token: next, valid: true });
  }, 60_000);
});
