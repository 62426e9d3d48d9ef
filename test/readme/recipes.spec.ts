import { afterEach, describe, expect, it } from '@jest/globals';
import type { Type } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { KvStore, LockService } from 'nestjs-hedge';
import { memory, memoryDatabase } from 'nestjs-hedge/memory';
import { HedgeTestingModule, MemoryNetwork } from 'nestjs-hedge/testing';
import { Barrier, Controller, migrate, Printer, PrintQueue, Reconciler, Shards } from './recipes.js';

const apps: TestingModule[] = [];
afterEach(async () => {
  for (const app of apps.splice(0)) await app.close();
});

/** Starts a pod for each list of providers, all in one group. The first pod leads. */
function group() {
  const network = new MemoryNetwork();
  const database = memoryDatabase();
  return async (address: string, providers: (Type | { provide: unknown; useValue: unknown })[]) => {
    const imports = [HedgeTestingModule.forRoot({ network, backend: memory({ database }), address })];
    const app = await Test.createTestingModule({ imports, providers: providers as Type[] }).compile();
    apps.push(app);
    return app.init();
  };
}

/** Collects calls, and resolves when their number reaches a count. */
function collector<Item>() {
  const seen: Item[] = [];
  let wake: (() => void) | undefined;
  return {
    seen,
    add: (item: Item): void => {
      seen.push(item);
      wake?.();
    },
    until: (count: number): Promise<void> =>
      new Promise((resolve) => {
        wake = () => {
          if (seen.length >= count) resolve();
        };
        wake();
      }),
  };
}

describe('the recipes', () => {
  it('election: the leader runs, and after it another pod with a higher token', async () => {
    const { seen, add, until } = collector<{ pod: string; token: bigint }>();
    const controllerOf = (pod: string) => ({
      provide: Controller,
      useValue: {
        step: (token: bigint, signal: AbortSignal) =>
          new Promise<void>((resolve) => {
            add({ pod, token });
            signal.addEventListener('abort', () => resolve(), { once: true });
          }),
      },
    });
    const pod = group();
    const first = await pod('a:1', [Reconciler, controllerOf('a')]);
    await until(1);
    await pod('b:1', [Reconciler, controllerOf('b')]);
    await first.close();
    await until(2);
    expect(seen.map((each) => each.pod)).toEqual(['a', 'b']);
    expect(seen[1]!.token).toBeGreaterThan(seen[0]!.token);
  });

  it('lock: one caller does the work, the others wait for it, and the next does it when one fails', async () => {
    const pod = await group()('a:1', []);
    const [locks, kv] = [pod.get(LockService), pod.get(KvStore)];
    let runs = 0;
    const work = async (): Promise<void> => {
      runs += 1;
      await new Promise(setImmediate);
      if (runs === 1) throw new Error('the first run fails');
    };
    const results = await Promise.allSettled([1, 2, 3].map(() => migrate(locks, kv, work)));
    expect(results.map(({ status }) => status).filter((status) => status === 'rejected')).toHaveLength(1);
    expect(runs).toBe(2);
  });

  it('barrier: opens when the last participant arrives, on any pod', async () => {
    const pod = group();
    const [a, b] = [await pod('a:1', [Barrier]), await pod('b:1', [Barrier])];
    const { signal } = new AbortController();
    let open = false;
    const first = a
      .get(Barrier)
      .arrive('release 7', 'a', 2, signal)
      .then(() => (open = true));
    await a.get(Barrier).arrive('another', 'a', 1, signal);
    expect(open).toBe(false);
    await Promise.all([first, b.get(Barrier).arrive('release 7', 'b', 2, signal)]);
    expect(open).toBe(true);
  });

  it('queue: items are consumed in order, and the next leader continues after the last consumed item', async () => {
    const { seen, add, until } = collector<string>();
    const printer = { provide: Printer, useValue: { print: async (_: string, text: string) => add(text) } };
    const pod = group();
    const a = await pod('a:1', [PrintQueue, printer]);
    const b = await pod('b:1', [PrintQueue, printer]);
    await b.get(PrintQueue).add('one');
    const two = await b.get(PrintQueue).add('two');
    const done = async (): Promise<boolean> => (await b.get(KvStore).get('prints-done'))?.value.includes(two) ?? false;
    while (!(await done())) await new Promise(setImmediate);
    await a.close();
    await b.get(PrintQueue).add('three');
    await until(3);
    expect(seen).toEqual(['one', 'two', 'three']);
    expect(await b.get(KvStore).keys('prints')).toEqual(['prints', 'prints-done']);
  });

  it('membership: each key belongs to one of the members', async () => {
    const pod = group();
    const shards = [await pod('a:1', [Shards]), await pod('b:1', [Shards])].map((app) => app.get(Shards));
    const keys = Array.from({ length: 100 }, (_, index) => `key ${index}`);
    const owners = (key: string): number => shards.filter((shard) => shard.isMine(key)).length;
    // It may take a moment until both pods have the view with both members.
    while (keys.some((key) => owners(key) !== 1)) await new Promise(setImmediate);
    for (const shard of shards) expect(keys.filter((key) => shard.isMine(key)).length).toBeGreaterThan(10);
  });
});
