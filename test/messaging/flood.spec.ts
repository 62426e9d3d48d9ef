import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { KV_PUT } from '../../libs/hedge/src/kv/group-commit.runner.js';
import { ACQUIRE, RELEASE, RENEW } from '../../libs/hedge/src/semaphores/semaphore-wire.js';
import { gate, TestGroup, type TestPod } from './group.js';

let group: TestGroup;
let a: TestPod;
let b: TestPod;

// Hides the warnings about links that tests break.

beforeEach(async () => {
  ({ group, a, b } = await TestGroup.ofThree());
});

afterEach(() => group.close());

describe('a flood of requests', () => {
  const LIMITS = { maxRunning: 10, maxPending: 50, maxHeldBytes: 20_000 };

  it('is refused by the receiver beyond its limits, and the running requests are answered', async () => {
    const d = await group.start('d', LIMITS);
    group.elect(d);
    const { opened, open } = gate<string>();
    d.handler = () => opened;
    const replies = Array.from({ length: 30 }, () => a.send('x'));
    await group.pass();
    open('done');
    await group.pass();
    const ends = await Promise.allSettled(replies);
    const refused = ends.filter(({ status }) => status === 'rejected');
    expect(refused).toHaveLength(20);
    expect(refused[0]).toMatchObject({ reason: { code: 'OVERLOADED', retryable: true } });
    expect(d.ran).toHaveLength(10);
    const next = a.send('y');
    await group.pass();
    await expect(next).resolves.toBe('done');
  });

  it('whose replies exceed the outbound queue gets all replies in batches', async () => {
    const d = await group.start('d', {}, 3_000);
    group.elect(d);
    const { opened, open } = gate();
    d.handler = () => opened.then(() => Buffer.alloc(1_000));
    const replies = Array.from({ length: 20 }, () => a.send('x'));
    await group.pass();
    open();
    await group.pass(200);
    await expect(Promise.all(replies)).resolves.toHaveLength(20);
    expect(d.ran).toHaveLength(20);
  });

  it('is refused by the sender beyond its limits on waiting requests, in number and in bytes', async () => {
    group.elect(undefined);
    const d = await group.start('d', LIMITS);
    const waiting = Array.from({ length: 50 }, () => d.send(1));
    await expect(d.send(1)).rejects.toMatchObject({ code: 'OVERLOADED' });
    const e = await group.start('e', LIMITS);
    const big = e.send(Buffer.alloc(15_000));
    await expect(e.send(Buffer.alloc(6_000))).rejects.toMatchObject({ code: 'OVERLOADED' });
    group.elect(b);
    await group.pass(100);
    await expect(Promise.all([...waiting, big])).resolves.toHaveLength(51);
    const again = e.send(Buffer.alloc(6_000));
    await group.pass();
    await expect(again).resolves.toHaveLength(6_000);
  });

  it('delays no renewal, release or put while its messages wait', async () => {
    group.elect(undefined);
    const d = await group.start('d', LIMITS);
    const messages = Array.from({ length: 60 }, () => d.send(Buffer.alloc(400)));
    const types = [KV_PUT, RENEW, RELEASE, ACQUIRE];
    for (const type of types) b.messenger.serve(type, async ({ payload }) => payload);
    const own = types.map((type) => d.send(Buffer.alloc(1_000), { type, topic: '' }));
    group.elect(b);
    await group.pass(100);
    await expect(Promise.all(own)).resolves.toHaveLength(types.length);
    const refused = (await Promise.allSettled(messages)).filter(({ status }) => status === 'rejected');
    expect(refused.length).toBeGreaterThan(0);
  });

  it('that fills the outbound queue of a link leaves the reserved room to renewals', async () => {
    const d = await group.start('d', {}, 3_000);
    d.route.learn();
    expect(await Promise.all([d.send('open the link'), group.pass(100)])).toEqual(['open the link', undefined]);
    b.messenger.serve(RENEW, async ({ payload }) => payload);
    const messages = Array.from({ length: 10 }, () => d.send('x'.repeat(1_000)));
    const renewal = d.send('r'.repeat(1_000), { type: RENEW });
    await group.pass(100);
    const outcomes = (await Promise.allSettled(messages)).map(({ status }) => status);
    expect(outcomes).toContain('rejected');
    expect(await renewal).toBe('r'.repeat(1_000));
  });

  it('does not lower the limits for later requests', async () => {
    const d = await group.start('d', LIMITS);
    group.elect(d);
    for (let round = 0; round < 30; round += 1) {
      const replies = [a, b, d].flatMap((pod) => [pod.send(Buffer.alloc(1_000)), pod.send('x')]);
      await group.pass();
      await Promise.all(replies);
    }
    expect(d.ran).toHaveLength(180);
  });
});
