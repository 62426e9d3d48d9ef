import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import {
  Client,
  credentials,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServiceDefinition,
} from '@grpc/grpc-js';

/**
 * The baseline of every request between members: request and reply over one gRPC stream, without Hedge. It does what any
 * such protocol must do: protobuf messages, each with all items of one turn of the event loop; a number that matches a reply
 * to its request; a promise for each request. It has no handlers, deadlines, deduplication, authentication or bounds.
 *
 *     message Batch { repeated Item items = 1; }
 *     message Item { uint32 id = 1; bytes payload = 2; }
 */
const LINK: ServiceDefinition[string] = {
  path: '/floor.Raw/Link',
  requestStream: true,
  responseStream: true,
  requestSerialize: (message: Buffer) => message,
  requestDeserialize: (message: Buffer) => message,
  responseSerialize: (message: Buffer) => message,
  responseDeserialize: (message: Buffer) => message,
};

const OPTIONS = { 'grpc.enable_channelz': 0, 'grpc.enable_retries': 0 };

interface Item {
  readonly id: number;
  readonly payload: Uint8Array;
}

/** Writes the items of one turn as one message. */
class Batcher {
  private readonly writer = new BinaryWriter();
  private scheduled = false;

  constructor(private readonly sink: { write(message: Buffer): boolean }) {}

  push({ id, payload }: Item): void {
    this.writer.uint32(10).fork().uint32(8).uint32(id).uint32(18).bytes(payload).join();
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      const { buffer, byteOffset, byteLength } = this.writer.finish();
      this.sink.write(Buffer.from(buffer, byteOffset, byteLength));
    });
  }
}

function* itemsOf(message: Buffer): Iterable<Item> {
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    reader.uint32();
    const end = reader.uint32() + reader.pos;
    let id = 0;
    let payload: Uint8Array = new Uint8Array();
    while (reader.pos < end) {
      if (reader.uint32() === 8) id = reader.uint32();
      else payload = reader.bytes();
    }
    yield { id, payload };
  }
}

/** Answers a request by calling `reply`, in any turn of the event loop. */
export type Handler = (payload: Uint8Array, reply: (payload: Uint8Array) => void) => void;

const echo: Handler = (payload, reply) => reply(payload);

/** Listens on a loopback port (0: any free one). */
export async function startRawLinkServer(
  port: number,
  handle: Handler = echo,
): Promise<{ port: number; close(): void }> {
  const server = new Server(OPTIONS);
  server.addService(
    { link: LINK },
    {
      link: (call: ServerDuplexStream<Buffer, Buffer>) => {
        const batcher = new Batcher(call);
        call.on('data', (message: Buffer) => {
          for (const { id, payload } of itemsOf(message)) {
            handle(payload, (reply) => batcher.push({ id, payload: reply }));
          }
        });
        call.on('end', () => call.end());
        call.on('error', () => undefined);
      },
    },
  );
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return { port: bound, close: () => server.forceShutdown() };
}

export interface RawLinkRun {
  /** Received echoes. */
  readonly ops: number;
  /** The duration of each in milliseconds. */
  readonly latencies: number[];
}

/** Keeps `concurrency` echoes in flight for some seconds. */
export async function runRawLinkClient(
  port: number,
  options: { concurrency: number; seconds: number; payloadBytes: number },
): Promise<RawLinkRun> {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), OPTIONS);
  const call = client.makeBidiStreamRequest(LINK.path, LINK.requestSerialize, LINK.responseDeserialize);
  const batcher = new Batcher(call);
  const waiting = new Map<number, (reply: Uint8Array) => void>();
  const failed = new Promise<never>((_, reject) => {
    call.on('error', reject);
  });
  call.on('data', (message: Buffer) => {
    for (const { id, payload } of itemsOf(message)) {
      waiting.get(id)?.(payload);
      waiting.delete(id);
    }
  });

  let lastId = 0;
  const request = (payload: Uint8Array): Promise<Uint8Array> =>
    new Promise((resolve) => {
      lastId += 1;
      waiting.set(lastId, resolve);
      batcher.push({ id: lastId, payload });
    });

  const payload = Buffer.alloc(options.payloadBytes, 'x');
  const latencies: number[] = [];
  const ends = performance.now() + options.seconds * 1_000;
  const worker = async (): Promise<void> => {
    for (let started = performance.now(); started < ends;) {
      await request(payload);
      const now = performance.now();
      latencies.push(now - started);
      started = now;
    }
  };
  try {
    await Promise.race([failed, Promise.all(Array.from({ length: options.concurrency }, worker))]);
  } finally {
    failed.catch(() => undefined);
    call.end();
    client.close();
  }
  return { ops: latencies.length, latencies };
}
