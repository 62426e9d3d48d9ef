import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, type Pod } from '../cluster.js';
import type { Plan } from '../options.js';
import type { Row } from '../statistics.js';

const CONCURRENCY = 64;
const MIB = 1024 * 1024;

export interface MemoryRow extends Row {
  /** Resident memory of the leader's process, after a garbage collection where it is a growth. */
  readonly rssMiB: number;
}

/** Resident memory of a pod that does nothing, and how much the leader's grows by sends. */
export function memorySuite(plan: Plan): Promise<MemoryRow[]> {
  return Cluster.run(2, async (cluster) => {
    const { pod: leader } = await cluster.leader();
    const follower = await cluster.follower();
    await sleep(2_000);
    const idle = await leader.ask('memory');
    const send = async (messages: number): Promise<number> => {
      const start = performance.now();
      await follower.ask('sendMany', { messages, concurrency: CONCURRENCY });
      return messages / ((performance.now() - start) / 1_000);
    };
    // Caches, pools and compiled code fill up first; what counts is what comes after.
    await send(plan.memoryMessages / 5);
    const before = await memory(leader);
    const opsPerSecond = await send(plan.memoryMessages);
    const after = await memory(leader);
    return [
      row('memory-idle', 0, 0, idle / MIB),
      row('memory-growth', CONCURRENCY, opsPerSecond, (after - before) / MIB),
    ];
  });
}

/** After what can be freed was freed: the lowest of some looks. */
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
