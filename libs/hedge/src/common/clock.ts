import { outsideContext } from './async/async-context.js';

/**
 * A point in time by both clocks of this process, in milliseconds.
 *
 * `mono` never goes back, but stands still while the machine sleeps. `wall` counts sleep, but can be set to any value.
 * An instant is never compared with one of another process.
 */
export interface Instant {
  readonly mono: number;
  readonly wall: number;
}

/** The longest time that a timer of Node can wait, about 24 days, in milliseconds. A longer timer fires at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** Time and timers, injected so that tests and the simulation can run on a virtual clock. */
export interface Clock {
  now(): Instant;
  /**
   * Calls `run` once, after `ms` or `MAX_TIMER_MS`, whichever is shorter, and not before.
   * @param keepAlive whether the timer keeps the process alive, for a promise that a caller awaits. Default: false.
   * @returns a function that cancels the timer. Idempotent.
   */
  after(ms: number, run: () => void, keepAlive?: boolean): () => void;
}

/**
 * The longest time that can have passed between two instants. A holder judges its own lease by it (L2), so that neither
 * a sleeping machine nor a changed clock makes it trust the lease too long.
 */
export function longestElapsed(from: Instant, to: Instant): number {
  return Math.max(to.mono - from.mono, to.wall - from.wall);
}

/**
 * The shortest time that can have passed. A contender judges the lease of another by it (L1), so that a wall clock that
 * jumped ahead cannot make it take over early.
 */
export function shortestElapsed(from: Instant, to: Instant): number {
  return to.mono - from.mono;
}

/** The clocks of this process: the same in all its threads, which `performance.now()` is not. */
export const systemClock: Clock = {
  now() {
    const [seconds, nanoseconds] = process.hrtime();
    return { mono: seconds * 1e3 + nanoseconds / 1e6, wall: Date.now() };
  },
  after(ms, run, keepAlive = false) {
    const timer = outsideContext(() => setTimeout(run, Math.min(ms, MAX_TIMER_MS)));
    if (!keepAlive) timer.unref();
    return () => clearTimeout(timer);
  },
};
