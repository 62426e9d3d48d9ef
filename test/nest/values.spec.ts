import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { ConflictException, Injectable, Logger } from '@nestjs/common';
import type { INestApplicationContext } from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import {
  ClusterService,
  HedgeContext,
  type HedgeError,
  KvStore,
  LeaderOnly,
  LeaderService,
  LockService,
  OnBroadcast,
  OnLeaderMessage,
  OnLeaderStream,
  SemaphoreService,
} from 'nestjs-hedge';
import { Pods } from './apps.js';

let source: Readable;
let left = 0;

@Injectable()
class Handlers {
  @LeaderOnly({ forward: true })
  async defaults(a: number, b = 'b', c: unknown = 'c', ...rest: unknown[]) {
    return [a, b, c, rest.length, rest[0] === undefined, rest[1] ?? 'none'];
  }

  @LeaderOnly({ forward: true })
  async conflict(): Promise<void> {
    throw new ConflictException({ message: 'taken', version: 2n ** 60n });
  }

  @LeaderOnly({ forward: true })
  async generatorHere(): Promise<unknown> {
    return this.generator();
  }

  @OnLeaderMessage('echo')
  echo(@Payload() value: unknown) {
    return value;
  }

  @OnLeaderMessage('map')
  map() {
    return { counts: new Map([['a', 1]]) };
  }

  @OnLeaderMessage('generator')
  async *generator() {
    try {
      yield await Promise.resolve(1);
    } finally {
      left += 1;
    }
  }

  @OnBroadcast('readable')
  readable() {
    return (source = new Readable({ read: () => undefined }));
  }

  @OnLeaderMessage('fails')
  fails() {
    throw new TypeError('no such price');
  }

  @OnBroadcast('fails')
  failsEverywhere() {
    throw new TypeError('no such price');
  }

  @OnLeaderStream('fails')
  async *failsInStream() {
    yield await Promise.resolve(1);
    throw new TypeError('no such price');
  }

  @OnLeaderMessage('context')
  context(@Ctx() context: HedgeContext) {
    return JSON.parse(JSON.stringify(context)) as unknown;
  }

  @OnLeaderMessage('inspected')
  inspected(@Ctx() context: HedgeContext) {
    return inspect(context, { depth: Infinity });
  }

  @LeaderOnly({ forward: true, timeoutMs: 1 })
  async late() {
    await sleep(50);
  }
}

const pods = new Pods({ providers: [Handlers] });
let callers: [name: string, app: INestApplicationContext][];

beforeAll(async () => {
  await pods.startThree();
  callers = [
    ['the leader', pods.leader],
    ['a follower', pods.followers[0]!],
  ];
});
afterAll(() => pods.close());

async function errorOf(call: Promise<unknown>): Promise<HedgeError> {
  return call.then(
    (value) => Promise.reject(new Error(`no error, but ${JSON.stringify(value)}`)),
    (error: unknown) => error as HedgeError,
  );
}

describe('values', () => {
  it('undefined arguments of forwarded calls arrive as undefined, so that defaults apply', async () => {
    for (const [, app] of callers) {
      const handlers = app.get(Handlers);
      expect(await handlers.defaults(1)).toEqual([1, 'b', 'c', 0, true, 'none']);
      expect(await handlers.defaults(1, undefined, null)).toEqual([1, 'b', null, 0, true, 'none']);
      expect(await handlers.defaults(1, undefined, 3, undefined, 5)).toEqual([1, 'b', 3, 2, true, 5]);
    }
  });

  it.each([
    ['a BigInt', { id: 7n }, 'value.id is the BigInt 7n'],
    ['NaN', [NaN], 'value[0] is NaN'],
    ['a Map', { map: new Map() }, 'value.map is a Map'],
  ])('%s is refused at the caller of every kind of call', async (_, value, problem) => {
    for (const [, app] of callers) {
      const refused = { code: 'INVALID_ARGUMENT', message: expect.stringContaining(problem) };
      expect(await errorOf(app.get(LeaderService).send('echo', value))).toMatchObject(refused);
      expect(await errorOf(app.get(ClusterService).broadcast('readable', value))).toMatchObject(refused);
      const stream = app.get(LeaderService).sendStream('fails', [value]);
      const read = async (): Promise<void> => {
        for await (const reply of stream) expect(reply).toBe(1);
      };
      expect(await errorOf(read())).toMatchObject(refused);
      const forwarded = errorOf(app.get(Handlers).defaults(1, value as never));
      expect(await forwarded).toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(/value\[1\]/) });
    }
  });

  it('a reply that cannot be sent is an error of the handler, which names the type of the reply', async () => {
    for (const [, app] of callers) {
      const error = await errorOf(app.get(LeaderService).send('map'));
      expect(error).toMatchObject({
        code: 'HANDLER_FAILED',
        message: expect.stringContaining('value.counts is a Map'),
      });
    }
  });

  it('an HttpException of a forwarded call keeps its status, whatever its body holds', async () => {
    for (const [, app] of callers) {
      const thrown = await app
        .get(Handlers)
        .conflict()
        .catch((error: unknown) => error);
      expect(thrown).toMatchObject({ status: 409, response: { message: 'taken', version: String(2n ** 60n) } });
    }
  });

  it.each([
    [
      'message',
      (app: INestApplicationContext) => app.get(LeaderService).send('generator'),
      "@OnLeaderStream('generator')",
    ],
    ['forwarded call', (app: INestApplicationContext) => app.get(Handlers).generatorHere(), '@OnLeaderStream(topic)'],
  ])(
    'the reply to a %s that is a generator is refused with the decorator to use, and closed',
    async (_, call, advice) => {
      for (const [, app] of callers) {
        const before = left;
        const error = await errorOf(call(app));
        expect(error).toMatchObject({ code: 'HANDLER_FAILED', message: expect.stringContaining(advice) });
        // A generator that never began has nothing to close.
        expect(left).toBe(before);
      }
    },
  );

  it('the reply to a broadcast that is a Readable is refused with the decorator to use, and destroyed', async () => {
    const only = [pods.leader.get(ClusterService).self];
    const [result] = await pods.followers[0]!.get(ClusterService).broadcast('readable', undefined, { only });
    expect(result?.error?.message).toContain("@OnBroadcastStream('readable')");
    expect(source.destroyed).toBe(true);
  });

  it('the arguments of handlers can be printed as JSON', async () => {
    const app = pods.leader;
    const token = String(app.get(LeaderService).fencingToken);
    const context = await app.get(LeaderService).send('context');
    expect(context).toMatchObject({ topic: 'context', attempt: 1, fencingToken: token });
    const printed = String(await app.get(LeaderService).send('inspected'));
    expect(printed).toMatch(/^HedgeContext \{[^]*topic: 'inspected'/);
    expect(printed).not.toMatch(/args|payload|origin/);
    const lock = await app.get(LockService).acquire('shown');
    expect(JSON.parse(JSON.stringify(lock))).toEqual({
      name: 'shown',
      fencingToken: `${lock.fencingToken}`,
      valid: true,
    });
    await lock.release();
    const permit = await app.get(SemaphoreService).get('shown', { limit: 1 }).acquire();
    expect(JSON.parse(JSON.stringify({ permit }))).toMatchObject({ permit: { name: 'shown', valid: true } });
    await permit.release();
    let shown = '';
    const stop = app.get(LeaderService).runWhileLeader((leadership) => (shown = JSON.stringify(leadership)));
    await stop();
    expect(JSON.parse(shown)).toEqual({ fencingToken: token });
  });
});

describe('an error of a handler', () => {
  const logged = jest.spyOn(Logger.prototype, 'error');
  beforeEach(() => void logged.mockClear());

  it('names the failed request, its caller and its pod', async () => {
    const pod = pods.leader.get(ClusterService).self.address;
    for (const [, app] of callers) {
      const error = await errorOf(app.get(LeaderService).send('fails'));
      expect(error).toMatchObject({ code: 'HANDLER_FAILED', details: { topic: 'fails', pod } });
      const { requestId } = error.details;
      const from = app.get(ClusterService).self.address;
      expect(logged.mock.calls.map(([line]) => String(line))).toContainEqual(
        expect.stringMatching(new RegExp(`no such price .*request ${String(requestId)} of ${from}`)),
      );
    }
    const results = await pods.followers[0]!.get(ClusterService).broadcast('fails');
    expect(results.map(({ error }) => error?.details['pod'])).toEqual(results.map(({ member }) => member.address));
    const read = async (): Promise<void> => {
      for await (const reply of pods.followers[0]!.get(LeaderService).sendStream('fails', [])) expect(reply).toBe(1);
    };
    expect(await errorOf(read())).toMatchObject({ code: 'HANDLER_FAILED', details: { topic: 'fails', pod } });
  });

  it('has the line of its caller in its stack, for every call that the leader answers', async () => {
    for (const [, app] of callers) {
      async function sends(): Promise<void> {
        await app.get(LeaderService).send('fails');
      }
      async function forwards(): Promise<void> {
        await app.get(Handlers).conflict();
      }
      async function puts(): Promise<void> {
        await app.get(KvStore).put('key', 'value', { fenced: 1n });
      }
      async function streams(): Promise<void> {
        for await (const reply of app.get(LeaderService).sendStream('fails', [])) expect(reply).toBe(1);
      }
      async function broadcasts(): Promise<void> {
        const [result] = await app.get(ClusterService).broadcast('fails');
        throw result?.error ?? new Error('no error');
      }
      async function acquires(): Promise<void> {
        const semaphores = app.get(SemaphoreService);
        await semaphores.use('held', { limit: 1 }, () => semaphores.get('held', { limit: 2 }).acquire());
      }
      async function acquiresLock(): Promise<void> {
        const locks = app.get(LockService);
        await locks.use('held', () => locks.acquire('held', { timeoutMs: 1 }));
      }
      const calls = [sends, forwards, puts, streams, broadcasts, acquires, acquiresLock];
      for (const call of calls) {
        const frames = (await errorOf(call())).stack?.match(/values\.spec\.ts/g) ?? [];
        // The line of the service, and the line of this test, which calls it.
        expect([call.name, frames.length >= 2]).toEqual([call.name, true]);
      }
    }
  });

  it('of a forwarded call names the method, and not the topic of the library', async () => {
    for (const [, app] of callers) {
      const unsent = await errorOf(app.get(Handlers).defaults(1, 7n as never));
      expect(unsent.message).toMatch(/^A value for @LeaderOnly of 'Handlers\.defaults' cannot be serialized/);
      const late = await errorOf(app.get(Handlers).late());
      expect(late).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
      expect(late.message).toContain("@LeaderOnly of 'Handlers.late'");
      expect(late.message).not.toContain('__hedge');
    }
  });

  it('of a topic without a handler names only topics of users', async () => {
    const error = await errorOf(pods.followers[0]!.get(LeaderService).send('nobody'));
    expect(error.message).toContain("'echo'");
    expect(error.message).not.toContain('__hedge');
  });
});
