import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { agree, Pods } from './pods.js';

describe('a semaphore of several processes', () => {
  let pods: Pods;
  beforeEach(async () => {
    pods = await Pods.make();
  });
  afterEach(() => pods.close());

  it('S1, S2: never grants its permit twice, and grants it again, when the leader and a holder are killed', async () => {
    const [leader, holder, other] = await pods.startGroup(3);
    const first = await holder!.call('acquire', 'job', 10_000);
    const waiting = other!.call('acquire', 'job', 60_000);
    await leader!.kill();
    await agree([holder!, other!]);
    // The next leader learns of the permit only from the row.
    expect(await holder!.call('permit', 'job')).toMatchObject({ token: first });
    await holder!.call('releasePermit', 'job');
    const second = await waiting;
    expect(second).toBeGreaterThan(first);
    expect(await holder!.call('permit', 'job')).toMatchObject({ valid: false });

    const again = holder!.call('acquire', 'job', 60_000);
    await other!.kill();
    expect(await again).toBeGreaterThan(second);
    expect(await holder!.call('permit', 'job')).toMatchObject({ valid: true, lost: undefined });
  }, 90_000);
});
