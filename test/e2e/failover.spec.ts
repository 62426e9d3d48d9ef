import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { agree, eventually, type Pod, Pods } from './pods.js';

describe('a leader that is killed or paused', () => {
  let pods: Pods;
  beforeEach(async () => {
    pods = await Pods.make();
  });
  afterEach(() => pods.close());

  it('killed: another pod takes over with a higher token, and no acknowledged put is lost (L1, L4, K1)', async () => {
    const [leader, follower, other] = await pods.startGroup(3);
    const { token } = await leader!.state();
    const acknowledged: string[] = [];
    const writing = writeUntil(20, 'before');
    await writing;
    const during = writeUntil(20, 'during');
    await leader!.kill();
    await during;

    const [next] = await agree([follower!, other!]);
    expect((await next!.state()).token).toBeGreaterThan(token!);
    expect(await follower!.call('send', 0, 10_000)).toBe(next!.pid);
    expect(new Set(await follower!.call('who'))).toEqual(new Set([follower!.pid, other!.pid]));
    for (const key of acknowledged) expect(await other!.call('get', key)).toBe(`value of ${key}`);

    async function writeUntil(count: number, phase: string): Promise<void> {
      for (let n = 0; n < count; n += 1) {
        const key = `${phase}/${n}`;
        // Puts wait for the next leader. A put that reaches its deadline meanwhile is not acknowledged.
        const done = await follower!.call('put', key, `value of ${key}`).then(
          () => true,
          () => false,
        );
        if (done) acknowledged.push(key);
      }
      expect(acknowledged.length).toBeGreaterThan(0);
    }
  }, 60_000);

  it('paused for longer than its lease, then continued: it cannot write as leader, and follows (L2, L3)', async () => {
    const [old, ...others] = await pods.startGroup(3);
    const fenced = (await old!.state()).token!;
    await old!.call('put', 'fenced', 'by the leader', { fenced });
    old!.signal('SIGSTOP');
    const next = await eventually('a new leader', async () => {
      const states = await Promise.all(others.map((pod) => pod.state()));
      return others.find((_, index) => states[index]!.isLeader);
    });

    // Called while it is paused, so that it answers before it can learn the state of other pods.
    const state = old!.state();
    const write = old!.call('put', 'fenced', 'by the former leader', { fenced });
    const refused = expect(write).rejects.toMatchObject({ code: 'LEASE_LOST' });
    old!.signal('SIGCONT');
    expect(await state).toMatchObject({ isLeader: false, token: undefined });
    await refused;
    expect(await next.call('get', 'fenced')).toBe('by the leader');

    expect((await agree([old!, ...others]))[0]).toBe(next);
    expect(await old!.call('send', 0, 10_000)).toBe(next.pid);
  }, 60_000);

  it('killed and restarted at its address: one pod takes over, in one election', async () => {
    const [leader, ...followers] = await pods.startGroup(3);
    const { token } = await leader!.state();
    await leader!.kill();
    const restarted = await pods.start({ address: leader!.address });

    const [next] = await agree([restarted, ...followers]);
    expect(await restarted.call('send', 0, 10_000)).toBe(next!.pid);
    const after = (await next!.state()).token!;
    expect(after).toBeGreaterThan(token!);
    expect([restarted, ...followers].flatMap(termsOf)).toEqual([after]);
    // On a busy machine it may start only when that lease has expired, and then it may be the next leader.
    expect([[token, after], [after]]).toContainEqual(tokensIn(restarted));
  }, 60_000);

  it('killed and restarted at its address, alone: it leads again after it has watched the lease, in one election', async () => {
    const [leader] = await pods.startGroup(1);
    const { token } = await leader!.state();
    await leader!.call('lock', 'report', 10_000);
    await leader!.kill();
    const restarted = await pods.start({ address: leader!.address });
    await agree([restarted]);
    expect(termsOf(restarted)).toEqual([(await restarted.state()).token]);
    // On a busy machine, the old lease may have expired when it reads it first.
    expect(tokensIn(restarted).filter((seen) => seen !== token)).toEqual(termsOf(restarted));
    // The lock of the old process is free when its lease has expired, too.
    expect(await restarted.call('lock', 'report', 10_000)).toBeGreaterThan(token!);
  }, 60_000);

  it('stopped gracefully, one after another: the leadership goes to the pod that started last', async () => {
    const group: Pod[] = [];
    for (let n = 0; n < 4; n += 1) {
      group.push(await pods.start());
      await agree(group);
    }
    const [first, second, ...rest] = group;
    const last = rest.at(-1)!;
    expect((await first!.state()).isLeader).toBe(true);
    await first!.stop();
    const [next] = await agree([second!, ...rest]);
    expect(first!.output).toContain(`Handing the leadership of group e2e over to ${last.address}`);
    expect(next!.address).toBe(last.address);
    await second!.stop();
    await agree(rest);
    expect(group.flatMap(termsOf)).toHaveLength(2);
  }, 60_000);

  it('stopped gracefully under load: the next leader takes over at once, and no send fails', async () => {
    const [leader, ...followers] = await pods.startGroup(3);
    for (const pod of followers) await pod.call('startSending', 8);
    await sendsMore(100);
    expect(await leader!.stop()).toBe('SIGTERM');
    await sendsMore(100);
    const results = await Promise.all(followers.map((pod) => pod.call('stopSending')));
    expect(results.flatMap(({ failed }) => failed)).toEqual([]);
    await agree(followers);

    async function sendsMore(count: number): Promise<void> {
      for (const pod of followers) {
        const { done } = await pod.call('sendsSoFar');
        await eventually(`${count} more sends`, async () => {
          const now = await pod.call('sendsSoFar');
          return now.done >= done + count ? true : undefined;
        });
      }
    }
  }, 60_000);

  it('stopped while a handler hangs: it still ends, and the work runs on the next leader', async () => {
    const [leader, follower] = await pods.startGroup(2);
    void follower!.call('send', 3_600_000, 3_600_000);
    await eventually('the handler runs', async () => ((await leader!.state()).working > 0 ? true : undefined));
    leader!.signal('SIGTERM');
    expect(await leader!.stop()).toBe('SIGTERM'); // a second signal changes nothing
    await eventually('the handler runs again', async () => ((await follower!.state()).working > 0 ? true : undefined));
  }, 60_000);
});

/** The tokens with which the pod has led. */
function termsOf({ output }: Pod): bigint[] {
  return [...output.matchAll(/Leader of group e2e, token (\d+)/g)].map(([, token]) => BigInt(token!));
}

/** The tokens of all leaders that the pod has known, in this order. */
function tokensIn({ output }: Pod): bigint[] {
  return [...output.matchAll(/Leader of group e2e(?: is \S+)?, token (\d+)/g)].map(([, token]) => BigInt(token!));
}
