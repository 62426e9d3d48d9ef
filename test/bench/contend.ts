import type { Semaphore } from 'nestjs-hedge';
import type { LoadShape } from './load.js';
import { roundOf, type Round } from './statistics.js';

export interface Contention {
  /** How long callers waited for their permits. */
  readonly waits: Round;
  /** How long a permit was on its way from one to the next. */
  readonly handOvers: Round;
  /** The most that were served while one waited, over how many there are. */
  readonly longestTurn: number;
}

/** Callers that want the one permit of a semaphore all the time, and give it back as soon as they have it. */
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
      // Its place in the queue is behind all who wait, though the release is not answered yet.
      void permit.release();
    }
  };
  await Promise.all(Array.from({ length: concurrency }, caller));
  const took = (performance.now() - start) / 1_000;
  return { waits: roundOf(waits, took), handOvers: roundOf(handOvers, took), longestTurn: longest / concurrency };
}
