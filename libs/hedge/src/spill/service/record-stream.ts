import { Readable } from 'node:stream';
import { HedgeError } from '../../common/errors.js';
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
  /** As a Readable: the next views are under way. */
  #loading = false;
  /** Calls of the iterator that had to wait, and have not ended. */
  #calls = 0;
  /** The last of them; they run one after the other. */
  #tail: Promise<unknown> = Promise.resolve();
  /** The iterator has given all, or its loop was left. */
  #ended = false;

  constructor(views: AsyncGenerator<RecordViews, void>) {
    super({ objectMode: true, highWaterMark: 256 });
    this.#views = views;
  }

  override _read(): void {
    while (this.#current !== undefined && this.#at < this.#current.count) {
      if (!this.push(this.#take(this.#current).value)) return;
    }
    // Whoever heard of a record may have asked for the next ones already.
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
        if (this.#calls === 0 && views !== undefined && this.#at < views.count) {
          return Promise.resolve(this.#take(views));
        }
        return this.#inTurn();
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

  #take(views: RecordViews): IteratorResult<Buffer, undefined> {
    const value = views.at(this.#at);
    this.#at += 1;
    return { done: false, value };
  }

  /** Each record goes to one call, in the order of the calls. */
  #inTurn(): Promise<IteratorResult<Buffer, undefined>> {
    this.#calls += 1;
    const turn = this.#tail.then(() => this.#next());
    this.#tail = turn.catch(() => undefined);
    return turn;
  }

  async #next(): Promise<IteratorResult<Buffer, undefined>> {
    try {
      const here = this.#current !== undefined && this.#at < this.#current.count;
      const views = here ? this.#current : await this.#load();
      return views === undefined ? END : this.#take(views);
    } finally {
      // Before the caller hears of it: its next call is the fast one.
      this.#calls -= 1;
    }
  }

  async #load(): Promise<RecordViews | undefined> {
    if (this.#ended) return undefined;
    // Never like the end of the records.
    if (this.destroyed) throw this.errored ?? destroyedEarly();
    try {
      const { done, value } = await this.#views.next();
      this.#at = 0;
      this.#current = done === true ? undefined : value;
    } catch (error) {
      // The iterator throws it; nobody listens to the stream's own event.
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
    'Reading spilled data ended before its last record: the stream was destroyed. Read again from the record that is wanted next.',
  );
}
