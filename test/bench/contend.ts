import type { Semaphore } from 'nestjs-hedge';
import type { LoadShape } from './load.js';
import { roundOf, type Round } from './statistics.js';

export interface Contention {
  /** The waiting times of callers for their permits. */
  readonly waits: Round;
  /** The hand-over times of a permit from one caller to the next. */
  readonly handOvers: Round;
  /** The highest number of grants to others while one caller waited, divided by the number of callers. */
  readonly longestTurn: number;
}

/** Callers that acquire the only permit of a semaphore again and again, and release it at once. */
export async function contend(semaphore: Semaphore, { concurrency, seconds }: LoadShape): Promise<Contention> {
  const waits: number[] = [];
  const handOvers: number[] = [];
  const start = performance.now();
  const end = start + seconds * 1_000;
  let releasedAt: number | undefined;
  let served = 0;
  let longest = 0;
  const caller = async (): Promise<void> => {
    for (let before = performance.now(); before < end; before = performance.now()) {
      const servedBefore = served;
      const permit = await semaphore.acquire();
      const now = performance.now();
      served += 1;
      longest = Math.max(longest, served - servedBefore);
      waits.push(now - before);
      if (releasedAt !== undefined) handOvers.push(now - releasedAt);
      releasedAt = now;
      // Its place in the queue is behind all waiting callers, although the release is not answered yet.
      void permit.release();
    }
  };
  await Promise.all(Array.from({ length: concurrency }, caller));
  const took = (performance.now() - start) / 1_000;
  return { waits: roundOf(waits, took), handOvers: roundOf(handOvers, took), longestTurn: longest / concurrency };
}
