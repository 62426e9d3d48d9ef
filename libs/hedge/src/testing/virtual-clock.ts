import type { Clock, Instant } from '../common/clock.js';

interface Timer {
  readonly due: number;
  readonly run: () => void;
}

/**
 * A clock that a test advances. Tests of timeouts and leases need no real time and run in the same order every time.
 *
 * @example
 * const clock = new VirtualClock();
 * clock.after(100, () => console.log('fires'));
 * clock.advance(99); // nothing
 * clock.advance(1); // fires
 * clock.jumpWall(-3_600_000); // sets the wall clock back by an hour: timers are unaffected
 */
export class VirtualClock implements Clock {
  #mono = 0;
  #wall: number;
  readonly #timers = new Set<Timer>();

  /** @param wall the initial time of the wall clock, in milliseconds since 1970. */
  constructor(wall = Date.UTC(2026, 0, 1)) {
    this.#wall = wall;
  }

  now(): Instant {
    return { mono: this.#mono, wall: this.#wall };
  }

  after(ms: number, run: () => void): () => void {
    const timer: Timer = { due: this.#mono + Math.max(0, ms), run };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  /** Milliseconds until the first timer fires. Undefined when no timer is set. */
  nextTimerMs(): number | undefined {
    const timer = this.#first();
    return timer === undefined ? undefined : timer.due - this.#mono;
  }

  /**
   * Advances both clocks by `ms`. Due timers fire in the order of their due times, then of their creation, each at its
   * due time, also those that another timer sets.
   */
  advance(ms: number): void {
    const end = this.#mono + ms;
    while (this.#ringNext(end));
    this.#moveTo(end);
  }

  /** Advances as `advance` does, and settles promises and I/O callbacks before, between and after the timers. */
  async advanceAsync(ms: number): Promise<void> {
    const end = this.#mono + ms;
    do await settle();
    while (this.#ringNext(end));
    this.#moveTo(end);
    await settle();
  }

  /**
   * Sets the wall clock ahead, or back when negative. It also simulates a machine that slept: the wall clock moves, the
   * monotonic clock and the timers do not.
   */
  jumpWall(ms: number): void {
    this.#wall += ms;
  }

  /**
   * Advances both clocks by `ms` while no timer fires, as when the event loop is blocked. Due timers fire late, at the
   * next advance.
   */
  block(ms: number): void {
    this.#mono += ms;
    this.#wall += ms;
  }

  #ringNext(end: number): boolean {
    const timer = this.#first();
    if (timer === undefined || timer.due > end) return false;
    this.#timers.delete(timer);
    this.#moveTo(timer.due);
    timer.run();
    return true;
  }

  #first(): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of this.#timers) if (first === undefined || timer.due < first.due) first = timer;
    return first;
  }

  #moveTo(mono: number): void {
    const passed = Math.max(0, mono - this.#mono);
    this.#mono += passed;
    this.#wall += passed;
  }
}

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
