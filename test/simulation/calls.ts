import type { Machine, Thread } from './machine.js';
import type { Random } from './random.js';
import { LockWait } from './transactions.js';
import type { World } from './world.js';

/** The time between two looks at a lock. */
const LOCK_POLL_MS = 5;

export interface DatabaseFaults {
  /** The share of calls that fail before they take effect. */
  readonly failBefore: number;
  /** The share of calls that take effect and return a failure. */
  readonly failAfter: number;
  /** The share of calls that take effect late, up to several timeouts after their start. */
  readonly late: number;
  /** The share of calls that take effect in time, and answer late within the timeout. */
  readonly slow: number;
}

/** The outcome of a call, as its caller sees it. */
export type Outcome<Result> =
  | { readonly type: 'done'; readonly result: Result }
  /** The call has certainly not taken effect. */
  | { readonly type: 'not-done' }
  /** The call may have taken effect, or may do so later. */
  | { readonly type: 'unknown' };

/**
 * The connection from pods to the database, with its faults. A call takes effect at one instant between its
 * start and its answer, if it has one, possibly long after its caller has timed out or crashed.
 */
export class DatabaseConnection {
  readonly #cutOff = new Map<Machine, number>();
  readonly #slow = new Map<Machine, number>();
  #outageEnds = 0;
  faults: DatabaseFaults = { failBefore: 0, failAfter: 0, late: 0, slow: 0 };

  constructor(
    private readonly world: World,
    private readonly random: Random,
    private readonly timeoutMs: number,
  ) {}

  /** For that time no call arrives: half of the calls fail at once, the others hang. Some of these arrive when it ends. */
  fail(ms: number): void {
    this.#outageEnds = Math.max(this.#outageEnds, this.world.now + ms);
  }

  get outage(): boolean {
    return this.world.now < this.#outageEnds;
  }

  /** For that time a machine gets slow answers. */
  slowDown(machine: Machine, ms: number): void {
    this.#slow.set(machine, this.world.now + ms);
  }

  /** For that time a machine gets no answers; its calls are lost, or take effect when the time is over. */
  cutOff(machine: Machine, ms: number): void {
    this.#cutOff.set(machine, this.world.now + ms);
  }

  heal(): void {
    this.#outageEnds = 0;
    this.#cutOff.clear();
    this.#slow.clear();
    this.faults = { failBefore: 0, failAfter: 0, late: 0, slow: 0 };
  }

  /** @param done called with the outcome on the caller's thread, at the latest at the timeout. */
  call<Result>(thread: Thread, effect: () => Result, done: (outcome: Outcome<Result>) => void): void {
    const { random, world } = this;
    let open = true;
    const answer = (outcome: Outcome<Result>): void => {
      if (!open) return;
      open = false;
      cancel();
      done(outcome);
    };
    const cancel = thread.after(this.timeoutMs, () => answer({ type: 'unknown' }));
    const answerAfter = (ms: number, outcome: Outcome<Result>): void =>
      void world.after(ms, () => thread.deliver(() => answer(outcome)));
    // Its caller has no answer.
    const arriveLate = (time: number): void => {
      if (random.chance(0.5)) return;
      world.after(time - world.now + random.skewed(0.5, 500), () => this.#perform(effect, () => undefined));
    };
    if (this.outage) {
      world.count('database: call during outage');
      if (random.chance(0.5)) return answerAfter(random.between(1, 50), { type: 'not-done' });
      return arriveLate(this.#outageEnds);
    }
    const back = this.#cutOff.get(thread.machine) ?? 0;
    if (back > world.now) {
      world.count('database: call while cut off');
      return arriveLate(back);
    }
    if (random.chance(this.faults.failBefore)) {
      world.count('database: failed before effect');
      return answerAfter(random.between(1, 200), { type: 'not-done' });
    }
    const late = random.chance(this.faults.late);
    const lost = !late && random.chance(this.faults.failAfter);
    if (late) world.count('database: late effect');
    if (lost) world.count('database: failed after effect');
    const slow = !late && (random.chance(this.faults.slow) || (this.#slow.get(thread.machine) ?? 0) > world.now);
    if (slow) world.count('database: slow answer');
    const toEffect = late ? random.skewed(0.3, 6) * this.timeoutMs : random.skewed(0.5, 40);
    const toAnswer = slow ? random.between(0.2, 0.9) * this.timeoutMs : random.skewed(0.5, 20);
    world.after(toEffect, () =>
      this.#perform(effect, (outcome) => answerAfter(toAnswer, lost ? { type: 'unknown' } : outcome)),
    );
  }

  /** The effect happens when no open transaction has a lock that it needs, or fails when that takes too long. */
  #perform<Result>(effect: () => Result, then: (outcome: Outcome<Result>) => void, waitedMs = 0): void {
    let result: Result;
    try {
      result = effect();
    } catch (error) {
      if (!(error instanceof LockWait)) throw error;
      this.world.count(waitedMs === 0 ? 'database: waits for a lock' : 'database: still waits for a lock');
      if (waitedMs < error.timeoutMs) {
        return void this.world.after(LOCK_POLL_MS, () => this.#perform(effect, then, waitedMs + LOCK_POLL_MS));
      }
      this.world.count('database: lock timeout');
      return then({ type: 'not-done' });
    }
    then({ type: 'done', result });
  }
}
