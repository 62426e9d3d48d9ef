/** Hands items from several producers to one consumer, in order; producers wait while many are not taken. */
export class BoundedQueue<T> {
  readonly #items: T[] = [];
  #consumer: ((item: T | undefined) => void) | undefined;
  #producers: (() => void)[] = [];
  #closed = false;

  /** @param capacity items that wait before producers do. */
  constructor(private readonly capacity: number) {}

  /** Resolves when the producer may go on. After `close` the item is dropped. */
  put(item: T): Promise<void> | undefined {
    if (this.#closed) return undefined;
    if (this.#consumer !== undefined) {
      this.#consumer(item);
      this.#consumer = undefined;
      return undefined;
    }
    this.#items.push(item);
    if (this.#items.length < this.capacity) return undefined;
    return new Promise((resolve) => void this.#producers.push(resolve));
  }

  /** The next item; undefined once it is closed and empty. One call at a time. */
  take(): Promise<T | undefined> {
    const item = this.#items.shift();
    if (item === undefined && !this.#closed) return new Promise((resolve) => (this.#consumer = resolve));
    if (this.#items.length < this.capacity) this.#release();
    return Promise.resolve(item);
  }

  /** No more is put. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#consumer?.(undefined);
    this.#consumer = undefined;
    this.#release();
  }

  #release(): void {
    for (const resolve of this.#producers.splice(0)) resolve();
  }
}
