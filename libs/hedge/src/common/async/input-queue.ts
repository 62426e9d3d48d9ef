/**
 * Gives a pure core its inputs one at a time: what comes while one is taken, as from an effect that is performed, waits
 * until that one is done. So a core never sees an input in the middle of its own effects.
 *
 * @example
 * const inputs = new InputQueue<Input>((input) => core.step(input, clock.now()).forEach(perform));
 * inputs.push({ type: 'tick' });
 */
export class InputQueue<Input> {
  readonly #waiting: Input[] = [];
  #taking = false;

  constructor(private readonly take: (input: Input) => void) {}

  /** @returns whether everything is taken now; false for one that waits, whose turn is the outer call's to end. */
  push(input: Input): boolean {
    this.#waiting.push(input);
    if (this.#taking) return false;
    this.#taking = true;
    try {
      for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) this.take(next);
    } finally {
      this.#taking = false;
    }
    return true;
  }
}
