import { outsideContext } from './async/async-context.js';

/**
 * A point in time by both clocks of this process, in milliseconds.
 *
 * `mono` never goes back but stands still while the machine sleeps; `wall` counts sleep but can be set
 * to anything. Neither is ever compared with another process's.
 */
export interface Instant {
  readonly mono: number;
  readonly wall: number;
}

/** The longest that a timer of Node can wait, some 24 days, in milliseconds: one set for longer fires at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** Time and timers, injected so that tests and the simulation can run on a virtual clock. */
export interface Clock {
  now(): Instant;
  /**
   * Calls `run` once, not before `ms` have passed, of which `MAX_TIMER_MS` count at most. The returned function cancels; calling it again does nothing.
   * @param keepAlive whether the process is kept alive until then, for what somebody awaits. Default: false.
   */
  after(ms: number, run: () => void, keepAlive?: boolean): () => void;
}

/**
 * The longest that can have passed between two instants: a holder judges its own lease by this (L2),
 * so that neither a sleeping machine nor a clock that was set makes it believe too long.
 */
export function longestElapsed(from: Instant, to: Instant): number {
  return Math.max(to.mono - from.mono, to.wall - from.wall);
}

/**
 * The shortest that can have passed: a contender judges another's lease by this (L1), so that a
 * wall clock that jumped ahead cannot make it take over early.
 */
export function shortestElapsed(from: Instant, to: Instant): number {
  return to.mono - from.mono;
}

/** The process's own clocks. */
export const systemClock: Clock = {
  now: () => ({ mono: performance.now(), wall: Date.now() }),
  after(ms, run, keepAlive = false) {
    const timer = outsideContext(() => setTimeout(run, Math.min(ms, MAX_TIMER_MS)));
    if (!keepAlive) timer.unref();
    return () => clearTimeout(timer);
  },
};
