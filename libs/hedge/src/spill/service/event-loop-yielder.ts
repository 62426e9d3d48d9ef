import { setImmediate } from 'node:timers/promises';

/** How long code that never waits may keep the event loop: leases and messages need it too. */
const TURN_MS = 2;

/** Gives the event loop its turn, now and then, in loops whose promises are always resolved already. */
export class EventLoopYielder {
  #since = performance.now();

  /** To be awaited when defined. */
  next(): Promise<void> | undefined {
    return performance.now() - this.#since < TURN_MS ? undefined : this.#yield();
  }

  async #yield(): Promise<void> {
    await setImmediate();
    this.#since = performance.now();
  }
}
