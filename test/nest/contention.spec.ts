import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { INestApplicationContext } from '@nestjs/common';
import { ClusterService, KvStore, LeaderService, LockService, SemaphoreService } from 'nestjs-hedge';
import type { HedgeOptions } from 'nestjs-hedge';
import { memory } from 'nestjs-hedge/memory';
import { BackendFaults, faulty } from 'nestjs-hedge/testing';
import { PATIENT, Pods, until } from './apps.js';

const PODS = 5;

describe('many callers of five pods', () => {
  const pods = new Pods({}, { timing: PATIENT });
  /** The calls of each pod to the database. */
  const calls = new Map<INestApplicationContext, string[]>();

  const start = async (options: Partial<HedgeOptions> = {}): Promise<INestApplicationContext> => {
    const made: string[] = [];
    const faults = new BackendFaults().each((call) => {
      made.push(call);
      return undefined;
    });
    const app = await pods.start({ ...options, backend: faulty(memory({ database: pods.database }), faults) });
    calls.set(app, made);
    return app;
  };

  beforeAll(async () => {
    for (let pod = 0; pod < PODS; pod += 1) await start();
    await until(() => pods.apps.every(isWhole), 'all pods know each other');
  }, 120_000);
  afterAll(() => pods.close());

  /** The calls of the leader meanwhile, and those of all followers. */
  const during = async (run: () => Promise<unknown>) => {
    for (const made of calls.values()) made.length = 0;
    await run();
    const byFollowers = pods.followers.flatMap((app) => calls.get(app) ?? []);
    return { byLeader: [...(calls.get(pods.leader) ?? [])], byFollowers };
  };

  it.each([2, 20])(
    'cost the database two writes for each permit of a semaphore at most, with %i callers on each pod',
    async (callers) => {
      let served = 0;
      const { byLeader, byFollowers } = await during(() =>
        Promise.all(
          pods.apps.flatMap((app) =>
            Array.from({ length: callers }, () =>
              app.get(SemaphoreService).use('one', { limit: 1, timeoutMs: 60_000 }, () => (served += 1)),
            ),
          ),
        ),
      );
      expect(served).toBe(callers * PODS);
      expect(byLeader.filter((call) => call === 'permits.write').length).toBeLessThanOrEqual(2 * served);
      expect(byLeader.filter((call) => call === 'permits.read').length).toBeLessThanOrEqual(1);
      expect(byFollowers.filter((call) => call.startsWith('permits.'))).toEqual([]);
    },
  );

  it.each([1, 3])(
    'cost the database a few calls for each holder of a lock, with %i callers on each pod',
    async (callers) => {
      const client = await start({ mode: 'client' });
      const apps = [...pods.apps];
      let [held, holders] = [0, 0];
      const one = async (): Promise<void> => {
        held += 1;
        expect(held).toBe(1);
        await new Promise((resolve) => setTimeout(resolve, 50));
        held -= 1;
        holders += 1;
      };
      const { byLeader, byFollowers } = await during(() =>
        Promise.all(
          apps.flatMap((app) =>
            Array.from({ length: callers }, async () => {
              for (let times = 0; times < 3; times += 1) {
                await app.get(LockService).use('one', { timeoutMs: 60_000 }, one);
              }
            }),
          ),
        ),
      );
      expect(holders).toBe(3 * callers * apps.length);
      const made = [...byLeader, ...byFollowers].filter((call) => /^lease\.(acquire|read|release)$/.test(call)).length;
      expect(made).toBeLessThanOrEqual(4 * holders);
      pods.apps.pop();
      await client.close();
    },
  );

  it('share the appends of 1,000 keys, which only the leader makes', async () => {
    const keys = Array.from({ length: 1_000 }, (_, index) => `key/${index}`);
    const { byLeader, byFollowers } = await during(() =>
      Promise.all(
        pods.apps.flatMap((app, pod) =>
          keys.filter((_, index) => index % PODS === pod).map((key) => app.get(KvStore).put(key, 'value')),
        ),
      ),
    );
    expect(pods.apps.filter((app) => app.get(LeaderService).isLeader())).toHaveLength(1);
    const appends = byLeader.filter((call) => call === 'log.append').length;
    expect(appends).toBeGreaterThan(0);
    expect(appends).toBeLessThan(keys.length / 2);
    expect(byFollowers.filter((call) => call.startsWith('log.'))).toEqual([]);
    expect(await pods.apps[0]?.get(KvStore).keys('key/')).toHaveLength(1_000);
  });
});

function isWhole(app: INestApplicationContext): boolean {
  return app.get(ClusterService).members().length === PODS;
}
