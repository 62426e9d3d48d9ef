import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { HedgeError } from '../../common/errors.js';
import { type MemberId, newIncarnation } from '../../common/identity.js';
import { MemoryNetwork } from '../../testing/memory-transport.js';
import { GrpcTransport } from '../grpc/grpc-transport.js';
import type { LinkTransportOptions } from '../links/link-transport.js';
import { LINGER_MS } from './message-stream.js';
import type { PeerStream, StreamPurpose, StreamServer, StreamTransport } from './peer-stream.js';
import type { Transport } from '../transport.js';

// Handshakes are slow on a machine that is busy with other tests.
jest.setTimeout(30_000);

type Member = Transport & StreamTransport;
type Options = Partial<Omit<LinkTransportOptions, 'self' | 'clock'>>;

const KIB = 1024;
/** More than all buffers between the ends can hold: both read-aheads, both windows, and the sockets. */
const PLENTY = 64 * KIB * KIB;

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

async function all(stream: AsyncIterable<Uint8Array>): Promise<number[][]> {
  const messages: number[][] = [];
  for await (const message of stream) messages.push([...message]);
  return messages;
}

/** Resolves with the error of the stream. */
function failureOf({ signal }: PeerStream): Promise<HedgeError> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(signal.reason as HedgeError);
    else signal.addEventListener('abort', () => resolve(signal.reason as HedgeError), { once: true });
  });
}

/** Echoes all messages. */
const echo: StreamServer = async (stream) => {
  for await (const message of stream) await stream.write(message);
  stream.end();
};

/** A server that passes its stream to the test. */
function caught(): { server: StreamServer; stream: Promise<PeerStream> } {
  let take: (stream: PeerStream) => void;
  const stream = new Promise<PeerStream>((resolve) => {
    take = resolve;
  });
  return { stream, server: async (given) => take(given) };
}

/** Writes until a write waits. Returns the number of bytes written before it. */
async function fill(stream: PeerStream, chunk: Uint8Array): Promise<number> {
  const stuck = Symbol('stuck');
  for (let written = 0; written < PLENTY; written += chunk.byteLength) {
    const write = stream.write(chunk);
    write.catch(() => undefined);
    // Much longer than a reader needs to make room.
    const pause = new Promise((resolve) => setTimeout(resolve, 300, stuck));
    if ((await Promise.race([write, pause])) === stuck) return written;
  }
  return PLENTY;
}

const secret = async () => Buffer.from('the secret of the group');
const made: Member[] = [];
let memory: MemoryNetwork;
let names: number;

const networks: Record<string, (options: Options) => Member> = {
  memory: (options) =>
    memory.transport({ address: `pod-${(names += 1)}:1`, incarnation: newIncarnation() }, { secret, ...options }),
  gRPC: (options) =>
    new GrpcTransport({
      group: 'memory',
      secret,
      heartbeatTimeoutMs: 5_000,
      bind: '127.0.0.1:0',
      ...options,
      self: { address: '127.0.0.1:0', incarnation: newIncarnation() },
    }),
};

beforeEach(() => {
  memory = new MemoryNetwork();
  names = 0;
});

afterEach(async () => {
  await Promise.all(made.splice(0).map((each) => each.close()));
});

describe.each(Object.keys(networks))('streams beside the links, over %s', (network) => {
  async function member(options: Options = {}): Promise<Member> {
    const transport = networks[network]!(options);
    made.push(transport);
    await transport.listen();
    return transport;
  }

  async function pair(options: Options = {}): Promise<{ a: Member; b: Member }> {
    return { a: await member(options), b: await member(options) };
  }

  const opening = { purpose: 'leader-stream', opening: bytes(7, 7) } as const;

  it('carry messages both ways, also empty ones, and end when both sides have ended', async () => {
    const { a, b } = await pair();
    const opened: { opening: number[]; peer: MemberId }[] = [];
    b.serveStreams('leader-stream', async (stream, given) => {
      opened.push({ opening: [...given], peer: stream.peer });
      await echo(stream, given);
    });
    const stream = await a.openStream(b.self, opening);
    for (const message of [bytes(1), bytes(), bytes(2, 3)]) await stream.write(message);
    stream.end();
    expect(await all(stream)).toEqual([[1], [], [2, 3]]);
    expect(opened).toEqual([{ opening: [7, 7], peer: a.self }]);
    expect(stream.peer).toEqual(b.self);
    expect(stream.signal.aborted).toBe(false);
    await expect(stream.write(bytes(1))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('one side may end long before the other does', async () => {
    const { a, b } = await pair();
    b.serveStreams('leader-stream', async (stream) => {
      stream.end();
      expect(await all(stream)).toEqual([[1], [2]]);
      seen();
    });
    let seen!: () => void;
    const served = new Promise<void>((resolve) => (seen = resolve));
    const stream = await a.openStream(b.self, opening);
    expect(await all(stream)).toEqual([]);
    await stream.write(bytes(1));
    await stream.write(bytes(2));
    stream.end();
    await served;
  });

  it('can be opened to this process itself', async () => {
    const a = await member();
    a.serveStreams('leader-stream', echo);
    const stream = await a.openStream(a.self, opening);
    await stream.write(bytes(1));
    stream.end();
    expect(await all(stream)).toEqual([[1]]);
  });

  it.each(['to another member', 'to itself'])('make a writer wait for a reader that does not read, %s', async (to) => {
    const { a, b } = await pair();
    const target = to === 'to itself' ? a : b;
    const { server, stream: accepted } = caught();
    target.serveStreams('spill', server);
    const stream = await a.openStream(target.self, { purpose: 'spill', opening: bytes() });
    const chunk = new Uint8Array(64 * KIB).fill(1);
    const up = await fill(stream, chunk);
    const down = await fill(await accepted, chunk);
    // The buffers: 256 KB at each end, the window, and the sockets of the system.
    expect(up).toBeLessThan(16 * KIB * KIB);
    expect(down).toBeLessThan(16 * KIB * KIB);

    const held = { up: 0, down: 0 };
    stream.end();
    (await accepted).end();
    for await (const message of await accepted) held.up += message.byteLength;
    for await (const message of stream) held.down += message.byteLength;
    expect(held).toEqual({ up: up + chunk.byteLength, down: down + chunk.byteLength });
  });

  it('report a cancel of the caller, with its reason, to the server', async () => {
    const { a, b } = await pair();
    const { server, stream: accepted } = caught();
    b.serveStreams('leader-stream', server);
    const stream = await a.openStream(b.self, opening);
    await stream.write(bytes(1));
    const there = await accepted;
    stream.cancel(new HedgeError('DEADLINE_EXCEEDED', 'no more', { details: { after: 1 } }));
    stream.cancel(new HedgeError('CONFLICT', 'a second reason changes nothing'));
    expect(await failureOf(there)).toMatchObject({
      code: 'DEADLINE_EXCEEDED',
      message: 'no more',
      details: { after: 1 },
    });
    const received: number[][] = [];
    const reading = async () => {
      for await (const message of there) received.push([...message]);
    };
    await expect(reading()).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect(received).toEqual([[1]]);
    await expect(there.write(bytes(1))).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    await expect(stream.write(bytes(1))).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
  });

  it('report an error of the server to the caller, after the messages written before it', async () => {
    const { a, b } = await pair();
    b.serveStreams('leader-stream', async (stream) => {
      await stream.write(bytes(1));
      throw new HedgeError('OVERLOADED', 'later');
    });
    b.serveStreams('broadcast-stream', async () => {
      throw new Error('a bug');
    });
    const stream = await a.openStream(b.self, opening);
    const received: number[][] = [];
    const reading = async () => {
      for await (const message of stream) received.push([...message]);
    };
    await expect(reading()).rejects.toMatchObject({ code: 'OVERLOADED', message: 'later' });
    expect(received).toEqual([[1]]);
    const other = await a.openStream(b.self, { purpose: 'broadcast-stream', opening: bytes() });
    expect(await failureOf(other)).toMatchObject({ code: 'HANDLER_FAILED', message: 'a bug' });
  });

  it('deliver the error of fail() after all messages written before it, however slow the reader', async () => {
    const { a, b } = await pair();
    const { server, stream: accepted } = caught();
    b.serveStreams('leader-stream', server);
    const stream = await a.openStream(b.self, opening);
    const there = await accepted;
    const chunk = new Uint8Array(64 * KIB);
    const written = (await fill(there, chunk)) + chunk.byteLength;
    there.fail(new HedgeError('HANDLER_FAILED', 'a bug'));
    // Longer than a cancel would wait.
    await new Promise((resolve) => setTimeout(resolve, 2 * LINGER_MS));
    let read = 0;
    const reading = async () => {
      for await (const message of stream) read += message.byteLength;
    };
    await expect(reading()).rejects.toMatchObject({ code: 'HANDLER_FAILED', message: 'a bug' });
    expect(read).toBe(written);
  });

  it('are cancelled when the reader leaves its loop early', async () => {
    const { a, b } = await pair();
    const { server, stream: accepted } = caught();
    b.serveStreams('leader-stream', server);
    const stream = await a.openStream(b.self, opening);
    await (await accepted).write(bytes(1));
    for await (const message of stream) {
      expect([...message]).toEqual([1]);
      break;
    }
    expect(await failureOf(await accepted)).toMatchObject({ message: expect.stringContaining('has left the stream') });
  });

  it('report a cancel also to a peer that does not read, and to a waiting writer', async () => {
    const { a, b } = await pair();
    const { server, stream: accepted } = caught();
    b.serveStreams('leader-stream', server);
    const stream = await a.openStream(b.self, opening);
    const there = await accepted;
    const chunk = new Uint8Array(64 * KIB);
    await fill(stream, chunk);
    await fill(there, chunk);
    const waiting = stream.write(chunk);
    stream.cancel(new HedgeError('DEADLINE_EXCEEDED', 'no more'));
    await expect(waiting).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect(await failureOf(there)).toBeInstanceOf(HedgeError);
  });

  it('report a cancel of the receiver in the same way', async () => {
    const { a, b } = await pair();
    const { server, stream: accepted } = caught();
    b.serveStreams('leader-stream', server);
    const stream = await a.openStream(b.self, opening);
    const there = await accepted;
    await fill(there, new Uint8Array(64 * KIB));
    there.cancel(new HedgeError('OVERLOADED', 'no more'));
    expect(await failureOf(stream)).toBeInstanceOf(HedgeError);
  });

  it('fail with NO_HANDLER where the purpose has no server', async () => {
    const { a, b } = await pair();
    const stream = await a.openStream(b.self, { purpose: 'spill', opening: bytes() });
    await expect(all(stream)).rejects.toMatchObject({ code: 'NO_HANDLER' });
  });

  it('reach only the given process, of the same group, with the same secret', async () => {
    const { a, b } = await pair();
    b.serveStreams('leader-stream', echo);
    const gone = { address: b.self.address, incarnation: 'gone' };
    await expect(a.openStream(gone, opening)).rejects.toMatchObject({
      code: 'MEMBER_UNREACHABLE',
      details: { incarnation: b.self.incarnation },
    });
    const stranger = await member({ secret: async () => Buffer.from('another') });
    await expect(stranger.openStream(b.self, opening)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
    const foreigner = await member({ group: 'payments' });
    await expect(foreigner.openStream(b.self, opening)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
    await b.close();
    await expect(a.openStream(b.self, opening)).rejects.toMatchObject({ code: 'MEMBER_UNREACHABLE' });
  });

  it('reject an opening and a message over their limits', async () => {
    const { a, b } = await pair({ maxMessageBytes: 100_000 });
    b.serveStreams('leader-stream', echo);
    const huge = { purpose: 'leader-stream', opening: new Uint8Array(64 * KIB + 1) } as const;
    await expect(a.openStream(b.self, huge)).rejects.toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
    const stream = await a.openStream(b.self, opening);
    await expect(stream.write(new Uint8Array(100_001))).rejects.toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
    await stream.write(new Uint8Array(100_000));
    stream.end();
    expect((await all(stream)).map(({ length }) => length)).toEqual([100_000]);
  });

  it('stop opening when the signal aborts', async () => {
    const { a, b } = await pair();
    const reason = new Error('not wanted any more');
    await expect(a.openStream(b.self, opening, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const silent = await member({ secret: () => new Promise(() => undefined) });
    const abort = new AbortController();
    const attempt = a.openStream(silent.self, opening, { signal: abort.signal });
    abort.abort(reason);
    await expect(attempt).rejects.toBe(reason);
  });

  it.each(['the caller', 'the receiver'])('end with SHUTTING_DOWN when %s closes', async (who) => {
    const { a, b } = await pair();
    const { server, stream: accepted } = caught();
    b.serveStreams('leader-stream', server);
    const stream = await a.openStream(b.self, opening);
    const there = await accepted;
    const closing = who === 'the caller' ? a.close() : b.close();
    expect(await failureOf(stream)).toMatchObject({ code: 'SHUTTING_DOWN' });
    expect(await failureOf(there)).toMatchObject({ code: 'SHUTTING_DOWN' });
    await closing;
    if (who === 'the caller') {
      await expect(a.openStream(b.self, opening)).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
    }
  });

  it('lose no message when a side closes its transport after both have ended', async () => {
    const { a, b } = await pair();
    b.serveStreams('leader-stream', echo);
    const stream = await a.openStream(b.self, opening);
    await stream.write(bytes(1));
    stream.end();
    const first = await stream[Symbol.asyncIterator]().next();
    await b.close();
    expect(first.value).toEqual(Buffer.from([1]));
  });
});

/** Both ends of a stream between two members in memory. */
async function openedInMemory() {
  const { server, stream: accepted } = caught();
  const [a, b] = [networks['memory']!({}), networks['memory']!({})];
  made.push(a, b);
  await b.listen();
  b.serveStreams('spill', server);
  const stream = await a.openStream(b.self, { purpose: 'spill', opening: bytes() });
  return { a, b, stream, there: await accepted };
}

describe('faults of the network', () => {
  it('a cut fails the stream at both ends', async () => {
    const { a, b, stream, there } = await openedInMemory();
    memory.cut(a.self, b.self);
    expect(await failureOf(stream)).toMatchObject({ code: 'MEMBER_UNREACHABLE', details: { address: b.self.address } });
    expect(await failureOf(there)).toMatchObject({ code: 'MEMBER_UNREACHABLE' });
  });

  it('a stall loses nothing', async () => {
    const { a, b, stream, there } = await openedInMemory();
    memory.stall(a.self, b.self);
    await stream.write(bytes(1));
    const read = there[Symbol.asyncIterator]().next();
    memory.heal();
    expect(await read).toEqual({ done: false, value: bytes(1) });
  });
});

it('many streams that are opened at once connect a few at a time', async () => {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => void sockets.push(socket.resume().on('error', () => undefined)));
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const { port } = silent.address() as AddressInfo;
  const caller = networks['gRPC']!({ handshakeTimeoutMs: 2_000 });
  made.push(caller);
  try {
    const target = { address: `127.0.0.1:${port}`, incarnation: newIncarnation() };
    const open = () => caller.openStream(target, { purpose: 'spill', opening: bytes() });
    const outcomes = await Promise.allSettled(Array.from({ length: 100 }, open));
    expect(outcomes.map(({ status }) => status)).toEqual(outcomes.map(() => 'rejected'));
    expect(sockets.length).toBeLessThanOrEqual(16);
  } finally {
    for (const socket of sockets) socket.destroy();
    silent.close();
  }
});

/** Opens as many streams as one class may have, one after another. */
async function occupy(from: Member, to: Member, purpose: StreamPurpose): Promise<PeerStream[]> {
  const streams: PeerStream[] = [];
  for (let i = 0; i < 1_024; i++) streams.push(await accepted(from, to, purpose));
  return streams;
}

/** Opens a stream, and waits until the server accepted it. @throws the error of a refusal. */
async function accepted(from: Member, to: Member, purpose: StreamPurpose): Promise<PeerStream> {
  const stream = await from.openStream(to.self, { purpose, opening: bytes() });
  await stream[Symbol.asyncIterator]().next();
  return stream;
}

describe('streams that never end', () => {
  it.each([
    ['handlers', 'leader-stream', 'broadcast-stream', 'spill'],
    ['spill stores', 'spill', 'spill', 'leader-stream'],
  ] as const)('of %s leave room for the others', async (_, stuck, same, other) => {
    const [a, b] = [networks['memory']!({}), networks['memory']!({})];
    made.push(a, b);
    await b.listen();
    for (const purpose of ['leader-stream', 'broadcast-stream', 'spill'] as const) {
      b.serveStreams(purpose, (stream) => stream.write(bytes(1)));
    }
    const [first] = await occupy(a, b, stuck);
    expect((await accepted(a, b, other)).signal.aborted).toBe(false);
    await expect(accepted(a, b, same)).rejects.toMatchObject({
      code: 'OVERLOADED',
      message: expect.stringContaining('has 1024 streams'),
    });
    const freed = failureOf(first!);
    first!.cancel(new HedgeError('CANCELLED', 'not wanted any more'));
    await freed;
    expect((await accepted(a, b, same)).signal.aborted).toBe(false);
  });
});
