import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { rm } from 'node:fs/promises';
import { startServer } from '../postgres/target.js';
import { eventually, type Pod, Pods } from './pods.js';

// With `local`, a lease lasts 3 s, and maxStallMs is 6 s by default.
const LONGER_THAN_A_LEASE = 4_000;
const LONGER_THAN_ALL = 12_000;

describe('a pod whose event loop is blocked', () => {
  let pods: Pods;
  beforeEach(async () => {
    pods = await Pods.make();
  });
  afterEach(() => pods.close());

  it.each(['sqlite', 'postgres'])(
    'longer than a lease loses nothing when a worker thread renews: the leadership, a lock and its job go on (%s)',
    async (driver) => {
      const server = driver === 'postgres' ? await startServer() : undefined;
      try {
        const database = server && { postgres: { url: server.url() } };
        const [leader, follower] = await pods.startGroup(2, { renewal: 'worker', ...database });
        const { token } = await leader!.state();
        const lock = await leader!.call('lock', 'a', 0);
        const run = await leader!.call('blockInJob', LONGER_THAN_A_LEASE, 'a');
        expect(run).toEqual({ led: [true], locked: [true], outcome: 'done' });
        expect(await leader!.state()).toMatchObject({ isLeader: true, token });
        expect(await leader!.call('held', 'a')).toEqual({ token: lock, valid: true, lost: undefined });
        expect(await follower!.call('terms')).toEqual([]);
        await logged(leader!, /stalled for \d+ ms.*No lease was lost/);
        // Once, beside the stalls of a machine that is busy.
        const lengths = [...leader!.output.matchAll(/stalled for (\d+) ms/g)].map(([, ms]) => Number(ms));
        expect(lengths.filter((ms) => ms > LONGER_THAN_A_LEASE / 2)).toHaveLength(1);
      } finally {
        await pods.close();
        await server?.stop();
      }
    },
    60_000,
  );

  it('longer than maxStallMs and a lease loses all to another pod, and sees it in the middle of its work (L1, L2, L3)', async () => {
    const [leader, follower] = await pods.startGroup(2, { renewal: 'worker' });
    await leader!.call('lock', 'a', 0);
    const blocked = leader!.call('block', LONGER_THAN_ALL, 'a');
    const next = await follower!.call('lock', 'a', 30_000);
    expect(await blocked).toEqual({ led: [true, false], locked: [true, false] });
    const held = await eventually('the signal aborts', async () => {
      const state = await leader!.call('held', 'a');
      return state.lost === undefined ? undefined : state;
    });
    expect(held).toMatchObject({ valid: false, lost: 'LEASE_LOST' });
    expect(held.token).toBeLessThan(next);
    const [before] = await leader!.call('terms');
    const after = await eventually('the other pod leads', async () => (await follower!.call('terms'))[0]);
    expect(after.token).toBeGreaterThan(before!.token);
    expect(after.from).toBeGreaterThan(before!.until);
    await logged(leader!, /stalled for \d+ ms.*cost the pod (?=.*the leadership)(?=.*lock "a").*maxStallMs/);
  }, 60_000);

  it('longer than a lease loses all when the event loop renews, and the log names the length, the cost and the fix', async () => {
    const [leader, follower] = await pods.startGroup(2, { renewal: 'main' });
    await leader!.call('lock', 'a', 0);
    expect(await leader!.call('block', LONGER_THAN_A_LEASE, 'a')).toEqual({
      led: [true, false],
      locked: [true, false],
    });
    await logged(leader!, /stalled for \d+ ms.*cost the pod (?=.*the leadership)(?=.*lock "a").*renewal: 'worker'/);
    await eventually('some pod leads', async () => {
      const states = await Promise.all([leader!.state(), follower!.state()]);
      return states.some(({ isLeader }) => isLeader) ? true : undefined;
    });
  }, 60_000);

  it('continues in a new database file when the old one was deleted, also where the worker thread renews nothing', async () => {
    const all = await pods.startGroup(2, { renewal: 'worker' });
    const { token } = await all[0]!.state();
    for (const end of ['', '-wal', '-shm']) await rm(pods.file + end, { force: true });
    await eventually(
      'both pods follow one leader in the new file',
      async () => {
        const states = await Promise.all(all.map((pod) => pod.state()));
        const leader = states.find(({ isLeader }) => isLeader);
        const follow = states.every(({ leader, settled, members }) => settled && leader && members.length === 2);
        return (follow && leader && leader.token! > token!) || undefined;
      },
      60_000,
    );
    for (const [index, pod] of all.entries()) {
      await eventually('the pod writes', () =>
        pod.call('put', `${index}`, 'value').then(
          () => true,
          () => undefined,
        ),
      );
      for (const reader of all) {
        await eventually('the pods read', () => reader.call('get', `${index}`).catch(() => undefined));
      }
    }
  }, 120_000);

  it('is stopped, and hands over what its worker thread renews', async () => {
    const [leader, follower] = await pods.startGroup(2, { renewal: 'worker' });
    const first = await leader!.call('lock', 'a', 0);
    expect(await leader!.stop()).toBe('SIGTERM');
    expect(await follower!.call('lock', 'a', 0)).toBeGreaterThan(first);
    await eventually('the other pod leads', async () => (await follower!.call('terms'))[0]);
  }, 60_000);
});

function logged(pod: Pod, line: RegExp): Promise<boolean> {
  return eventually(`the log has ${line}`, async () => line.test(pod.output) || undefined);
}
