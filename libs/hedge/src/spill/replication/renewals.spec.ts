import { expect, it } from '@jest/globals';
import { VirtualClock } from '../../testing/virtual-clock.js';
import { Renewals } from './renewals.js';

it('renews with every beat, also while ways to the same member are opened again and again', () => {
  const clock = new VirtualClock();
  let sent = 0;
  const request = () => new Promise<never>(() => void (sent += 1));
  const renewals = new Renewals({ messenger: { request }, clock, everyMs: 100 });
  const epoch = renewals.issue();
  for (let i = 0; i < 5; i += 1) {
    renewals.held({ address: 'b:1', incarnation: 'b' }, epoch);
    clock.advance(50);
  }
  expect(sent).toBe(1);
  renewals.stop();
  clock.advance(1_000);
  expect(sent).toBe(1);
});
