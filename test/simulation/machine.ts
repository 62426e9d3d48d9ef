import type { Instant } from '../../libs/hedge/src/common/clock.js';
import type { World } from './world.js';

/** How fast a machine's clocks run against true time, 1 for exactly. */
export interface ClockRates {
  readonly mono: number;
  readonly wall: number;
}

/** A thread that gets answers, and has timers. */
export interface Thread {
  readonly machine: Machine;
  /** Runs an event on this thread: now, or when it runs again. */
  deliver(run: () => void): void;
  /** Timers follow the monotonic clock. The returned function cancels. */
  after(ms: number, run: () => void): () => void;
}

/**
 * One machine: its clocks, and whether it stands still. Events of a machine that stands still wait
 * until it resumes.
 *
 * Two ways of standing still: paused (SIGSTOP, a long collection), where both clocks run on, and asleep,
 * where the monotonic clock stands still as well.
 */
export class Machine implements Thread {
  readonly machine = this;
  #wallOffset = 0;
  #misreadMs = 0;
  #slept = 0;
  #asleepSince: number | undefined;
  #frozen = false;
  #thawedAt = 0;
  #freezes = 0;
  readonly #backlog: (() => void)[] = [];

  constructor(
    readonly address: string,
    private readonly world: World,
    private readonly rates: ClockRates,
  ) {}

  get frozen(): boolean {
    return this.#frozen;
  }

  /** Whether it has not stood still since then. */
  ranSince(time: number): boolean {
    return !this.#frozen && this.#thawedAt <= time;
  }

  now(): Instant {
    const awake = (this.#asleepSince ?? this.world.now) - this.#slept;
    // Away from zero, as the clocks of a machine that was not just started.
    const wall = 1.7e12 + this.world.now * this.rates.wall + this.#wallOffset + this.#misreadMs;
    this.#misreadMs = 0;
    return { mono: 1e6 + awake * this.rates.mono, wall };
  }

  /** The wall clock is set ahead, and set back after the next reading. */
  misreadWall(ms: number): void {
    this.#misreadMs = ms;
  }

  jumpWall(ms: number): void {
    this.#wallOffset += ms;
  }

  /** Runs an event on this machine: now, or when it resumes. */
  deliver(run: () => void): void {
    if (this.#frozen) this.#backlog.push(run);
    else run();
  }

  /** Timers follow the monotonic clock. The returned function cancels. */
  after(ms: number, run: () => void): () => void {
    let cancelled = false;
    const due = this.now().mono + ms;
    const wait = (left: number): (() => void) => this.world.after(left / this.rates.mono, () => this.deliver(ring));
    const ring = (): void => {
      if (cancelled) return;
      const left = due - this.now().mono;
      if (left > 1e-6) cancelWait = wait(left);
      else run();
    };
    let cancelWait = wait(Math.max(0, ms));
    return () => {
      cancelled = true;
      cancelWait();
    };
  }

  /** Stands still for that time, unless it does so already. */
  freeze(ms: number, asleep: boolean): void {
    if (this.#frozen) return;
    this.#frozen = true;
    if (asleep) this.#asleepSince = this.world.now;
    this.#freezes += 1;
    const freeze = this.#freezes;
    this.world.after(ms, () => {
      if (freeze === this.#freezes) this.thaw();
    });
  }

  /** Resumes. */
  thaw(): void {
    if (!this.#frozen) return;
    if (this.#asleepSince !== undefined) this.#slept += this.world.now - this.#asleepSince;
    this.#asleepSince = undefined;
    this.#frozen = false;
    this.#thawedAt = this.world.now;
    // Events that these cause run after them, not between them.
    for (const run of this.#backlog.splice(0)) run();
  }
}

/** The main thread of a process. Its event loop can be blocked while the other threads of its machine run. */
export class MainThread implements Thread {
  #blocks = 0;
  #blocked = false;
  readonly #backlog: (() => void)[] = [];

  constructor(
    readonly machine: Machine,
    private readonly world: World,
  ) {}

  get blocked(): boolean {
    return this.#blocked;
  }

  deliver(run: () => void): void {
    this.machine.deliver(() => {
      if (this.#blocked) this.#backlog.push(run);
      else run();
    });
  }

  after(ms: number, run: () => void): () => void {
    let cancelled = false;
    const cancel = this.machine.after(ms, () =>
      this.deliver(() => {
        if (!cancelled) run();
      }),
    );
    return () => {
      cancelled = true;
      cancel();
    };
  }

  /** Blocks the event loop for that time, unless it is blocked already. */
  block(ms: number): void {
    if (this.#blocked) return;
    this.#blocked = true;
    this.#blocks += 1;
    const block = this.#blocks;
    this.world.after(ms, () => {
      if (block === this.#blocks) this.unblock();
    });
  }

  unblock(): void {
    this.machine.deliver(() => {
      this.#blocked = false;
      for (const run of this.#backlog.splice(0)) run();
    });
  }
}
