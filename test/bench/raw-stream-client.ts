import { Client, type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import { answer } from './child.js';
import { CHUNK_BYTES, MESSAGE } from './load.js';
import { RAW_STREAMS } from './raw-streams.js';

const client = new Client(`127.0.0.1:${process.env['BENCH_PORT']}`, credentials.createInsecure());

const CHUNK = Buffer.alloc(CHUNK_BYTES, 'c');

function open(name: keyof typeof RAW_STREAMS): ClientDuplexStream<Buffer, Buffer> {
  const { path, requestSerialize, responseDeserialize } = RAW_STREAMS[name];
  return client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
}

/** Writes the message again and again, and resolves when the server has ended its side. */
async function fill(
  call: ClientDuplexStream<Buffer, Buffer>,
  message: Buffer,
  seconds: number,
  reply: (message: Buffer) => void,
): Promise<number> {
  const start = performance.now();
  const end = start + seconds * 1_000;
  const over = new Promise<void>((resolve, reject) => {
    call.on('data', reply);
    call.on('error', reject);
    call.on('end', resolve);
  });
  while (performance.now() < end) {
    if (!call.write(message)) await new Promise<void>((resolve) => call.once('drain', () => resolve()));
  }
  call.end();
  await over;
  return (performance.now() - start) / 1_000;
}

const commands = {
  streamMessages: async ({ seconds }: { seconds: number }) => {
    let replies = 0;
    const took = await fill(open('echo'), Buffer.from(MESSAGE), seconds, () => (replies += 1));
    return replies / took;
  },
  streamChunks: async ({ seconds }: { seconds: number }) => {
    let bytes = 0;
    const took = await fill(open('count'), CHUNK, seconds, (counted) => (bytes = Number(counted.toString())));
    return bytes / took;
  },
};
export type RawStreamCommands = typeof commands;
answer(commands);
