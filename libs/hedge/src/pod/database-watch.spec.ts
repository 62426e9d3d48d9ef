import { describe, expect, it } from '@jest/globals';
import { memory } from '../database/memory/index.js';
import type { RenewedLease } from '../lease/renewal/term-renewer.js';
import { BackendFaults, faulty } from '../testing/faults.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import { DatabaseWatch } from './database-watch.js';

describe('DatabaseWatch', () => {
  it('counts an answer while it is fresh, and counts no failure', async () => {
    const clock = new VirtualClock();
    const faults = new BackendFaults();
    const watch = new DatabaseWatch(clock, 1_000, 'election');
    const lease = watch.watch(faulty(memory(), faults).create({ timeoutMs: 100 }).lease);
    expect(watch.reachable).toBe(false);
    await lease.read('l');
    expect(watch.reachable).toBe(true);
    clock.advance(999);
    expect(watch.reachable).toBe(true);
    faults.outage = true;
    await expect(lease.read('l')).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    clock.advance(1);
    expect(watch.reachable).toBe(false);
  });

  it('is stale, not unreachable, while nothing is asked: one call shows whether the database answers', async () => {
    const clock = new VirtualClock();
    const faults = new BackendFaults();
    const watch = new DatabaseWatch(clock, 1_000, 'election');
    const lease = watch.watch(faulty(memory(), faults, clock).create({ timeoutMs: 100 }).lease);
    expect(watch.isStale).toBe(false);
    await lease.read('l');
    clock.advance(60_000);
    expect([watch.reachable, watch.isStale]).toEqual([true, true]);
    await lease.read('l');
    expect([watch.reachable, watch.isStale]).toEqual([true, false]);

    clock.advance(60_000);
    faults.outage = true;
    await expect(lease.read('l')).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    expect([watch.reachable, watch.isStale]).toEqual([false, false]);
    faults.outage = false;
    await lease.read('l');
    expect(watch.reachable).toBe(true);
  });

  it('counts the renewals of another thread as answers, also after a failed call', async () => {
    const clock = new VirtualClock();
    const faults = new BackendFaults();
    const watch = new DatabaseWatch(clock, 1_000, 'election');
    const lease = watch.watch(faulty(memory(), faults, clock).create({ timeoutMs: 100 }).lease);
    const held: RenewedLease[] = [];
    const renewer = watch.watchRenewer({
      hold: (one) => void held.push(one),
      renewed: () => undefined,
      drop: () => undefined,
      heard: () => undefined,
    });
    await lease.read('l');
    let changes = 0;
    const holder = { address: 'a:1', incarnation: 'i' };
    const term = { token: 1n, validSince: clock.now(), renewals: 0n };
    renewer.hold({ name: 'l', holder, term, batched: false, changed: () => (changes += 1), failed: () => undefined });
    clock.advance(60_000);
    faults.outage = true;
    await expect(lease.read('l')).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    expect([watch.reachable, watch.isStale]).toEqual([false, false]);
    held[0]?.changed();
    expect([changes, watch.reachable, watch.isStale]).toEqual([1, true, false]);
  });

  it('is unreachable when a call after the last answer does not end', async () => {
    const clock = new VirtualClock();
    const faults = new BackendFaults();
    const watch = new DatabaseWatch(clock, 1_000, 'election');
    const lease = watch.watch(faulty(memory(), faults, clock).create({ timeoutMs: 100 }).lease);
    await lease.read('l');
    clock.advance(60_000);
    faults.each(() => ({ delayMs: 3_600_000 }));
    void lease.read('l');
    clock.advance(999);
    expect([watch.reachable, watch.isStale]).toEqual([true, false]);
    clock.advance(1);
    expect(watch.reachable).toBe(false);
  });

  it('reports a replaced database when the token of the election is lower than before', async () => {
    const holder = { address: 'a:1', incarnation: 'a' };
    let table = memory().create({ timeoutMs: 100 }).lease;
    let replaced = 0;
    const watch = new DatabaseWatch(new VirtualClock(), 1_000, 'election');
    watch.onReplaced(() => (replaced += 1));
    const watched = () => watch.watch(table);
    for (const name of ['election', 'lock']) await watched().acquire({ name, holder, leaseMs: 1_000 });
    for (const name of ['election', 'lock']) await watched().read(name);
    table = memory().create({ timeoutMs: 100 }).lease;
    await watched().read('lock');
    expect(replaced).toBe(0);
    await watched().renew({ name: 'election', holder, leaseMs: 1_000, token: 1n });
    expect(replaced).toBe(1);
    await watched().read('election');
    await watched().acquire({ name: 'election', holder, leaseMs: 1_000 });
    expect(replaced).toBe(1);
  });

  it('passes the tokens on that peers name', () => {
    const heard: unknown[] = [];
    const { lease } = memory().create({ timeoutMs: 100 });
    const watch = new DatabaseWatch(new VirtualClock(), 1_000, 'election');
    const table = { ...lease, heard: (...given: unknown[]) => void heard.push(given) };
    watch.watch(table).heard?.('election', 9n, 3_000);
    watch.watch(lease).heard?.('election', 9n, 3_000);
    expect(heard).toEqual([['election', 9n, 3_000]]);
  });
});
