/**
 * Bounds the number of calls that run at once; the others wait in order. Without it, hundreds of locks that are acquired
 * or released together would start all their deadlines at once and spend most of that time in the queue of the database.
 */
export class ConcurrencyLimiter {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(limit: number) {
    this.#free = limit;
  }

  /** @param call receives whether it had to wait. */
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
