import { getEventListeners } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Injectable, type INestApplicationContext } from '@nestjs/common';
import { Payload } from '@nestjs/microservices';
import {
  ClusterService,
  KvStore,
  type Leadership,
  LeaderService,
  LockService,
  OnBroadcastStream,
  OnLeaderMessage,
  OnLeaderStream,
  SemaphoreService,
  WhileLeader,
} from 'nestjs-hedge';
import { PATIENT, Pods, until } from './apps.js';

const CALLS = 20;
let hanging = 0;

@Injectable()
class Handlers {
  @OnLeaderMessage('hangs')
  hang() {
    hanging += 1;
    return new Promise(() => undefined);
  }

  @OnLeaderStream('hangs')
  @OnBroadcastStream('hangs')
  async *stream(@Payload() items: AsyncIterable<unknown>) {
    hanging += 1;
    for await (const item of items) yield item;
  }
}

/** Stands for twelve methods with `@WhileLeader` of an app. */
const tasks = Array.from({ length: 12 }, () => {
  @Injectable()
  class Task {
    leads = false;

    @WhileLeader()
    async work({ signal }: Leadership) {
      this.leads = true;
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      this.leads = false;
    }
  }
  return Task;
});

async function* never(): AsyncGenerator<string> {
  await new Promise(() => undefined);
  yield '';
}

async function read(items: AsyncIterable<unknown>): Promise<void> {
  for await (const item of items) expect(item).toBeDefined();
}

describe('one AbortSignal for many calls', () => {
  const pods = new Pods({ providers: [Handlers, ...tasks] }, { timing: PATIENT });
  const warnings: Error[] = [];
  const warned = (warning: Error): void => void warnings.push(warning);
  beforeAll(async () => {
    process.on('warning', warned);
    await pods.startThree();
  });
  afterAll(async () => {
    await pods.close();
    process.off('warning', warned);
  });

  it('has one listener while they run and none after they have ended, on the leader and elsewhere', async () => {
    for (const app of [pods.leader, pods.followers[0]!] satisfies INestApplicationContext[]) {
      const stop = new AbortController();
      const { signal } = stop;
      const semaphore = app.get(SemaphoreService).get('held', { limit: 1 });
      const [lock, permit] = [await app.get(LockService).acquire('held'), await semaphore.acquire()];
      hanging = 0;
      const calls = Array.from({ length: CALLS }, () => [
        app.get(LeaderService).send('hangs', undefined, { signal, timeoutMs: 60_000 }),
        app.get(ClusterService).broadcast('nobody', undefined, { signal }),
        app.get(KvStore).put('key', 'value', { signal }),
        app.get(LockService).acquire('held', { signal, timeoutMs: 60_000 }),
        semaphore.acquire({ signal, timeoutMs: 60_000 }),
        read(app.get(LeaderService).sendStream('hangs', never(), { signal })),
        read(app.get(ClusterService).broadcastStream('hangs', never(), { signal, skipSelf: true })),
      ]).flat();
      const ended = Promise.allSettled(calls);
      await until(() => hanging === CALLS * 4, 'all handlers that hang');
      expect(getEventListeners(signal, 'abort')).toHaveLength(1);
      stop.abort(new Error('enough'));
      const outcomes = await ended;
      expect(outcomes.filter(({ status }) => status === 'rejected').length).toBeGreaterThanOrEqual(CALLS * 5);
      expect(getEventListeners(signal, 'abort')).toHaveLength(0);
      await Promise.all([lock.release(), permit.release()]);
    }
    expect(warnings).toEqual([]);
  });

  it('ends twelve leader tasks of a term without a warning', async () => {
    const { leader } = pods;
    const all = tasks.map((task) => leader.get(task));
    await until(() => all.every(({ leads }) => leads), 'twelve tasks');
    await leader.get(LeaderService).resign();
    await until(() => all.every(({ leads }) => !leads), 'the ends of twelve tasks');
    expect(warnings).toEqual([]);
  });
});
