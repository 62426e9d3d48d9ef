import { Readable } from 'node:stream';
import { HedgeError } from '../../common/errors.js';
import type { RecordViews } from '../records/record-views.js';

const END: IteratorResult<Buffer, undefined> = { done: true, value: undefined };

/**
 * Records one by one: a Readable in object mode, and an async iterable that bypasses the code of Node's streams, which
 * is several times slower. Use it in one of these ways, once.
 */
export class RecordStream extends Readable {
  readonly #views: AsyncGenerator<RecordViews, void>;
  #current: RecordViews | undefined;
  #at = 0;
  /** The Readable is loading the next views. */
  #loading = false;
  /** Pending calls of the iterator that had to wait. */
  #pendingCalls = 0;
  /** The last of these calls; they run one after the other. */
  #tail: Promise<unknown> = Promise.resolve();
  /** The iterator has returned all records, or its loop was left. */
  #ended = false;

  constructor(views: AsyncGenerator<RecordViews, void>) {
    super({ objectMode: true, highWaterMark: 256 });
    this.#views = views;
  }

  override _read(): void {
    while (this.#current !== undefined && this.#at < this.#current.count) {
      if (!this.push(this.#nextOf(this.#current).value)) return;
    }
    // A listener of `push` may have called this method again already.
    if (this.#loading) return;
    this.#loading = true;
    this.#views
      .next()
      .then(({ done, value }) => {
        this.#loading = false;
        if (done === true) {
          this.push(null);
          return;
        }
        [this.#current, this.#at] = [value, 0];
        this._read();
      })
      .catch((error: unknown) => this.destroy(error as Error));
  }

  override _destroy(reason: Error | null, destroyed: (reason?: Error | null) => void): void {
    const closed = (): void => destroyed(reason);
    this.#views.return().then(closed, closed);
  }

  override [Symbol.asyncIterator](): NodeJS.AsyncIterator<Buffer, undefined> {
    const iterator: NodeJS.AsyncIterator<Buffer, undefined> = {
      next: () => {
        const views = this.#current;
        if (this.#pendingCalls === 0 && views !== undefined && this.#at < views.count) {
          return Promise.resolve(this.#nextOf(views));
        }
        return this.#enqueue();
      },
      return: async () => {
        this.#end();
        return END;
      },
      [Symbol.asyncIterator]: () => iterator,
      [Symbol.asyncDispose]: async () => void (await iterator.return?.()),
    };
    return iterator;
  }

  #nextOf(views: RecordViews): IteratorResult<Buffer, undefined> {
    const value = views.at(this.#at);
    this.#at += 1;
    return { done: false, value };
  }

  /** Serves the calls one after the other, so that each gets the next record. */
  #enqueue(): Promise<IteratorResult<Buffer, undefined>> {
    this.#pendingCalls += 1;
    const next = this.#tail.then(() => this.#next());
    this.#tail = next.catch(() => undefined);
    return next;
  }

  async #next(): Promise<IteratorResult<Buffer, undefined>> {
    try {
      const here = this.#current !== undefined && this.#at < this.#current.count;
      const views = here ? this.#current : await this.#load();
      return views === undefined ? END : this.#nextOf(views);
    } finally {
      // Before the promise resolves, so that the next call of the caller does not wait.
      this.#pendingCalls -= 1;
    }
  }

  async #load(): Promise<RecordViews | undefined> {
    if (this.#ended) return undefined;
    // A destroyed stream must not look like the end of the records.
    if (this.destroyed) throw this.errored ?? destroyedEarly();
    try {
      const { done, value } = await this.#views.next();
      this.#at = 0;
      this.#current = done === true ? undefined : value;
    } catch (error) {
      // The iterator throws the error, so the stream emits none.
      this.#end();
      throw error;
    }
    if (this.#current === undefined) this.#end();
    return this.#current;
  }

  #end(): void {
    this.#ended = true;
    this.destroy();
  }
}

function destroyedEarly(): HedgeError {
  return new HedgeError(
    'CANCELLED',
    'Reading spilled data ended before its last record, because the stream was destroyed. Read again, from the next record on.',
  );
}
