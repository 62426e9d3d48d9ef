/**
 * Lets so many calls run at once, and the others wait in order: hundreds of locks that are taken or given back
 * together would else all start the time of their calls now, and let most of it pass in the database's own queue.
 */
export class ConcurrencyLimiter {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(limit: number) {
    this.#free = limit;
  }

  /** @param call hears whether it had to wait. */
  async run<Result>(call: (waited: boolean) => Promise<Result>): Promise<Result> {
    const waits = this.#free === 0;
    if (waits) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#free -= 1;
    try {
      return await call(waits);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}
