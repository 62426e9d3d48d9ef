import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Client, type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import { SILENT } from '../../common/line-logger.js';
import { TIMING_PRESETS } from '../../common/timing.js';
import { RecordingTransport } from '../../testing/recording-transport.js';
import { GrpcTransport, type GrpcTransportOptions } from './grpc-transport.js';
import { CallerHandshake, NONCE_BYTES } from '../handshake/handshake.core.js';
import { encodeFrame } from '../links/frames.js';
import type { FrameBody } from '../transport.js';
import { Encoding, Envelope, HedgeService } from '../../wire/hedge/v1/link.js';

// Handshakes are slow on a machine that is busy with other tests.
jest.setTimeout(30_000);

const secret = Buffer.from('the secret of the group');
const heartbeat = (version: number) =>
  ({
    $case: 'heartbeat',
    value: { epoch: 1n, version, spill: undefined, acceptsChanges: true, capacityEdition: 0, candidate: undefined },
  }) as const;
const made: RecordingTransport[] = [];
const warnings: string[] = [];
const logger = { ...SILENT, warn: (line: string) => void warnings.push(line) };

function member(options: Partial<GrpcTransportOptions> = {}, address = '127.0.0.1:0'): RecordingTransport {
  const recording = new RecordingTransport(
    (self) =>
      new GrpcTransport({
        group: 'orders',
        secret: async () => secret,
        heartbeatTimeoutMs: 5_000,
        bind: address,
        logger,
        ...options,
        self,
      }),
    address,
  );
  made.push(recording);
  return recording;
}

async function listening(options: Partial<GrpcTransportOptions> = {}): Promise<RecordingTransport> {
  const recording = member(options);
  await recording.transport.listen();
  return recording;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

beforeEach(() => void warnings.splice(0));

afterEach(async () => {
  await Promise.all(made.splice(0).map(({ transport }) => transport.close()));
});

describe('GrpcTransport', () => {
  it('carries frames both ways over one authenticated link', async () => {
    const [a, b] = [await listening(), await listening()];
    b.onFrame = (link, body) => link.send(body);
    const link = await a.transport.dial(b.self);
    link.send(heartbeat(1));
    link.send(heartbeat(2));
    await until(() => a.frames.length === 2);
    expect(a.frames).toEqual([heartbeat(1), heartbeat(2)]);
    expect(link.peer).toEqual(b.self);
    expect(b.opened.map(({ peer, direction }) => ({ peer, direction }))).toEqual([
      { peer: a.self, direction: 'accepted' },
    ]);
    expect(a.transport.dialled(b.self)).toBe(link);
    expect([...a.transport.links()]).toEqual([link]);
  });

  it('concurrent dials share one link, and a later dial reuses it', async () => {
    const [a, b] = [member(), await listening()];
    const links = await Promise.all([a.transport.dial(b.self), a.transport.dial(b.self)]);
    expect(new Set([...links, await a.transport.dial({ address: b.self.address })]).size).toBe(1);
    expect(b.opened).toHaveLength(1);
  });

  it('a client without an address can dial', async () => {
    const [client, b] = [member({ bind: undefined }, ''), await listening()];
    await client.transport.dial(b.self);
    await expect(client.transport.listen()).rejects.toMatchObject({ code: 'INVALID_OPTIONS' });
  });

  it('a member can dial itself', async () => {
    const a = await listening();
    expect((await a.transport.dial(a.self)).peer).toEqual(a.self);
  });

  it('a link ends on both sides when one closes it, after queued frames were delivered', async () => {
    const [a, b] = [await listening(), await listening()];
    const link = await a.transport.dial(b.self);
    link.send({ $case: 'leave', value: {} });
    await a.transport.close();
    await until(() => b.closed.length === 1);
    expect(b.frames).toEqual([{ $case: 'leave', value: {} }]);
    expect(a.closed).toEqual([{ link, reason: expect.objectContaining({ code: 'SHUTTING_DOWN' }) }]);
    expect([...b.transport.links()]).toEqual([]);
    await expect(a.transport.dial(b.self)).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
  });

  it('close frees the port and is idempotent', async () => {
    const [a, b] = [await listening(), await listening()];
    await a.transport.dial(b.self);
    await Promise.all([b.transport.close(), b.transport.close()]);
    await member({ bind: b.self.address }, b.self.address).transport.listen();
  });

  it('fails to listen on a port in use, and on an address of another machine', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as { port: number };
    try {
      const bind = `127.0.0.1:${port}`;
      await expect(member({ bind }, bind).transport.listen()).rejects.toMatchObject({ code: 'INVALID_OPTIONS' });
    } finally {
      taken.close();
    }
    await expect(member({ bind: '192.0.2.1:7400' }, '192.0.2.1:7400').transport.listen()).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining('192.0.2.1:7400'),
    });
  });

  it('close waits neither for a silent peer nor for one that does not read', async () => {
    const b = await listening();
    const [host, port] = b.self.address.split(':');
    const mute = connect(Number(port), host);
    await once(mute, 'connect');
    await b.transport.close();
    mute.destroy();
  });

  it('closes connections that never send a request', async () => {
    const b = await listening({ heartbeatTimeoutMs: 100 });
    const [host, port] = b.self.address.split(':');
    const mute = connect(Number(port), host).resume();
    const link = await member().transport.dial(b.self);
    await once(mute, 'close');
    expect(link.open).toBe(true);
  });

  it('fails with MEMBER_UNREACHABLE without a listener, and with a silent listener', async () => {
    const a = member({ heartbeatTimeoutMs: 300 });
    const sockets: Socket[] = [];
    const silent = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as { port: number };
    await expect(a.transport.dial({ address: `127.0.0.1:${port}` })).rejects.toMatchObject({
      code: 'MEMBER_UNREACHABLE',
      message: expect.stringContaining('within 300 ms'),
    });
    sockets.forEach((socket) => socket.destroy());
    silent.close();
    await once(silent, 'close');
    await expect(a.transport.dial({ address: `127.0.0.1:${port}` })).rejects.toMatchObject({
      code: 'MEMBER_UNREACHABLE',
      retryable: true,
    });
  });

  it('a dial in progress fails when the transport closes', async () => {
    const a = member({ secret: () => new Promise(() => undefined) });
    const attempt = a.transport.dial((await listening()).self);
    await Promise.all([expect(attempt).rejects.toMatchObject({ code: 'SHUTTING_DOWN' }), a.transport.close()]);
  });
});

describe('authentication', () => {
  it.each<[string, Partial<GrpcTransportOptions>]>([
    ['without the secret', { secret: async () => Buffer.from('another') }],
    ['of another group', { group: 'payments' }],
  ])('a caller %s is refused, with a line on both sides', async (_who, options) => {
    const [a, b] = [member(options), await listening()];
    await expect(a.transport.dial(b.self)).rejects.toMatchObject({ code: 'UNAUTHENTICATED', retryable: false });
    await until(() => warnings.length >= 2);
    expect(warnings).toEqual(
      expect.arrayContaining([
        expect.stringContaining(b.self.address),
        expect.stringMatching(/Refused a link from|ended its link to this pod/),
      ]),
    );
    expect(warnings.join()).not.toContain(secret.toString());
    expect(b.opened).toEqual([]);
    expect(a.opened).toEqual([]);
  });

  it('the log names a caller that refused as the one that ended the link', async () => {
    const [a, b] = [member({ secret: async () => Buffer.from('another') }), await listening()];
    await expect(a.transport.dial(b.self)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
    await until(() => warnings.length >= 2);
    expect(warnings.filter((line) => line.includes('ended its link to this pod'))).toHaveLength(1);
    expect(warnings.join()).not.toContain('Refused a link');
  });

  it('a pod that reaches itself in place of a member reports that both have one address', async () => {
    const a = await listening();
    await expect(a.transport.dial({ address: a.self.address, incarnation: 'alive' })).rejects.toMatchObject({
      code: 'MEMBER_UNREACHABLE',
      message: expect.stringMatching(/is this pod itself, and not process alive.*POD_IP/),
    });
  });

  it('the log reports a member of another process with the address of this one', async () => {
    const b = await listening();
    const twin = member({ bind: undefined }, b.self.address);
    await twin.transport.dial(b.self);
    await until(() => warnings.length > 0);
    expect(warnings).toEqual([
      expect.stringMatching(/Another live pod, process .* has this pod's own address .*POD_IP/),
    ]);
  });

  it('each step of a rotation accepts both of its secrets, and no secret of another group', async () => {
    const [old, fresh] = [Buffer.from('the old secret'), Buffer.from('the new secret')];
    const steps = [old, [old, fresh], [fresh, old], fresh] as const;
    for (const [i, step] of steps.entries()) {
      const b = await listening({ secret: async () => step });
      for (const other of steps.slice(Math.max(0, i - 1), i + 2)) {
        await member({ secret: async () => other }).transport.dial(b.self);
      }
      const stranger = member({ secret: async () => Buffer.from('neither of them') });
      await expect(stranger.transport.dial(b.self)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
    }
    const b = await listening({ secret: async () => fresh });
    await expect(member({ secret: async () => old }).transport.dial(b.self)).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
    });
  });

  it('pods with different timing log both values on both sides, once', async () => {
    const local = { timing: TIMING_PRESETS.local };
    const [a, b] = [member({ timing: { ...TIMING_PRESETS.local, leaseMs: 4_000 } }), await listening(local)];
    await a.transport.dial(b.self);
    await until(() => warnings.length >= 2);
    await member({ timing: { ...TIMING_PRESETS.local, leaseMs: 4_000 } }).transport.dial(b.self);
    expect(warnings).toEqual(
      expect.arrayContaining([
        expect.stringContaining('leaseMs is 3000 there and 4000 here'),
        expect.stringContaining('leaseMs is 4000 there and 3000 here'),
      ]),
    );
    expect(warnings.filter((line) => line.includes('leaseMs is 4000 there'))).toHaveLength(1);
  });

  it('pods with the same timing, or of a version that does not send it, log nothing', async () => {
    const b = await listening({ timing: TIMING_PRESETS.local });
    await member({ timing: TIMING_PRESETS.local }).transport.dial(b.self);
    await member().transport.dial(b.self);
    expect(warnings).toEqual([]);
  });

  it('reports the process that answers in place of the wanted one', async () => {
    const [a, b] = [member(), await listening()];
    await expect(a.transport.dial({ address: b.self.address, incarnation: 'gone' })).rejects.toMatchObject({
      code: 'MEMBER_UNREACHABLE',
      details: { incarnation: b.self.incarnation },
    });
    expect(b.opened).toEqual([]);
  });

  it('a receiver that cannot read the secret refuses temporarily, and reads it again for the next handshake', async () => {
    let reads = 0;
    const b = await listening({
      secret: async () => {
        reads += 1;
        if (reads === 1) throw new Error('database away');
        return secret;
      },
    });
    const a = member();
    await expect(a.transport.dial(b.self)).rejects.toMatchObject({ code: 'MEMBER_UNREACHABLE', retryable: true });
    await a.transport.dial(b.self);
    await member().transport.dial(b.self);
    // For each handshake: `KeptSecret` caches the secret, which may change.
    expect(reads).toBe(3);
  });

  it('250 members of one host that join at once are all admitted at the first attempt', async () => {
    const b = await listening({ heartbeatTimeoutMs: 30_000 });
    const members = Array.from({ length: 250 }, () => member({ bind: undefined, heartbeatTimeoutMs: 30_000 }, ''));
    await Promise.all(members.map((one) => one.transport.dial(b.self)));
    await until(() => b.opened.length === 250);
    expect(b.closed).toEqual([]);
  });

  it('a member that waits for 100,000 replies is admitted, and a stranger that claims so is not', async () => {
    const b = await listening();
    const a = member();
    a.outstanding = Array.from({ length: 100_000 }, (_, sequence) => sequence);
    await a.transport.dial(b.self);
    expect(b.resumes[0]?.outstanding).toHaveLength(100_000);
    const stranger = new RawCaller(b.self.address);
    stranger.write(Buffer.alloc(1_000_000));
    await stranger.ended;
    expect(b.opened).toHaveLength(1);
  });

  it('attempts of a stranger fill neither the log nor the table of handshakes', async () => {
    const b = await listening();
    const strangers = Array.from({ length: 100 }, () => new RawCaller(b.self.address));
    strangers.forEach((stranger) => stranger.write(Buffer.from('no protobuf')));
    await Promise.all(strangers.map((stranger) => stranger.ended));
    expect(warnings).toHaveLength(1);
    await member().transport.dial(b.self);
  });
});

/** A gRPC caller that sends arbitrary bytes as messages. */
class RawCaller {
  readonly received: FrameBody[] = [];
  readonly ended: Promise<void>;
  private readonly call: ClientDuplexStream<Buffer, Envelope>;

  constructor(private readonly address: string) {
    const client = new Client(address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
    this.call = client.makeBidiStreamRequest(HedgeService.link.path, (bytes: Buffer) => bytes, Envelope.decode);
    this.call.on('data', (envelope: Envelope) => {
      for (const { body } of envelope.frames) if (body) this.received.push(body);
    });
    this.call.on('error', () => undefined);
    this.ended = new Promise((resolve) => {
      this.call.on('status', () => {
        client.close();
        resolve();
      });
    });
  }

  write(bytes: Uint8Array): void {
    this.call.write(Buffer.from(bytes));
  }

  /** Runs a correct handshake; `expects` is the incarnation of the dial target. */
  async authenticate(generation = 1): Promise<void> {
    const handshake = new CallerHandshake({
      kind: 'link',
      group: 'orders',
      self: { address: 'raw:1', incarnation: 'raw' },
      secret,
      nonce: randomBytes(NONCE_BYTES),
      generation,
      target: { address: this.address },
    });
    this.write(encodeFrame({ $case: 'hello', value: handshake.hello }));
    await until(() => this.received.length === 1);
    const next = handshake.step(this.received[0] as FrameBody);
    if (next.kind !== 'prove') throw new Error(next.kind);
    this.write(encodeFrame({ $case: 'proof', value: { proof: next.proof, outstanding: [] } }));
    await until(() => this.received.length === 2);
  }
}

describe('malformed messages', () => {
  it.each<[string, Uint8Array]>([
    ['bytes that are no protobuf', Buffer.from([0xff, 0xff, 0xff])],
    ['nothing', Buffer.alloc(0)],
    [
      'two frames in one',
      Envelope.encode({ frames: [{ body: heartbeat(1) }, { body: heartbeat(2) }], acknowledged: [] }).finish(),
    ],
    ['a frame of later', encodeFrame(heartbeat(1))],
    ['a huge Hello', Buffer.alloc(100_000)],
  ])('%s instead of a Hello is refused', async (_what, message) => {
    const b = await listening();
    const stranger = new RawCaller(b.self.address);
    stranger.write(message);
    await stranger.ended;
    expect(stranger.received).toEqual([
      { $case: 'refusal', value: expect.objectContaining({ code: 'UNAUTHENTICATED' }) },
    ]);
    expect(warnings).toEqual([expect.stringContaining('Refused a link from 127.0.0.1:')]);
  });

  it.each<[string, Uint8Array]>([
    ['bytes that are no protobuf', Buffer.from([0xff, 0xff, 0xff])],
    [
      'a reply to a receiver',
      encodeFrame({
        $case: 'reply',
        value: { sequence: 1, encoding: Encoding.ENCODING_NONE, payload: Buffer.alloc(0), failure: undefined },
      }),
    ],
    ['another handshake', encodeFrame({ $case: 'welcome', value: { resumed: false, timing: undefined } })],
  ])('%s closes an open link, and no other', async (_what, message) => {
    const [a, b] = [member(), await listening()];
    const good = await a.transport.dial(b.self);
    const stranger = new RawCaller(b.self.address);
    await stranger.authenticate();
    stranger.write(message);
    await stranger.ended;
    expect(b.closed).toHaveLength(1);
    expect(b.frames).toEqual([]);
    expect(warnings).toEqual([expect.stringContaining('Closing the link to raw:1')]);
    expect(good.open).toBe(true);
  });

  it('malformed frames of a member that reconnects again and again are logged at a bounded rate', async () => {
    const b = await listening();
    for (let generation = 1; generation <= 10; generation++) {
      const member = new RawCaller(b.self.address);
      await member.authenticate(generation);
      member.write(Buffer.from([0xff, 0xff, 0xff]));
      await member.ended;
    }
    expect(b.closed).toHaveLength(10);
    expect(warnings).toHaveLength(1);
  });

  it('a frame of an unknown kind, from a newer version, is ignored', async () => {
    const b = await listening();
    const stranger = new RawCaller(b.self.address);
    await stranger.authenticate();
    const unknownField = Buffer.from([0x0a, 0x03, 0xfa, 0x3e, 0x00]);
    stranger.write(Buffer.concat([unknownField, encodeFrame(heartbeat(9))]));
    await until(() => b.frames.length === 1);
    expect(b.frames).toEqual([heartbeat(9)]);
  });

  it('a newer link closes the older', async () => {
    const b = await listening();
    const [older, newer] = [new RawCaller(b.self.address), new RawCaller(b.self.address)];
    await older.authenticate(1);
    await newer.authenticate(2);
    older.write(encodeFrame(heartbeat(1)));
    await older.ended;
    newer.write(encodeFrame(heartbeat(2)));
    await until(() => b.frames.length > 0);
    expect(b.frames).toEqual([heartbeat(2)]);
    expect(b.closed).toHaveLength(1);
  });

  it('an incomplete handshake ends in time', async () => {
    const b = await listening({ heartbeatTimeoutMs: 200 });
    const stranger = new RawCaller(b.self.address);
    await stranger.ended;
    expect(stranger.received).toMatchObject([{ $case: 'refusal' }]);
  });

  it('bytes that are not HTTP/2 do no harm', async () => {
    const b = await listening();
    const [host, port] = b.self.address.split(':');
    const socket = connect(Number(port), host)
      .on('error', () => undefined)
      .resume();
    socket.write('GET / HTTP/1.1\r\n\r\n');
    await once(socket, 'close');
    await member().transport.dial(b.self);
  });
});
