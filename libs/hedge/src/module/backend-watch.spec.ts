import { describe, expect, it } from '@jest/globals';
import { memory } from '../backends/memory/index.js';
import { BackendFaults, faulty } from '../testing/faults.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import { BackendWatch } from './backend-watch.js';

describe('backend watch', () => {
  it('counts an answer as long as it is fresh, and no failure', async () => {
    const clock = new VirtualClock();
    const faults = new BackendFaults();
    const watch = new BackendWatch(clock, 1_000);
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
});
