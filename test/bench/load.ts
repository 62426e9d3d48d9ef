import { roundOf, type Round } from './statistics.js';

export interface LoadShape {
  readonly concurrency: number;
  readonly seconds: number;
}

/** The message and value of the benchmark: 100 bytes of text. */
export const MESSAGE = 'm'.repeat(100);

/** The large message of a stream. */
export const CHUNK_BYTES = 64 * 1024;

/** A closed loop: each of `concurrency` callers makes its next call after the answer to the previous one. */
export async function runLoad(operation: () => Promise<unknown>, { concurrency, seconds }: LoadShape): Promise<Round> {
  const latencies: number[] = [];
  const start = performance.now();
  const end = start + seconds * 1_000;
  const caller = async (): Promise<void> => {
    for (let before = performance.now(); before < end;) {
      await operation();
      const after = performance.now();
      latencies.push(after - before);
      before = after;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, caller));
  return roundOf(latencies, (performance.now() - start) / 1_000);
}

/** The same for a blocking operation, with one caller. */
export function runBlockingLoad(operation: () => void, seconds: number): Round {
  const latencies: number[] = [];
  const start = performance.now();
  const end = start + seconds * 1_000;
  for (let before = start; before < end;) {
    operation();
    const after = performance.now();
    latencies.push(after - before);
    before = after;
  }
  return roundOf(latencies, (performance.now() - start) / 1_000);
}
