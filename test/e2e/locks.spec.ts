import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { eventually, Pods } from './pods.js';

describe('the holder of a lock that is killed or paused', () => {
  let pods: Pods;
  beforeEach(async () => {
    pods = await Pods.make();
  });
  afterEach(() => pods.close());

  it('killed: the waiting pod acquires it after the lease has expired, with a higher token (L1, L4)', async () => {
    const [one, two] = await pods.startGroup(2);
    const first = await one!.call('lock', 'invoices', 0);
    const waiting = two!.call('lock', 'invoices', 30_000);
    await expect(two!.call('lock', 'invoices', 0)).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    await one!.kill();
    expect(await waiting).toBeGreaterThan(first);
    expect(await two!.call('held', 'invoices')).toMatchObject({ valid: true, lost: undefined });
  }, 60_000);

  it('paused for longer than its lease, then continued: it has lost the lock, and knows it at once (L2, L3)', async () => {
    const [one, two] = await pods.startGroup(2);
    await one!.call('lock', 'invoices', 0);
    one!.signal('SIGSTOP');
    const next = await two!.call('lock', 'invoices', 30_000);

    // Called while it is paused, so that it answers before it can learn the state of other pods.
    const state = one!.call('held', 'invoices');
    one!.signal('SIGCONT');
    const { valid, token } = await state;
    expect([valid, token < next]).toEqual([false, true]);
    const lost = await eventually('the signal aborts', async () => {
      const held = await one!.call('held', 'invoices');
      return held.lost;
    });
    expect(lost).toBe('LEASE_LOST');
    expect(await two!.call('held', 'invoices')).toMatchObject({ token: next, valid: true });
  }, 60_000);
});
