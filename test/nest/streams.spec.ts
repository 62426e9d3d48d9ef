import { createHash } from 'node:crypto';
import {
  Catch,
  Controller,
  Injectable,
  Logger,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  ValidationPipe,
} from '@nestjs/common';
import type { CallHandler, CanActivate, ExceptionFilter, ExecutionContext, NestInterceptor } from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import {
  ClusterService,
  HedgeContext,
  HedgeError,
  LeaderService,
  OnBroadcastStream,
  OnLeaderStream,
} from 'nestjs-hedge';
import { from, interval, map, type Observable, Subject, throwError } from 'rxjs';
import { Pods, until } from './apps.js';

Logger.overrideLogger(false);

class OutOfStock extends Error {}

@Catch(OutOfStock)
class StockFilter implements ExceptionFilter {
  catch(error: OutOfStock) {
    return throwError(() => ({ message: `filtered: ${error.message}` }));
  }
}

@Injectable()
class Wrap implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((item) => ({ item })));
  }
}

@Injectable()
class NotForStrangers implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    return context.switchToRpc().getContext<HedgeContext>().from.address !== 'stranger:1';
  }
}

/** Effects of the handlers of all pods, for assertions. */
const seen = {
  signals: [] as AbortSignal[],
  returned: 0,
  inputErrors: [] as unknown[],
  read: 0,
  tokens: [] as unknown[],
};

@UseGuards(NotForStrangers)
@Controller()
class Handlers {
  @OnLeaderStream('copy')
  async *copy(@Payload() input: AsyncIterable<unknown>, @Ctx() context: HedgeContext) {
    seen.signals.push(context.signal);
    seen.tokens.push(context.fencingToken);
    try {
      for await (const item of input) {
        seen.read += 1;
        yield item;
      }
    } finally {
      seen.returned += 1;
    }
  }

  @OnLeaderStream('take')
  async take(@Payload() input: AsyncIterable<unknown>) {
    try {
      for await (const _ of input) seen.read += 1;
    } catch (error) {
      seen.inputErrors.push(error);
      throw error;
    } finally {
      seen.returned += 1;
    }
  }

  @UseInterceptors(Wrap)
  @UseFilters(StockFilter)
  @OnLeaderStream('piped')
  async *piped(@Payload() input: AsyncIterable<number>) {
    for await (const item of input) {
      if (item === 3) throw new OutOfStock('no 3');
      yield item;
    }
  }

  @OnLeaderStream('undecorated')
  async *undecorated(input: AsyncIterable<number>) {
    for await (const item of input) yield item;
  }

  @OnLeaderStream('observable')
  observable() {
    return from([1, 2, 3]);
  }

  @OnLeaderStream('later')
  async later() {
    return (function* () {
      yield 1;
      yield 2;
    })();
  }

  @OnLeaderStream('compiled')
  compiled() {
    // A compiler for an older JavaScript makes such an object of a generator.
    const items = [1, 2].values();
    const next = () => items.next();
    return { next, return: next, throw: next, [Symbol.iterator]: () => items };
  }

  @OnLeaderStream('sum')
  async sum(@Payload() input: AsyncIterable<number>) {
    let total = 0;
    for await (const item of input) total += item;
    return { total };
  }

  @OnLeaderStream('endless')
  async *endless(@Ctx() context: HedgeContext) {
    seen.signals.push(context.signal);
    try {
      for (let i = 0; ; i++) yield i;
    } finally {
      seen.returned += 1;
    }
  }

  @OnLeaderStream('flood')
  flood() {
    return new Subject().pipe(() =>
      from(
        (function* () {
          for (let i = 0; i < 1_000; i++) yield Buffer.alloc(100_000);
        })(),
      ),
    );
  }

  @OnLeaderStream('silent')
  async *silent(@Ctx() context: HedgeContext): AsyncGenerator<string> {
    seen.signals.push(context.signal);
    await new Promise((resolve) => context.signal.addEventListener('abort', resolve, { once: true }));
    yield 'too late';
  }

  @UsePipes(new ValidationPipe({ transform: true, whitelist: true }))
  @OnBroadcastStream('copy')
  @OnLeaderStream('both')
  async *both(@Payload() input: AsyncIterable<unknown>) {
    for await (const item of input) yield item;
  }

  @OnBroadcastStream('stuck')
  async stuck(@Payload() input: AsyncIterable<Uint8Array>, @Ctx() context: HedgeContext) {
    if (leads()) await new Promise((resolve) => context.signal.addEventListener('abort', resolve, { once: true }));
    let bytes = 0;
    for await (const chunk of input) bytes += chunk.byteLength;
    return bytes;
  }

  @OnBroadcastStream('picky')
  async *picky(@Payload() input: AsyncIterable<string>, @Ctx() context: HedgeContext) {
    for await (const item of input) {
      if (item === 'leader only' && context.fencingToken === undefined && !leads()) throw new Error('not me');
      yield item;
    }
  }
}

let leads: () => boolean;
const pods = new Pods({ controllers: [Handlers] });

beforeAll(() => pods.startThree());
afterAll(() => pods.close());
beforeEach(() => {
  leads = () => false;
  Object.assign(seen, { signals: [], returned: 0, inputErrors: [], read: 0, tokens: [] });
});

const hash = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex');

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

async function* numbers(count: number): AsyncGenerator<number> {
  for (let i = 0; i < count; i++) yield i;
}

/** Never ends, and records when the reader leaves it. */
function endlessSource() {
  const source = { left: false, read: 0 };
  async function* items() {
    try {
      for (;;) {
        source.read += 1;
        yield Buffer.alloc(1_000);
        await new Promise((resolve) => setImmediate(resolve));
      }
    } finally {
      source.left = true;
    }
  }
  return Object.assign(source, { items: items() });
}

describe.each(['a follower', 'the leader itself'])('sendStream from %s', (origin) => {
  const leader = (): LeaderService => (origin === 'a follower' ? pods.followers[0]! : pods.leader).get(LeaderService);

  it('delivers messages in order, whatever their kind', async () => {
    const values = [1, 'two', { three: 3 }, null, undefined, Buffer.from('bytes'), [4], Buffer.alloc(200_000, 7)];
    const replies = await all(leader().sendStream('copy', values));
    expect(replies.map((reply) => (reply instanceof Uint8Array ? hash(reply) : reply))).toEqual(
      values.map((value) => (value instanceof Uint8Array ? hash(value) : value)),
    );
    expect(seen.tokens).toEqual([pods.leader.get(LeaderService).fencingToken]);
  });

  it('accepts async iterables and Observables', async () => {
    expect(await all(leader().sendStream('copy', numbers(1_000)))).toEqual(Array.from({ length: 1_000 }, (_, i) => i));
    expect(await all(leader().sendStream('copy', from([1, 2])))).toEqual([1, 2]);
    expect(await all(leader().sendStream('copy', []))).toEqual([]);
  });

  it('replies begin before the input ends, and each caller has its own stream', async () => {
    const [first, second] = [endlessSource(), endlessSource()].map((source) =>
      leader().sendStream('copy', source.items),
    );
    expect((await first!.next()).done).toBe(false);
    expect((await second!.next()).done).toBe(false);
    await first!.return!();
    expect((await second!.next()).done).toBe(false);
    await second!.return!();
    await until(() => seen.returned === 2, 'both handlers have ended');
  });

  it('interceptors see each reply, and filters see late errors', async () => {
    const replies: unknown[] = [];
    const reading = async () => {
      for await (const reply of leader().sendStream('piped', [1, 2, 3])) replies.push(reply);
    };
    await expect(reading()).rejects.toMatchObject({
      code: 'HANDLER_FAILED',
      message: expect.stringContaining('filtered: no 3'),
    });
    expect(replies).toEqual([{ item: 1 }, { item: 2 }]);
  });

  it.each([
    ['undecorated', [7]],
    ['observable', [1, 2, 3]],
    ['later', [1, 2]],
    ['compiled', [1, 2]],
    ['sum', [{ total: 7 }]],
    ['both', [7]],
  ])('handlers may reply in any form: %s', async (topic, expected) => {
    expect(await all(leader().sendStream(topic, [7]))).toEqual(expected);
  });

  it('leaving the loop cancels the handler and closes the source', async () => {
    const source = endlessSource();
    for await (const reply of leader().sendStream('copy', source.items)) {
      expect(reply).toBeInstanceOf(Uint8Array);
      break;
    }
    await until(() => seen.returned === 1 && source.left, 'handler and source have ended');
    expect(seen.signals[0]!.reason).toMatchObject({ code: 'CANCELLED' });
  });

  it('a handler that ends its replies ends the stream', async () => {
    const source = endlessSource();
    expect(await all(leader().sendStream('observable', source.items))).toEqual([1, 2, 3]);
    await until(() => source.left, 'the source is closed');
  });

  it('a source that throws fails the input, and the caller receives the error of its source', async () => {
    const error = new Error('the file is broken');
    async function* broken() {
      yield 1;
      throw error;
    }
    await expect(all(leader().sendStream('take', broken()))).rejects.toBe(error);
    await until(() => seen.returned === 1, 'the handler has ended');
    expect(seen.inputErrors).toMatchObject([
      { code: 'CANCELLED', message: expect.stringContaining('the file is broken') },
    ]);
    expect(seen.read).toBe(1);
  });

  it('a slow reader pauses the source, which is read no further than the buffers of the route', async () => {
    const source = { read: 0 };
    function* chunks() {
      for (; source.read < 400; source.read++) yield Buffer.alloc(100_000);
    }
    const replies = leader().sendStream('copy', chunks());
    await replies.next();
    await settled(() => source.read);
    // The source has 40 MB to read.
    expect(source.read).toBeLessThan(100);
    expect(await all(replies)).toHaveLength(399);
  });

  it('leaving an endless stream aborts the signal of the handler', async () => {
    const replies = leader().sendStream<number>('endless', []);
    await replies.next();
    const signal = seen.signals[0]!;
    expect(signal.aborted).toBe(false);
    await replies.return!();
    await until(() => seen.returned === 1 && signal.aborted, 'the handler has ended');
  });

  it('an Observable without back-pressure fails its stream, and does not exhaust the memory', async () => {
    const replies = leader().sendStream('flood', []);
    await replies.next();
    await expect(all(replies)).rejects.toMatchObject({ code: 'OVERLOADED', retryable: false });
    const source = new Subject<Uint8Array>();
    const sent = leader().sendStream('silent', source);
    const failed = expect(sent.next()).rejects.toMatchObject({ code: 'OVERLOADED' });
    const emitting = setInterval(() => source.next(Buffer.alloc(1_000_000)), 1);
    await failed;
    clearInterval(emitting);
    expect(source.observed).toBe(false);
  });

  it('ends by its signal, its deadline, or its idle timeout', async () => {
    const reason = new Error('not wanted any more');
    const abort = new AbortController();
    const given = leader().sendStream('silent', [], { signal: abort.signal });
    const rejected = expect(given.next()).rejects.toBe(reason);
    setTimeout(() => abort.abort(reason), 20);
    await rejected;
    await expect(
      leader()
        .sendStream('silent', [], { signal: AbortSignal.abort(reason) })
        .next(),
    ).rejects.toBe(reason);
    await expect(leader().sendStream('silent', [], { timeoutMs: 50 }).next()).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
    });
    await expect(leader().sendStream('silent', [], { idleTimeoutMs: 50 }).next()).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
      details: { sent: 0, received: 0, requestId: expect.any(String) },
    });
  });

  it('refuses an input that cannot be streamed, and begins nothing', async () => {
    expect(() => leader().sendStream('copy', 'text')).toThrow(HedgeError);
    expect(() => leader().sendStream('copy', Buffer.from('bytes'))).toThrow('bytes');
    expect(() => leader().sendStream('copy', 7 as never)).toThrow('number');
    expect(() => leader().sendStream('x'.repeat(300), [])).toThrow('256');
    expect(() => leader().sendStream('copy', [], { idleTimeoutMs: 0 })).toThrow('idleTimeoutMs');
    expect(() => leader().sendStream('copy', [], { timeoutMs: NaN })).toThrow('timeoutMs');
    const source = endlessSource();
    await expect(leader().sendStream('nobody', source.items).next()).rejects.toMatchObject({
      code: 'NO_HANDLER',
      message: expect.stringMatching(/@OnLeaderStream\('nobody'\) on pod \S+:\d+ \(the leader\), which has /),
    });
    expect(source.read).toBe(0);
    await expect(all(leader().sendStream('copy', [1n]))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(all(leader().sendStream('copy', [Buffer.alloc(5_000_000)]))).rejects.toMatchObject({
      code: 'PAYLOAD_TOO_LARGE',
    });
    const untouched = endlessSource();
    void leader().sendStream('copy', untouched.items);
    await leader().sendStream('copy', untouched.items).return!();
    expect(untouched.read).toBe(0);
  });
});

const cluster = (): ClusterService => pods.followers[0]!.get(ClusterService);

describe('broadcastStream', () => {
  it('yields the replies of each member, and the end of each', async () => {
    const events = await all(cluster().broadcastStream<number>('copy', numbers(3)));
    for (const { address } of cluster().members()) {
      const own = events.filter(({ member }) => member.address === address);
      expect(own.map((event) => (event.type === 'reply' ? event.value : event.type))).toEqual([0, 1, 2, 'end']);
      expect(own.at(-1)).not.toHaveProperty('error');
    }
    expect(events).toHaveLength(12);
  });

  it('a failure of one member ends only the stream of that member', async () => {
    let turn = 0;
    leads = () => (turn += 1) === 1;
    const events = await all(cluster().broadcastStream<string>('picky', ['a', 'leader only', 'b']));
    const ends = events.filter((event) => event.type === 'end');
    expect(ends).toHaveLength(3);
    expect(ends.filter(({ error }) => error?.code === 'HANDLER_FAILED')).toHaveLength(2);
    expect(events.filter((event) => event.type === 'reply' && event.value === 'b')).toHaveLength(1);
  });

  it('a member that reads nothing is dropped in time, and the others receive everything', async () => {
    let turn = 0;
    leads = () => (turn += 1) === 1;
    const chunks = Array.from({ length: 200 }, () => Buffer.alloc(50_000));
    const events = await all(cluster().broadcastStream<number>('stuck', chunks, { idleTimeoutMs: 500 }));
    const ends = events.filter((event) => event.type === 'end');
    expect(ends.flatMap(({ error }) => error?.code ?? [])).toEqual(['DEADLINE_EXCEEDED']);
    expect(events.filter((event) => event.type === 'reply').map(({ value }) => value)).toEqual([1e7, 1e7]);
    const behind = ends.find(({ error }) => error !== undefined)!.error!.details;
    expect(behind).toMatchObject({ received: 0, requestId: expect.any(String) });
    expect(behind['sent']).toBeLessThan(200);
  });

  it('reports members that are not reachable, have no handler, or are idle', async () => {
    const nobody = await all(cluster().broadcastStream('nobody', [1]));
    expect(nobody.map((event) => event.type === 'end' && event.error?.code)).toEqual(Array(3).fill('NO_HANDLER'));
    for (const event of nobody) {
      const pod = event.member.address;
      const message = expect.stringContaining(`on pod ${pod}, which has `);
      expect(event).toMatchObject({ error: { message, details: { topic: 'nobody', pod } } });
    }
    const absent = await all(cluster().broadcastStream('copy', [1], { only: ['nowhere:1', cluster().self] }));
    expect(absent).toContainEqual({
      type: 'end',
      member: { address: 'nowhere:1', incarnation: '' },
      error: expect.objectContaining({ code: 'MEMBER_UNREACHABLE' }),
    });
    expect(absent).toContainEqual(expect.objectContaining({ type: 'reply', value: 1 }));
  });

  it('ends when the caller leaves or cancels it, or when its source fails', async () => {
    const source = endlessSource();
    for await (const event of cluster().broadcastStream('copy', source.items)) {
      expect(event.type).toBe('reply');
      break;
    }
    await until(() => source.left, 'the source is closed');
    const reason = new Error('not wanted any more');
    await expect(all(cluster().broadcastStream('copy', [1], { signal: AbortSignal.abort(reason) }))).rejects.toBe(
      reason,
    );
    const error = new Error('the file is broken');
    await expect(
      all(
        cluster().broadcastStream(
          'copy',
          throwError(() => error),
        ),
      ),
    ).rejects.toBe(error);
    const late = await all(cluster().broadcastStream('copy', interval(5), { timeoutMs: 200 }));
    expect(late.filter((event) => event.type === 'end').map(({ error: thrown }) => thrown?.code)).toEqual(
      Array(3).fill('DEADLINE_EXCEEDED'),
    );
  });
});

it('many streams at once all begin', async () => {
  const leader = pods.followers[0]!.get(LeaderService);
  const streams = Array.from({ length: 200 }, (_, i) => all(leader.sendStream('copy', [i])));
  expect(await Promise.all(streams)).toEqual(streams.map((_, i) => [i]));
});

it('a client can stream too, although no pod dials it', async () => {
  const client = await pods.start({ mode: 'client' });
  expect(await all(client.get(LeaderService).sendStream('both', [1]))).toEqual([1]);
  await until(() => client.get(ClusterService).members().length === 3, 'the client knows the members');
  const events = await all(client.get(ClusterService).broadcastStream('copy', [1]));
  expect(events.filter(({ type }) => type === 'reply')).toHaveLength(3);
});

it('an endless source stops when all members have ended and the caller does not read', async () => {
  let read = 0;
  function* endless() {
    for (; read < 1_000_000; read++) yield read;
  }
  const events = cluster().broadcastStream('nobody', endless());
  await events.next();
  const before = read;
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(read - before).toBeLessThan(1_000);
  expect(await all(events)).toHaveLength(2);
});

describe('when the leader changes', () => {
  let group: Pods;
  const leaving = (): Promise<void> => group.leader.get(LeaderService).resign();
  const caller = (): LeaderService => group.followers[0]!.get(LeaderService);

  beforeEach(async () => {
    group = new Pods({ controllers: [Handlers] }, { shutdown: { drainMs: 400 } });
    await group.start();
    await group.start();
    await until(
      () => group.apps.every((app) => app.get(ClusterService).members().length === 2),
      'two pods know each other',
    );
  });
  afterEach(() => group.close());

  it('a stream that ends in time is not interrupted', async () => {
    const source = new Subject<number>();
    const replies = caller().sendStream('copy', source);
    const first = replies.next();
    await until(() => source.observed, 'the stream is accepted');
    source.next(1);
    expect(await first).toEqual({ done: false, value: 1 });
    const left = leaving();
    source.next(2);
    source.complete();
    expect(await all(replies)).toEqual([2]);
    await left;
  });

  it('a stream that does not end in time fails, and reports its progress', async () => {
    const source = new Subject<number>();
    const service = caller();
    const replies = service.sendStream('copy', source);
    const first = replies.next();
    await until(() => source.observed, 'the stream is accepted');
    source.next(1);
    await first;
    const failed = expect(replies.next()).rejects.toMatchObject({
      code: 'LEASE_LOST',
      retryable: false,
      details: { sent: 1, received: 1, requestId: expect.any(String) },
    });
    await leaving();
    await failed;
    expect(source.observed).toBe(false);
    await until(() => seen.returned === 1, 'the handler has ended');
    expect(seen.signals[0]!.reason).toMatchObject({ code: 'LEASE_LOST' });
    // The next leader serves the next stream, also when it is this pod.
    expect(await all(service.sendStream('copy', [2]))).toEqual([2]);
  });

  it('a leader that stops ends its streams', async () => {
    const replies = caller().sendStream('silent', []);
    const failed = expect(replies.next()).rejects.toMatchObject({ code: 'LEASE_LOST' });
    await until(() => seen.signals.length === 1, 'the handler runs');
    await group.leader.close();
    await failed;
  });
});

/** Waits until a number no longer changes. */
async function settled(value: () => number): Promise<void> {
  for (let last = -1; last !== value();) {
    last = value();
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
