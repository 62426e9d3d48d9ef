// A stranger in a separate process, without the secret of the group. It attacks a port in one way until the test stops it.
// Then it reports the number of its connections, and waits until the other side has closed the last one.
import { connect as connectHttp2, type ClientHttp2Session, constants } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { randomBytes } from 'node:crypto';
import { Envelope } from '../../libs/hedge/src/wire/hedge/v1/link.js';

export type Attack = keyof typeof ATTACKS;

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const FLAG_ACK = 1;
const FLAG_END_HEADERS = 4;
const FRAME = { data: 0, headers: 1, rst: 3, settings: 4, ping: 6, continuation: 9 };
const LINK = '/hedge.v1.Hedge/Link';

function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.byteLength, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A header in HPACK without compression or Huffman coding. */
function literal(name: string, value: string): Buffer {
  return Buffer.concat([
    Buffer.from([0, name.length]),
    Buffer.from(`${name}${String.fromCharCode(value.length)}${value}`),
  ]);
}

const HEADERS = Buffer.concat([
  literal(':method', 'POST'),
  literal(':scheme', 'http'),
  literal(':path', LINK),
  literal('content-type', 'application/grpc'),
  literal('te', 'trailers'),
]);
const SESSION = Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0), frame(FRAME.settings, FLAG_ACK, 0)]);
const LINK_STREAM = Buffer.concat([SESSION, frame(FRAME.headers, FLAG_END_HEADERS, 1, HEADERS)]);

const [address = '', kind = ''] = process.argv.slice(2);
const colon = address.lastIndexOf(':');
const [host, port] = [address.slice(0, colon), Number(address.slice(colon + 1))];
const sockets = new Set<Socket>();
let stopped = false;
let made = 0;

/** Connects from a different address of this machine each time, when `hosts` is larger than one. */
function open(hosts = 1): Socket {
  const n = made++ % hosts;
  const socket = connect({ port, host, localAddress: `127.1.${Math.floor(n / 200)}.${(n % 200) + 1}` });
  sockets.add(socket);
  socket
    .on('error', () => undefined)
    .on('close', () => sockets.delete(socket))
    .resume();
  return socket;
}

/** Writes the same bytes again and again, as fast as the socket accepts them. Reads nothing. */
function flood(socket: Socket, bytes: () => Buffer): void {
  socket.pause();
  const more = (): void => {
    if (stopped || socket.destroyed) return;
    if (socket.write(bytes())) setImmediate(more);
  };
  socket.on('drain', more);
  more();
}

/** Keeps this number of connections open: replaces each closed one. */
function keep(count: number, begin: (socket: Socket) => void, hosts = 1): void {
  const one = (): void => {
    if (stopped) return;
    const socket = open(hosts);
    socket.on('close', () => setTimeout(one, 1));
    begin(socket);
  };
  for (let i = 0; i < count; i++) one();
}

/** The prefix of a gRPC message of this length. */
function prefix(length: number): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(length, 1);
  return head;
}

/** Streams of one session, each with a part of a message that announces 4.9 MB. */
function halfMessages(streams: number): void {
  const session: ClientHttp2Session = connectHttp2(`http://${address}`, {
    createConnection: () => open(),
    settings: { initialWindowSize: 1024 },
  });
  session.on('error', () => undefined);
  for (let i = 0; i < streams; i++) {
    const stream = session.request({
      [constants.HTTP2_HEADER_METHOD]: 'POST',
      [constants.HTTP2_HEADER_PATH]: LINK,
      [constants.HTTP2_HEADER_CONTENT_TYPE]: 'application/grpc',
      [constants.HTTP2_HEADER_TE]: 'trailers',
    });
    stream.on('error', () => undefined).resume();
    stream.write(prefix(4_900_000));
    stream.write(Buffer.alloc(4_800_000));
  }
}

/** HEADERS of new streams, `size` at a time. */
function newStreams(size: number): () => Buffer {
  let id = 1;
  return () =>
    Buffer.concat(
      Array.from({ length: size }, () => {
        id += 2;
        return frame(FRAME.headers, FLAG_END_HEADERS, id, HEADERS);
      }),
    );
}

/** HEADERS, each followed by the RST_STREAM of its stream. */
function resets(size: number): () => Buffer {
  let id = 1;
  return () =>
    Buffer.concat(
      Array.from({ length: size }, () => {
        id += 2;
        const reset = frame(FRAME.rst, 0, id, Buffer.from([0, 0, 0, 8]));
        return Buffer.concat([frame(FRAME.headers, FLAG_END_HEADERS, id, HEADERS), reset]);
      }),
    );
}

const repeated = (bytes: Buffer): Buffer => Buffer.concat(Array.from({ length: 1_000 }, () => bytes));
const PINGS = repeated(frame(FRAME.ping, 0, 0, Buffer.alloc(8)));
const SETTINGS = repeated(frame(FRAME.settings, 0, 0));
const CONTINUATIONS = repeated(frame(FRAME.continuation, 0, 1, literal('x', 'y'.repeat(100))));
const ZEROES = frame(FRAME.data, 0, 1, Buffer.alloc(16_000));

/** A correct Hello, followed by the beginning of a Proof of this length. */
function helloAndHalfProof(): Buffer {
  const hello = Envelope.encode({
    frames: [
      {
        body: {
          $case: 'hello',
          value: {
            protocol: 1,
            group: 'orders',
            address: '10.0.0.9:7400',
            incarnation: 'stranger',
            nonce: randomBytes(32),
            generation: 1,
            receiver: '',
            timing: undefined,
          },
        },
      },
    ],
    acknowledged: [],
  }).finish();
  const start = Buffer.concat([prefix(hello.byteLength), hello, prefix(800_000)]);
  return Buffer.concat([LINK_STREAM, frame(FRAME.data, 0, 1, start)]);
}

const ATTACKS = {
  'parts of large messages on many streams': () => {
    for (let i = 0; i < 4; i++) halfMessages(450);
  },
  'parts of large messages on many connections': () =>
    keep(450, (socket) => {
      socket.write(Buffer.concat([LINK_STREAM, frame(FRAME.data, 0, 1, prefix(4_900_000))]));
      for (let i = 0; i < 60; i++) socket.write(ZEROES);
    }),
  'parts of large proofs from many hosts': () =>
    keep(
      450,
      (socket) => {
        socket.write(helloAndHalfProof());
        for (let i = 0; i < 48; i++) socket.write(ZEROES);
      },
      300,
    ),
  'floods of streams': () => keep(4, (socket) => (socket.write(SESSION), flood(socket, newStreams(100)))),
  'floods of streams that are reset': () => keep(4, (socket) => (socket.write(SESSION), flood(socket, resets(100)))),
  'floods of pings whose answers nobody reads': () =>
    keep(8, (socket) => (socket.write(SESSION), flood(socket, () => PINGS))),
  'floods of settings': () => keep(8, (socket) => (socket.write(SESSION), flood(socket, () => SETTINGS))),
  'header blocks without an end': () =>
    keep(8, (socket) => {
      socket.write(Buffer.concat([SESSION, frame(FRAME.headers, 0, 1, HEADERS)]));
      flood(socket, () => CONTINUATIONS);
    }),
  'sockets that say nothing': () => keep(1_500, () => undefined, 3),
  'sessions that open no stream': () => keep(1_500, (socket) => void socket.write(SESSION), 3),
  'streams that say nothing': () => keep(1_500, (socket) => void socket.write(LINK_STREAM), 3),
  'bytes that are no HTTP/2': () => keep(16, (socket) => flood(socket, () => randomBytes(16_000))),
};

process.on('message', () => {
  stopped = true;
  process.send?.(made);
  // A connection that does not read does not notice its close. If the queue of the other side was full, only a connection
  // that writes notices it.
  for (const socket of sockets) socket.resume().write('P');
  const gone = setInterval(() => {
    if (sockets.size > 0) return;
    clearInterval(gone);
    process.send?.('cut');
  }, 20);
});
process.on('disconnect', () => process.exit());
ATTACKS[kind as Attack]();
process.send?.('attacking');
