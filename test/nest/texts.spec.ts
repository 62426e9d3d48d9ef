import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mkdtempSync, rmSync } from 'node:fs';
import { Controller, Logger } from '@nestjs/common';
import type { INestApplicationContext } from '@nestjs/common';
import { Payload } from '@nestjs/microservices';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  ClusterService,
  KvStore,
  LeaderService,
  LockService,
  OnBroadcast,
  OnLeaderMessage,
  OnLeaderStream,
  SemaphoreService,
  SpillStore,
} from 'nestjs-hedge';
import type { HedgeOptions } from 'nestjs-hedge';
import { sqlite } from 'nestjs-hedge/sqlite';
import { Pods, until } from './apps.js';

Logger.overrideLogger(false);

/** UTF-8 cannot encode it. */
const LONE = 'a\ud800b';
const NUL = 'a\0b';
const invalid = expect.objectContaining({ code: 'INVALID_ARGUMENT' });

@Controller()
class Handlers {
  @OnLeaderMessage('echo')
  @OnLeaderMessage(NUL)
  @OnBroadcast('echo')
  echo(@Payload() value: unknown) {
    return value;
  }

  @OnLeaderStream('echo')
  async *stream(@Payload() input: AsyncIterable<unknown>) {
    yield* input;
  }
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

describe.each(['memory', 'sqlite'])('a text that not every encoding holds, on %s', (driver) => {
  const folder = mkdtempSync(join(tmpdir(), 'hedge-texts-'));
  const options: Partial<HedgeOptions> = driver === 'sqlite' ? { backend: sqlite({ file: join(folder, 'db') }) } : {};
  const pods = new Pods({ controllers: [Handlers] }, options);
  let app: INestApplicationContext;

  beforeAll(async () => {
    await pods.start();
    await pods.start();
    await until(() => pods.apps.every((each) => each.get(ClusterService).members().length === 2), 'two pods');
    app = pods.followers[0]!;
  });
  afterAll(async () => {
    await pods.close();
    rmSync(folder, { recursive: true });
  });

  it('is refused as a topic with a lone surrogate, and arrives with a NUL', async () => {
    const [leader, cluster] = [app.get(LeaderService), app.get(ClusterService)];
    await expect(leader.send(LONE)).rejects.toEqual(invalid);
    await expect(cluster.broadcast(LONE)).rejects.toEqual(invalid);
    expect(() => leader.sendStream(LONE, [])).toThrow(invalid);
    expect(() => cluster.broadcastStream(LONE, [])).toThrow(invalid);
    expect(() => OnLeaderMessage(LONE)(Handlers.prototype, 'echo', { value: () => 0 })).toThrow('lone surrogate');
    expect(await leader.send(NUL, 7)).toBe(7);
  });

  it('arrives unchanged in a payload', async () => {
    const [leader, cluster] = [app.get(LeaderService), app.get(ClusterService)];
    const value = { [LONE]: LONE, [NUL]: NUL };
    expect(await leader.send('echo', value)).toEqual(value);
    expect((await cluster.broadcast('echo', value)).map((reply) => reply.value)).toEqual([value, value]);
    expect(await all(leader.sendStream('echo', [value, LONE]))).toEqual([value, LONE]);
  });

  it.each([LONE, NUL])(
    'is refused as a key, a value, a prefix and the name of a lock or semaphore: %j',
    async (text) => {
      const [kv, locks, semaphores] = [app.get(KvStore), app.get(LockService), app.get(SemaphoreService)];
      for (const refused of [
        () => kv.put(text, 'value'),
        () => kv.put('key', text),
        () => kv.get(text),
        () => kv.history(text),
        () => kv.keys(text),
        () => locks.acquire(text),
        () => locks.tryAcquire(text),
        () => locks.holder(text),
        async () => semaphores.get(text, { limit: 1 }).acquire(),
      ]) {
        await expect(refused()).rejects.toEqual(invalid);
      }
    },
  );

  it('stays unchanged in putJson', async () => {
    const value = { [LONE]: LONE, [NUL]: NUL };
    const kv = app.get(KvStore);
    await kv.putJson('key', value);
    expect(await kv.getJson('key')).toEqual(value);
  });

  it('is refused as a spilled record with a lone surrogate, and nothing of its batch is written', async () => {
    await app.get(SpillStore).use('texts', async (store) => {
      await store.write('first');
      await expect(store.write(LONE)).rejects.toEqual(invalid);
      await expect(store.writeBatch(['second', LONE])).rejects.toEqual(invalid);
      const writer = store.writer();
      await expect(writer.writeRecord(LONE)).rejects.toEqual(invalid);
      writer.destroy();
      await store.write(`${NUL}😀`);
      expect((await store.close()).records).toBe(2);
      expect((await all(store.read())).map(String)).toEqual(['first', `${NUL}😀`]);
    });
    await expect(app.get(SpillStore).create(LONE)).rejects.toEqual(invalid);
  });
});
