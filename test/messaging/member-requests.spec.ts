import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { TestGroup, type TestPod } from './group.js';

let group: TestGroup;
let a: TestPod;
let b: TestPod;
let c: TestPod;

// Hides the warnings about links that tests break.

beforeEach(async () => {
  ({ group, a, b, c } = await TestGroup.ofThree());
});

afterEach(() => group.close());

describe('a request to a member', () => {
  it('runs at that member, also when it is the sender', async () => {
    const replies = [a.send('x', { to: c.self }), a.send('y', { to: a.self })];
    await group.pass();
    await expect(Promise.all(replies)).resolves.toEqual(['x', 'y']);
    expect([a, b, c].map(({ ran }) => ran.length)).toEqual([1, 0, 1]);
    expect(c.ran[0]).toMatchObject({ epoch: 0n });
  });

  it('fails at once with MEMBER_UNREACHABLE when the member is unreachable', async () => {
    group.network.partition(a.self, c.self);
    const reply = a.send('x', { to: c.self });
    await group.pass();
    await expect(reply).rejects.toMatchObject({ code: 'MEMBER_UNREACHABLE', retryable: true });
  });

  it('fails with OUTCOME_UNKNOWN when the member dies with the request', async () => {
    c.handler = () => new Promise(() => undefined);
    const reply = a.send('x', { to: c.self, timeoutMs: 1_000 });
    await group.pass();
    group.network.kill(c.self);
    await group.pass(1_100);
    await expect(reply).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
  });

  it('fails before its deadline when the member restarts or leaves the group', async () => {
    c.handler = () => new Promise(() => undefined);
    const replies = [a.send('x', { to: c.self }), b.send('x', { to: c.self })];
    await group.pass();
    group.network.kill(c.self);
    b.messenger.departed(c.self);
    await group.start('c');
    await group.pass(200);
    for (const reply of replies) await expect(reply).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
  });

  it('rejects with SHUTTING_DOWN when the receiver stops', async () => {
    c.handler = () => new Promise(() => undefined);
    const running = a.send('x', { to: c.self });
    await group.pass();
    c.messenger.close();
    const late = a.send('x', { to: c.self });
    await group.pass();
    await expect(running).rejects.toMatchObject({ code: 'SHUTTING_DOWN', retryable: false });
    await expect(late).rejects.toMatchObject({ code: 'SHUTTING_DOWN', retryable: true });
  });
});
