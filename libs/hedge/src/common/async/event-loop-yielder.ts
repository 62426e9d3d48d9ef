import { setImmediate } from 'node:timers/promises';

/** The longest time in which a loop may block the event loop, which leases and messages need too. */
const MAX_BLOCK_MS = 2;

/** Yields to the event loop from time to time, in a loop whose promises may all be resolved already. */
export class EventLoopYielder {
  #since = performance.now();

  /** Await the result when it is defined. */
  next(): Promise<void> | undefined {
    return performance.now() - this.#since < MAX_BLOCK_MS ? undefined : this.#yield();
  }

  async #yield(): Promise<void> {
    await setImmediate();
    this.#since = performance.now();
  }
}
