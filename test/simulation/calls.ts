import type { Machine } from './machine.js';
import type { Random } from './random.js';
import type { World } from './world.js';

export interface DatabaseFaults {
  /** Share of calls that fail before they did anything. */
  readonly failBefore: number;
  /** Share of calls that did what they should and look failed. */
  readonly failAfter: number;
  /** Share of calls that have their effect late, up to several time limits after their start. */
  readonly late: number;
  /** Share of calls that have their effect in time, and answer late within the limit. */
  readonly slow: number;
}

/** What became of a call, as its caller can tell. */
export type Outcome<Result> =
  | { readonly type: 'done'; readonly result: Result }
  /** It surely had no effect. */
  | { readonly type: 'not-done' }
  /** It may have had its effect, or may have it later. */
  | { readonly type: 'unknown' };

/**
 * The way from pods to the database, with its faults. A call has its effect at one instant between its
 * start and its answer, if it has one, and possibly long after its caller gave it up or crashed.
 */
export class DatabaseConnection {
  /** While true nothing gets through; half of the calls then say so, half hang. */
  outage = false;
  readonly #cutOff = new Map<Machine, number>();
  faults: DatabaseFaults = { failBefore: 0, failAfter: 0, late: 0, slow: 0 };

  constructor(
    private readonly world: World,
    private readonly random: Random,
    private readonly timeoutMs: number,
  ) {}

  /** For that time a machine gets no answers; what it sends is lost, or has its effect when it is over. */
  cutOff(machine: Machine, ms: number): void {
    this.#cutOff.set(machine, this.world.now + ms);
  }

  heal(): void {
    this.outage = false;
    this.#cutOff.clear();
    this.faults = { failBefore: 0, failAfter: 0, late: 0, slow: 0 };
  }

  /** @param done hears the outcome on the caller's machine, at the latest when the time limit is over. */
  call<Result>(machine: Machine, effect: () => Result, done: (outcome: Outcome<Result>) => void): void {
    const { random, world } = this;
    let open = true;
    const answer = (outcome: Outcome<Result>): void => {
      if (!open) return;
      open = false;
      cancel();
      done(outcome);
    };
    const cancel = machine.after(this.timeoutMs, () => answer({ type: 'unknown' }));
    const answerAfter = (ms: number, outcome: Outcome<Result>): void =>
      world.after(ms, () => machine.deliver(() => answer(outcome)));
    if (this.outage) {
      world.count('database: call during outage');
      if (random.chance(0.5)) answerAfter(random.between(1, 50), { type: 'not-done' });
      return;
    }
    const back = this.#cutOff.get(machine) ?? 0;
    if (back > world.now) {
      world.count('database: call while cut off');
      if (random.chance(0.5)) world.after(back - world.now + random.skewed(0.5, 500), effect);
      return;
    }
    if (random.chance(this.faults.failBefore)) {
      world.count('database: failed before effect');
      return answerAfter(random.between(1, 200), { type: 'not-done' });
    }
    const late = random.chance(this.faults.late);
    const lost = !late && random.chance(this.faults.failAfter);
    if (late) world.count('database: late effect');
    if (lost) world.count('database: failed after effect');
    const slow = !late && random.chance(this.faults.slow);
    if (slow) world.count('database: slow answer');
    const toEffect = late ? random.skewed(0.3, 6) * this.timeoutMs : random.skewed(0.5, 40);
    const toAnswer = slow ? random.between(0.2, 0.9) * this.timeoutMs : random.skewed(0.5, 20);
    world.after(toEffect, () => {
      const result = effect();
      if (lost) answerAfter(toAnswer, { type: 'unknown' });
      else answerAfter(toAnswer, { type: 'done', result });
    });
  }
}
