import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Round } from './statistics.js';

/** Sampling interval of the event loop. A reported delay includes this interval. */
const RESOLUTION_MS = 1;

/** Measures the durations of works, one after another, and the delays of the event loop meanwhile. */
export class LoopWatch {
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  #operations = 0;
  #seconds = 0;

  get seconds(): number {
    return this.#seconds;
  }

  /** @param work resolves with the number of its operations */
  async time(work: () => Promise<number>): Promise<void> {
    this.#delay.enable();
    const start = performance.now();
    this.#operations += await work();
    this.#seconds += (performance.now() - start) / 1_000;
    this.#delay.disable();
  }

  /** The latencies of the round are the delays of the event loop. */
  round(): Round {
    const [p50Ms, p99Ms] = [50, 99].map((share) => this.#delay.percentile(share) / 1e6) as [number, number];
    return { operations: this.#operations, opsPerSecond: this.#operations / this.#seconds, p50Ms, p99Ms };
  }
}
