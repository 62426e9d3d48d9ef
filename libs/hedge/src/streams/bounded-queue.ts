/** A queue from several producers to one consumer. Producers wait while it is full. */
export class BoundedQueue<T> {
  readonly #items: T[] = [];
  #consumer: ((item: T | undefined) => void) | undefined;
  #producers: (() => void)[] = [];
  #closed = false;

  /** @param capacity the number of queued items at which producers wait. */
  constructor(private readonly capacity: number) {}

  /** Resolves when the producer may continue; undefined when it may at once. After `close` the item is dropped. */
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

  /** The next item; undefined when the queue is closed and empty. One call at a time. */
  take(): Promise<T | undefined> {
    const item = this.#items.shift();
    if (item === undefined && !this.#closed) return new Promise((resolve) => (this.#consumer = resolve));
    if (this.#items.length < this.capacity) this.#release();
    return Promise.resolve(item);
  }

  /** Accepts no more items. Idempotent. */
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
