import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, type Pod } from '../cluster.js';
import { compete, type Contestant } from '../compete.js';
import { withRawStreams } from '../floors.js';
import { CHUNK_BYTES } from '../load.js';
import type { Plan } from '../options.js';
import type { Round, Row } from '../statistics.js';

const MIB = 1024 * 1024;
const LOOK_MS = 100;

export interface StreamRow extends Row {
  /** Megabytes per second, with large messages. */
  readonly mbPerSecond?: number;
  /** The highest growth of the resident memory during a stream of 1 GB. */
  readonly rssMiB?: number;
}

/** Streams from a follower to a decorated handler on the leader, compared with raw streams, and the memory for a slow reader. */
export function streamSuite(plan: Plan): Promise<StreamRow[]> {
  return withRawStreams((bare) =>
    Cluster.run(2, async (cluster) => {
      const { pod: leader } = await cluster.leader();
      const follower = await cluster.follower();
      const contestants: Contestant[] = [
        {
          name: 'bare-grpc-chunks',
          concurrency: 1,
          run: async (shape) => chunks(await bare.ask('streamChunks', shape)),
        },
        {
          name: 'stream-chunks',
          concurrency: 1,
          run: async (shape) => chunks(await follower.ask('streamChunks', shape)),
        },
        {
          name: 'bare-grpc-messages',
          concurrency: 1,
          run: async (shape) => round(await bare.ask('streamMessages', shape)),
        },
        {
          name: 'stream-messages',
          concurrency: 1,
          run: async (shape) => round(await follower.ask('streamMessages', shape)),
        },
      ];
      const rows = await compete(contestants, plan);
      return [...rows.map(withMegabytes), ...(await slowReader(plan, follower, leader))];
    }),
  );
}

function round(opsPerSecond: number): Round {
  return { operations: opsPerSecond, opsPerSecond, p50Ms: 0, p99Ms: 0 };
}

function chunks(bytesPerSecond: number): Round {
  return round(bytesPerSecond / CHUNK_BYTES);
}

function withMegabytes(row: Row): StreamRow {
  return row.name.endsWith('-chunks') ? { ...row, mbPerSecond: (row.opsPerSecond * CHUNK_BYTES) / 1e6 } : row;
}

/** Resident memory of both ends during a stream of 1 GB, minus its value after the first tenth. */
async function slowReader(plan: Plan, sender: Pod, reader: Pod): Promise<StreamRow[]> {
  const bytes = plan.streamedBytes;
  await sender.ask('streamSlowly', { bytes: bytes / 10 });
  const before = await Promise.all([sender.ask('memory'), reader.ask('memory')]);
  const peak = [...before];
  const flowing = sender.ask('streamSlowly', { bytes });
  const over = flowing.then(() => true);
  while (!(await Promise.race([over, sleep(LOOK_MS, false)]))) {
    const now = await Promise.all([sender.ask('memory'), reader.ask('memory')]);
    for (const [end, rss] of now.entries()) peak[end] = Math.max(peak[end] ?? 0, rss);
  }
  const rate = (await flowing) / CHUNK_BYTES;
  return ['stream-memory-sender', 'stream-memory-reader'].map((name, end) =>
    withGrowth({ name, concurrency: 1, opsPerSecond: rate, p50Ms: 0, p99Ms: 0, spread: 0 }, peak[end]! - before[end]!),
  );
}

function withGrowth(row: Row, bytes: number): StreamRow {
  return { ...row, rssMiB: bytes / MIB };
}
