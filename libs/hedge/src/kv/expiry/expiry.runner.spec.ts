import { describe, expect, it } from '@jest/globals';
import { memory } from '../../database/memory/index.js';
import { VirtualClock } from '../../testing/virtual-clock.js';
import { ExpiryRunner, type ExpiringPut } from './expiry.runner.js';

describe('the expiry of keys', () => {
  it('keeps no value in the memory of the leader, however large it is', async () => {
    const clock = new VirtualClock();
    const { log } = memory({ clock }).create({ timeoutMs: 1_000 });
    const committer = { transact: async () => ({ timestamp: 2n }) };
    const expiry = new ExpiryRunner({ log, committer, clock, lease: 'hedge/lease/g', group: 'g' });
    expiry.elected(1n);
    const put: ExpiringPut & { readonly value: string } = {
      key: 'k',
      id: 'id',
      lifetime: { ttlMs: 1_000 },
      get value(): string {
        throw new Error('the value is copied');
      },
    };
    await expect(expiry.follow([put], committer.transact)).resolves.toEqual({ timestamp: 2n });
    expiry.ended();
  });
});
