/**
 * Passes inputs to a pure core one at a time. An input that arrives while another is handled, for example from one of
 * its effects, waits for its end. So a core never receives an input in the middle of its own effects.
 *
 * @example
 * const inputs = new InputQueue<Input>((input) => core.step(input, clock.now()).forEach(perform));
 * inputs.push({ type: 'tick' });
 */
export class InputQueue<Input> {
  readonly #waiting: Input[] = [];
  #handling = false;

  constructor(private readonly handle: (input: Input) => void) {}

  /** @returns true when the queue is empty again; false when an outer call of `push` will handle this input. */
  push(input: Input): boolean {
    this.#waiting.push(input);
    if (this.#handling) return false;
    this.#handling = true;
    try {
      for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) this.handle(next);
    } finally {
      this.#handling = false;
    }
    return true;
  }
}
