import { ConflictException, Controller, HttpException, Logger } from '@nestjs/common';
import { Payload } from '@nestjs/microservices';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  ClusterService,
  LeaderOnly,
  LeaderService,
  OnBroadcast,
  OnBroadcastStream,
  OnLeaderMessage,
  OnLeaderStream,
} from 'nestjs-hedge';
import { Pods, until } from './apps.js';

Logger.overrideLogger(false);

const LARGE = 'x'.repeat(6 * 1024 * 1024);
const seen = { inputErrors: [] as unknown[] };

@Controller()
class Handlers {
  @OnLeaderMessage('fails')
  @OnBroadcast('fails')
  fails() {
    throw new Error(`out of order: ${LARGE}`);
  }

  @OnLeaderStream('fails')
  @OnBroadcastStream('fails')
  async *failsLate() {
    yield 1;
    throw new Error(`out of order: ${LARGE}`);
  }

  @OnLeaderStream('take')
  async take(@Payload() input: AsyncIterable<unknown>) {
    try {
      for await (const _ of input);
    } catch (error) {
      seen.inputErrors.push(error);
      throw error;
    }
  }

  @LeaderOnly({ forward: true })
  async forwarded() {
    throw new ConflictException({ reason: 'twice', at: LARGE });
  }
}

const pods = new Pods({ controllers: [Handlers] });

beforeAll(async () => {
  await pods.start();
  await pods.start();
  await until(() => pods.apps.every((app) => app.get(ClusterService).members().length === 2), 'two pods');
});
afterAll(() => pods.close());

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

describe.each(['a follower', 'the leader itself'])('an error of 6 MiB reaches %s', (caller) => {
  const app = () => (caller === 'a follower' ? pods.followers[0]! : pods.leader);
  const failed = { code: 'HANDLER_FAILED', message: expect.stringMatching(/out of order: x+… \(\d+ bytes\)/) };

  it('as HANDLER_FAILED, when a message handler throws it', async () => {
    await expect(app().get(LeaderService).send('fails')).rejects.toMatchObject(failed);
    const replies = await app().get(ClusterService).broadcast('fails');
    expect(replies.map(({ error }) => error)).toEqual(Array(2).fill(expect.objectContaining(failed)));
  });

  it('as HANDLER_FAILED, when a stream handler throws it', async () => {
    const replies = app().get(LeaderService).sendStream('fails', []);
    expect(await replies.next()).toEqual({ done: false, value: 1 });
    await expect(replies.next()).rejects.toMatchObject(failed);
    const events = await all(app().get(ClusterService).broadcastStream('fails', []));
    const errors = events.flatMap((event) => (event.type === 'end' ? [event.error] : []));
    expect(errors).toEqual(Array(2).fill(expect.objectContaining(failed)));
  });

  it('with its status, when a forwarded method throws it', async () => {
    const error: unknown = await app()
      .get(Handlers)
      .forwarded()
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(HttpException);
    expect((error as HttpException).getStatus()).toBe(409);
    expect((error as HttpException).getResponse()).toMatchObject({ reason: 'twice' });
  });

  it('as CANCELLED, when a source fails with it and the handler reads that source', async () => {
    seen.inputErrors.length = 0;
    const error = new Error(LARGE);
    async function* broken() {
      yield 1;
      throw error;
    }
    await expect(all(app().get(LeaderService).sendStream('take', broken()))).rejects.toBe(error);
    await until(() => seen.inputErrors.length === 1, 'the handler has read it');
    expect(seen.inputErrors).toMatchObject([{ code: 'CANCELLED' }]);
  });
});
