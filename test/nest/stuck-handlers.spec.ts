import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Injectable } from '@nestjs/common';
import {
  ClusterService,
  KvStore,
  LeaderService,
  OnBroadcast,
  OnLeaderMessage,
  type Permit,
  SemaphoreService,
} from 'nestjs-hedge';
import { Pods, until } from './apps.js';

const MAX_RUNNING = 20;
let stuck = 0;

@Injectable()
class Handlers {
  @OnLeaderMessage('stuck')
  hang() {
    stuck += 1;
    return new Promise(() => undefined);
  }

  @OnBroadcast('stuck')
  hangEverywhere() {
    stuck += 1;
    return new Promise(() => undefined);
  }

  @OnLeaderMessage('fine')
  answer() {
    return 'answered';
  }

  @OnBroadcast('fine')
  answerEverywhere() {
    return 'answered';
  }
}

describe('a leader with handlers that never return', () => {
  const pods = new Pods({ providers: [Handlers] }, { limits: { maxRunning: MAX_RUNNING } });
  const stop = new AbortController();
  const asked: Promise<unknown>[] = [];
  let held: Permit;

  beforeAll(async () => {
    await pods.startThree();
    held = await pods.followers[1]!.get(SemaphoreService).get('held', { limit: 1 }).acquire();
    const options = { timeoutMs: 120_000, signal: stop.signal };
    const follower = pods.followers[0]!;
    const leader = pods.leader.get(ClusterService).self;
    for (let i = 0; i < 2 * MAX_RUNNING; i += 1) {
      asked.push(
        follower
          .get(LeaderService)
          .send('stuck', Buffer.alloc(1_000), options)
          .catch((error: unknown) => error),
      );
      asked.push(
        follower
          .get(ClusterService)
          .broadcast('stuck', undefined, { ...options, only: [leader] })
          .then(
            ([result]) => result?.error,
            (error: unknown) => error,
          ),
      );
    }
    await until(() => stuck >= MAX_RUNNING / 2, 'handlers that hang');
    // Calls beyond the limit have been refused, and the others hang.
    await Promise.race(asked);
  });

  afterAll(async () => {
    stop.abort(new Error('the test is over'));
    await Promise.all(asked);
    await pods.close();
  });

  it('answers messages and broadcasts of other topics', async () => {
    for (const app of pods.apps) {
      expect(await app.get(LeaderService).send('fine')).toBe('answered');
      const replies = await app.get(ClusterService).broadcast('fine');
      expect(replies.map(({ value }) => value)).toEqual(['answered', 'answered', 'answered']);
    }
  });

  it('refuses calls beyond the limit of a topic, and names topic, limit and option', async () => {
    const refused = pods.followers[0]!.get(LeaderService).send('stuck');
    await expect(refused).rejects.toMatchObject({ code: 'OVERLOADED', retryable: true });
    await expect(refused).rejects.toThrow(/'stuck'.*limits\.maxRunningPerTopic/);
  });

  it('writes puts of all pods', async () => {
    for (const app of pods.apps) {
      await app.get(KvStore).put('key', 'value');
      await app.get(KvStore).put('one', 'row', { append: false });
    }
  });

  it('grants, renews and revokes permits of all pods', async () => {
    for (const app of pods.apps) {
      expect(await app.get(SemaphoreService).use('other', { limit: 1 }, () => 'ran')).toBe('ran');
    }
    // A permit lasts at most two leases without a renewal.
    const later = performance.now() + 6_500;
    await until(() => performance.now() > later || held.signal.aborted, 'the time of a permit');
    expect(held.isValid()).toBe(true);
    await held.release();
  }, 30_000);
});
