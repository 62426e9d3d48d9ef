import { setTimeout as sleep } from 'node:timers/promises';
import { Controller } from '@nestjs/common';
import { Payload } from '@nestjs/microservices';
import { type LeaderService, OnLeaderStream } from 'nestjs-hedge';
import { CHUNK_BYTES, MESSAGE } from './load.js';

const CHUNK = Buffer.alloc(CHUNK_BYTES, 'c');
/** A slow reader pauses after each of these amounts of bytes, and so reads about 100 MB per second. */
const REST_AFTER_BYTES = 1024 * 1024;
const REST_MS = 10;

/** The handlers of the stream benchmarks. */
@Controller()
export class StreamController {
  @OnLeaderStream('echo')
  async *echo(@Payload() messages: AsyncIterable<string>): AsyncGenerator<string> {
    for await (const message of messages) yield message;
  }

  @OnLeaderStream('count')
  async count(@Payload() chunks: AsyncIterable<Uint8Array>): Promise<number> {
    let bytes = 0;
    for await (const chunk of chunks) bytes += chunk.byteLength;
    return bytes;
  }

  @OnLeaderStream('count-slowly')
  async countSlowly(@Payload() chunks: AsyncIterable<Uint8Array>): Promise<number> {
    let bytes = 0;
    let unrested = 0;
    for await (const chunk of chunks) {
      bytes += chunk.byteLength;
      unrested += chunk.byteLength;
      if (unrested < REST_AFTER_BYTES) continue;
      unrested = 0;
      await sleep(REST_MS);
    }
    return bytes;
  }
}

/** The commands of a pod for streams to the leader. */
export function streamCommands(leader: LeaderService) {
  return {
    /** Messages per second that were sent and returned, at full speed. */
    streamMessages: async ({ seconds }: { seconds: number }) => {
      let replies = 0;
      const start = performance.now();
      for await (const _ of leader.sendStream('echo', until(start + seconds * 1_000, MESSAGE))) replies += 1;
      return replies / elapsed(start);
    },
    /** Bytes per second that the handler of the leader read. */
    streamChunks: async ({ seconds }: { seconds: number }) => {
      const start = performance.now();
      const counted = await only(leader.sendStream<number>('count', until(start + seconds * 1_000, CHUNK)));
      return counted / elapsed(start);
    },
    /** Sends this number of bytes to a slow reader. */
    streamSlowly: async ({ bytes }: { bytes: number }) => {
      const start = performance.now();
      const chunks = Array.from({ length: Math.ceil(bytes / CHUNK_BYTES) }, () => CHUNK);
      const counted = await only(leader.sendStream<number>('count-slowly', chunks));
      return counted / elapsed(start);
    },
  };
}

function* until<T>(end: number, value: T): Generator<T> {
  while (performance.now() < end) yield value;
}

function elapsed(start: number): number {
  return (performance.now() - start) / 1_000;
}

async function only<T>(replies: AsyncIterable<T>): Promise<T> {
  for await (const reply of replies) return reply;
  throw new Error('the handler did not reply');
}
