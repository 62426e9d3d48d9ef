import { expect, it } from '@jest/globals';
import { VirtualClock } from '../../testing/virtual-clock.js';
import type { OutgoingRequest } from '../../messaging/message.js';
import { MemoryNetwork } from '../../testing/memory-transport.js';
import { ReplicaClient, SPILL_RENEWAL } from './replica-client.js';

it('renews with every heartbeat, also while streams to the same member are opened again and again', () => {
  const clock = new VirtualClock();
  let renewals = 0;
  const request = ({ type }: OutgoingRequest) => {
    if (type === SPILL_RENEWAL) renewals += 1;
    return new Promise<never>(() => undefined);
  };
  const streams = new MemoryNetwork({ clock }).transport({ address: 'a:1', incarnation: 'a' });
  const client = new ReplicaClient({
    streams,
    messenger: { request },
    clock,
    openTimeoutMs: 1_000,
    renewEveryMs: 100,
  });
  const epoch = client.nextEpoch();
  for (let session = 1; session <= 5; session += 1) {
    const pull = { epoch, session, name: 's', memoryLimit: 0, diskLimit: 0 };
    void client.openWriteStream({ address: 'b:1', incarnation: 'b' }, pull);
    clock.advance(50);
  }
  expect(renewals).toBe(1);
  client.stop();
  clock.advance(1_000);
  expect(renewals).toBe(1);
});
