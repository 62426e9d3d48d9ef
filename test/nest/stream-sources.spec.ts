import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { createServer, request, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PassThrough, Readable } from 'node:stream';
import { Controller, Injectable, Logger, UseInterceptors } from '@nestjs/common';
import type { CallHandler, ExecutionContext, NestInterceptor } from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { ClusterService, HedgeContext, LeaderService, OnBroadcastStream, OnLeaderStream } from 'nestjs-hedge';
import { from, NEVER, Observable, race, Subject, throwError, timer, map } from 'rxjs';
import { Pods, until } from './apps.js';

Logger.overrideLogger(false);

const MISSING = '/nowhere/at/all';

/** Values that handlers of this process returned or saw. */
const seen = { returned: undefined as Readable | undefined, cancelled: 0, began: 0 };

const aborted = (signal: AbortSignal): Promise<unknown> => once(signal, 'abort');

/** Cancels its handler at once. */
@Injectable()
class Impatient implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return race(next.handle(), timer(1).pipe(map(() => 'gave up')));
  }
}

@Controller()
class Handlers {
  @OnLeaderStream('count')
  @OnBroadcastStream('count')
  async count(@Payload() input: AsyncIterable<unknown>) {
    let count = 0;
    for await (const _ of input) count += 1;
    return count;
  }

  @OnLeaderStream('first')
  @OnBroadcastStream('first')
  async *first(@Ctx() { signal }: HedgeContext) {
    seen.began += 1;
    yield 'first';
    await aborted(signal);
  }

  @OnLeaderStream('silent')
  async silent(@Ctx() { signal }: HedgeContext) {
    seen.began += 1;
    await aborted(signal);
  }

  @OnLeaderStream('short')
  @OnBroadcastStream('short')
  *short() {
    yield 'all';
  }

  @OnLeaderStream('failing')
  failing() {
    throw new Error('out of order');
  }

  @OnLeaderStream('returns a stream')
  returnsStream() {
    return (seen.returned = fed());
  }

  @OnLeaderStream('returns a stream late')
  @UseInterceptors(Impatient)
  async returnsStreamLate() {
    await new Promise((resolve) => setTimeout(resolve, 50));
    return (seen.returned = fed());
  }

  @OnLeaderStream('returns a web stream')
  returnsWebStream() {
    return webStream();
  }

  @OnLeaderStream('returns a missing file')
  returnsMissing() {
    return createReadStream(MISSING);
  }
}

/** Yields one item, and never the next. */
function fed(): PassThrough {
  const stream = new PassThrough({ objectMode: true });
  stream.write('first');
  return stream;
}

function webStream(): ReadableStream<string> {
  return new ReadableStream({
    start: (controller) => controller.enqueue('first'),
    cancel: () => void (seen.cancelled += 1),
  });
}

const pods = new Pods({ controllers: [Handlers], providers: [Impatient] });

beforeAll(async () => {
  await pods.start();
  await pods.start();
  await until(() => pods.apps.every((app) => app.get(ClusterService).members().length === 2), 'two pods');
});
afterAll(() => pods.close());
beforeEach(() => void Object.assign(seen, { returned: undefined, cancelled: 0, began: 0 }));

const cluster = (): ClusterService => pods.followers[0]!.get(ClusterService);

async function* broken() {
  yield* [];
  throw new Error('broken');
}

function* endless() {
  for (;;) yield Buffer.alloc(1_000_000);
}

const closed = (stream: Readable): Promise<void> => new Promise((resolve) => stream.once('close', resolve));

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

/** Each way in which a stream ends while its source waits for its next item. */
const endings: [string, (open: Open) => Promise<void>][] = [
  ['the loop is left', async (open) => void (await all(take(1, open('first'))))],
  ['its deadline passes', async (open) => expect(all(open('silent', { timeoutMs: 300 }))).rejects.toThrow('300 ms')],
  [
    'its idle timeout passes',
    async (open) => expect(all(open('silent', { idleTimeoutMs: 300 }))).rejects.toThrow('300 ms'),
  ],
  [
    'its signal aborts while the caller waits',
    async (open) => {
      const abort = new AbortController();
      const ended = expect(all(open('silent', { signal: abort.signal }))).rejects.toThrow('enough');
      await until(() => seen.began === 1, 'the handler runs');
      abort.abort(new Error('enough'));
      await ended;
    },
  ],
  [
    'its signal aborts while the caller is busy with a reply',
    async (open) => {
      const abort = new AbortController();
      const replies = open('first', { signal: abort.signal });
      await replies.next();
      abort.abort(new Error('enough'));
    },
  ],
  [
    'its signal has aborted',
    async (open) => void (await all(open('count', { signal: AbortSignal.abort() })).catch(() => 0)),
  ],
  ['the handler has ended', async (open) => expect(await all(open('short'))).toEqual(['all'])],
  ['the handler fails', async (open) => expect(all(open('failing'))).rejects.toThrow('out of order')],
  ['there is no handler', async (open) => expect(all(open('nobody'))).rejects.toThrow('nobody')],
  ['the caller returns before its loop', async (open) => void (await open('count').return!())],
  ['the call is refused', async (open) => expect(() => open('x'.repeat(300))).toThrow('256')],
];

type Open = (topic: string, options?: object) => AsyncIterableIterator<unknown, void>;

async function* take(count: number, items: AsyncIterable<unknown>) {
  for await (const item of items) {
    yield item;
    if (--count === 0) return;
  }
}

describe.each(['a follower', 'the leader itself'])('a stream from %s', (caller) => {
  const leader = (): LeaderService => (caller === 'a follower' ? pods.followers[0]! : pods.leader).get(LeaderService);

  describe('whose source fails early throws that error, and the process survives:', () => {
    it('a file that does not exist', async () => {
      await expect(all(leader().sendStream('count', createReadStream(MISSING)))).rejects.toMatchObject({
        code: 'ENOENT',
      });
    });

    it('a stream that fails before the loop begins', async () => {
      const source = new PassThrough();
      const replies = leader().sendStream('count', source);
      source.destroy(new Error('broken'));
      await closed(source);
      await expect(all(replies)).rejects.toThrow('broken');
    });

    it('a stream that has failed before', async () => {
      const source = new PassThrough().on('error', () => undefined);
      source.destroy(new Error('broken'));
      await closed(source);
      await expect(all(leader().sendStream('count', source))).rejects.toThrow('broken');
    });

    it('a file that does not exist, of a call that is refused', async () => {
      const file = createReadStream(MISSING);
      expect(() => leader().sendStream('x'.repeat(300), file)).toThrow('256');
      await until(() => file.closed, 'the file is closed');
    });

    it('a stream that fails after the caller left its loop', async () => {
      const source = fed();
      for await (const _ of leader().sendStream('first', source)) break;
      source.emit('error', new Error('late'));
    });

    it('a web stream', async () => {
      const source = new ReadableStream({ start: (controller) => controller.error(new Error('broken')) });
      await expect(all(leader().sendStream('count', source))).rejects.toThrow('broken');
    });

    it('an Observable', async () => {
      const source = throwError(() => new Error('broken'));
      await expect(all(leader().sendStream('count', source))).rejects.toThrow('broken');
    });

    it('an async generator', async () => {
      await expect(all(leader().sendStream('count', broken()))).rejects.toThrow('broken');
    });

    it('promises, of which one rejects', async () => {
      const source = [Promise.resolve(1), Promise.reject(new Error('broken'))];
      const replies = leader().sendStream('count', source);
      await new Promise((resolve) => setImmediate(resolve));
      await expect(all(replies)).rejects.toThrow('broken');
    });
  });

  it('promises in an iterable arrive as their values', async () => {
    expect(await all(leader().sendStream('count', [Promise.resolve(1), 2]))).toEqual([2]);
  });

  describe.each(endings)('closes a source that waits when %s:', (_, end) => {
    it('a Node stream', async () => {
      const source = fed();
      await end((topic, options) => leader().sendStream(topic, source, options));
      expect(source.destroyed).toBe(true);
    });

    it('a web stream', async () => {
      const source = webStream();
      await end((topic, options) => leader().sendStream(topic, source, options));
      await until(() => seen.cancelled === 1, 'it is cancelled');
    });

    it('an Observable', async () => {
      let held = 0;
      const source = new Observable((subscriber) => {
        held += 1;
        subscriber.next('first');
        return () => void (held -= 1);
      });
      await end((topic, options) => leader().sendStream(topic, source, options));
      expect(held).toBe(0);
    });
  });

  it('stops an Observable that emits without end as soon as it exceeds the limit', async () => {
    const source = from(endless());
    await expect(all(leader().sendStream('silent', source))).rejects.toMatchObject({ code: 'OVERLOADED' });
  });

  describe('closes a stream that its handler returned', () => {
    it('when the caller leaves the loop', async () => {
      for await (const reply of leader().sendStream('returns a stream', [])) {
        expect(reply).toBe('first');
        break;
      }
      await until(() => seen.returned!.destroyed, 'it is destroyed');
    });

    it('when the deadline of the caller passes', async () => {
      const replies = leader().sendStream('returns a stream', [], { timeoutMs: 300 });
      await expect(all(replies)).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
      await until(() => seen.returned!.destroyed, 'it is destroyed');
    });

    it('when an interceptor did not wait for it', async () => {
      expect(await all(leader().sendStream('returns a stream late', []))).toEqual(['gave up']);
      await until(() => seen.returned?.destroyed === true, 'it is destroyed');
    });

    it('when it is a web stream', async () => {
      for await (const _ of leader().sendStream('returns a web stream', [])) break;
      await until(() => seen.cancelled === 1, 'it is cancelled');
    });
  });

  it('fails with the error of a stream that its handler returned', async () => {
    await expect(all(leader().sendStream('returns a missing file', []))).rejects.toMatchObject({
      code: 'HANDLER_FAILED',
      message: expect.stringContaining('ENOENT'),
    });
  });
});

describe('a broadcast stream', () => {
  it('throws the error of a file that does not exist', async () => {
    await expect(all(cluster().broadcastStream('count', createReadStream(MISSING)))).rejects.toMatchObject({
      code: 'ENOENT',
    });
  });

  it('throws the error of a stream that failed before the loop began', async () => {
    const source = new PassThrough();
    const replies = cluster().broadcastStream('count', source);
    source.destroy(new Error('broken'));
    await closed(source);
    await expect(all(replies)).rejects.toThrow('broken');
  });

  it('closes a source that waits when the loop is left, cancelled or refused, or all members have ended', async () => {
    const left = fed();
    for await (const _ of cluster().broadcastStream('first', left)) break;
    expect(left.destroyed).toBe(true);

    const ended = fed();
    expect(await all(cluster().broadcastStream('short', ended))).toHaveLength(4);
    expect(ended.destroyed).toBe(true);

    const refused = fed();
    expect(() => cluster().broadcastStream('first', refused, { only: [7 as never] })).toThrow('only');
    expect(refused.destroyed).toBe(true);

    const cancelled = fed();
    const abort = new AbortController();
    const replies = cluster().broadcastStream('first', cancelled, { signal: abort.signal });
    await replies.next();
    abort.abort();
    expect(cancelled.destroyed).toBe(true);
    await expect(all(replies)).rejects.toMatchObject({ name: 'AbortError' });
  });
});

/** Sends endless uploads to a route that streams them to that topic, and returns the status. */
async function upload(topic: string): Promise<number | undefined> {
  const leader = pods.followers[0]!.get(LeaderService);
  const server = createServer((req, res) => {
    const answer = (status: number): void => void res.writeHead(status).end();
    all(leader.sendStream(topic, req)).then(
      () => answer(200),
      () => answer(503),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = request({ port, host: '127.0.0.1', method: 'POST' });
  client.write('first');
  try {
    const [response] = (await once(client, 'response')) as [IncomingMessage];
    return response.statusCode;
  } finally {
    client.destroy();
    server.closeAllConnections();
    server.close();
  }
}

describe('the request of an HTTP server as source', () => {
  it.each([
    ['nobody', 503],
    ['failing', 503],
    ['short', 200],
  ])('leaves the connection open for the answer: %s', async (topic, status) => {
    expect(await upload(topic)).toBe(status);
  });
});

it('a source that never emits is closed when the leader is lost', async () => {
  const group = new Pods({ controllers: [Handlers] }, { shutdown: { drainMs: 100 } });
  try {
    await group.start();
    await group.start();
    await until(() => group.apps.every((app) => app.get(ClusterService).members().length === 2), 'two pods');
    const held = new Subject<string>();
    const source = fed();
    const caller = group.followers[0]!.get(LeaderService);
    const streams = [source, held, NEVER].map((each) =>
      expect(all(caller.sendStream('silent', each))).rejects.toMatchObject({ code: 'LEASE_LOST' }),
    );
    await until(() => held.observed && seen.began === 3, 'the streams are accepted');
    await group.leader.get(LeaderService).resign();
    await Promise.all(streams);
    expect(source.destroyed).toBe(true);
    expect(held.observed).toBe(false);
  } finally {
    await group.close();
  }
});
