import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Round } from './statistics.js';

/** How often the event loop is looked at; a delay is told with this on top. */
const RESOLUTION_MS = 1;

/** Times pieces of work one after the other, and how long the event loop was held up meanwhile. */
export class LoopWatch {
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  #operations = 0;
  #seconds = 0;

  get seconds(): number {
    return this.#seconds;
  }

  /** @param work resolves with the number of operations it did */
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
