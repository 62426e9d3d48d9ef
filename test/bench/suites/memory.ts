import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, type Pod } from '../cluster.js';
import { idleDemoPodBytes } from '../demo-pod.js';
import type { Plan } from '../options.js';
import type { Row } from '../statistics.js';

const CONCURRENCY = 64;
const MIB = 1024 * 1024;

export interface MemoryRow extends Row {
  /** Resident memory, or its growth. */
  readonly rssMiB: number;
}

/** Resident memory of an idle demo pod, and its growth by sends on a leader and on a sender. */
export async function memorySuite(plan: Plan): Promise<MemoryRow[]> {
  const idle = await idleDemoPodBytes();
  return Cluster.run(2, async (cluster) => {
    const { pod: leader } = await cluster.leader();
    const sender = await cluster.follower();
    const send = async (messages: number): Promise<number> => {
      const start = performance.now();
      await sender.ask('sendMany', { messages, concurrency: CONCURRENCY });
      return messages / ((performance.now() - start) / 1_000);
    };
    // Caches, pools and compiled code grow first. Only the growth after that counts.
    await send(plan.memoryMessages / 4);
    const before = [await memory(leader), await memory(sender)] as const;
    const opsPerSecond = await send(plan.memoryMessages);
    const after = [await memory(leader), await memory(sender)] as const;
    return [
      row('memory-idle', 0, 0, idle / MIB),
      row('memory-growth-leader', CONCURRENCY, opsPerSecond, (after[0] - before[0]) / MIB),
      row('memory-growth-sender', CONCURRENCY, opsPerSecond, (after[1] - before[1]) / MIB),
    ];
  });
}

/** The lowest of several samples, because garbage is collected from time to time. */
async function memory(pod: Pod): Promise<number> {
  let lowest = Infinity;
  for (let look = 0; look < 5; look += 1) {
    await sleep(500);
    lowest = Math.min(lowest, await pod.ask('memory'));
  }
  return lowest;
}

function row(name: string, concurrency: number, opsPerSecond: number, rssMiB: number): MemoryRow {
  return { name, concurrency, opsPerSecond, p50Ms: 0, p99Ms: 0, spread: 0, rssMiB };
}
