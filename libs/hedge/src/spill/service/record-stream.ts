import { Readable } from 'node:stream';
import type { RecordViews } from '../records/record-views.js';

const END: IteratorResult<Buffer, undefined> = { done: true, value: undefined };

/**
 * Records one by one: a Readable in object mode, and an async iterable that does not go through the machinery of
 * streams, which would take several times as long. One of the two ways, once.
 */
export class RecordStream extends Readable {
  readonly #views: AsyncGenerator<RecordViews, void>;
  #current: RecordViews | undefined;
  #at = 0;
  #reading = false;

  constructor(views: AsyncGenerator<RecordViews, void>) {
    super({ objectMode: true, highWaterMark: 256 });
    this.#views = views;
  }

  override _read(): void {
    if (this.#reading) return;
    this.#reading = true;
    this.#push().then(
      () => (this.#reading = false),
      (error: unknown) => this.destroy(error as Error),
    );
  }

  override _destroy(reason: Error | null, destroyed: (reason?: Error | null) => void): void {
    const closed = (): void => destroyed(reason);
    this.#views.return().then(closed, closed);
  }

  override [Symbol.asyncIterator](): NodeJS.AsyncIterator<Buffer, undefined> {
    const iterator: NodeJS.AsyncIterator<Buffer, undefined> = {
      next: () => {
        const views = this.#current;
        return views !== undefined && this.#at < views.count ? Promise.resolve(this.#take(views)) : this.#next();
      },
      return: async () => {
        this.destroy();
        return END;
      },
      [Symbol.asyncIterator]: () => iterator,
      [Symbol.asyncDispose]: async () => void this.destroy(),
    };
    return iterator;
  }

  #take(views: RecordViews): IteratorResult<Buffer, undefined> {
    const value = views.at(this.#at);
    this.#at += 1;
    return { done: false, value };
  }

  async #next(): Promise<IteratorResult<Buffer, undefined>> {
    const views = await this.#load();
    return views === undefined ? END : this.#take(views);
  }

  async #load(): Promise<RecordViews | undefined> {
    if (this.destroyed) return undefined;
    try {
      const { done, value } = await this.#views.next();
      this.#at = 0;
      this.#current = done === true ? undefined : value;
    } catch (error) {
      // The iterator throws it; nobody listens to the stream's own event.
      this.destroy();
      throw error;
    }
    if (this.#current === undefined) this.destroy();
    return this.#current;
  }

  async #push(): Promise<void> {
    for (let wanted = true; wanted;) {
      if (this.#current === undefined || this.#at >= this.#current.count) {
        const { done, value } = await this.#views.next();
        if (done === true) {
          this.push(null);
          return;
        }
        [this.#current, this.#at] = [value, 0];
      }
      wanted = this.push(this.#take(this.#current).value);
    }
  }
}
