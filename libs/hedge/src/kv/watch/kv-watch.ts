import { onAbort } from '../../common/async/on-abort.js';
import { HedgeError } from '../../common/errors.js';
import type { LogPlace } from '../../database/log-table.js';
import { toKvEntry, type KvEntry } from '../kv-entry.js';
import type { OpenWatch, WatchHub } from './watch-hub.runner.js';
import type { WatchScope } from './watch-notices.core.js';
import { WatchReader } from './watch-reader.core.js';

export interface KvWatchInit {
  readonly hub: WatchHub;
  readonly scope: WatchScope;
  /** The place behind which the watch begins. */
  readonly start: Promise<LogPlace>;
  /** Length of the prefix of all stored keys. */
  readonly prefixLength: number;
  /** For errors: `watch "orders/"`. */
  readonly name: string;
  readonly signal: AbortSignal | undefined;
}

interface Waiter {
  resolve(result: IteratorResult<KvEntry, undefined>): void;
  reject(error: HedgeError): void;
}

/**
 * The versions of some keys in the order of their commits, as they are written. An entry with `deleted: true` is a deletion.
 *
 * - **Nothing is missed and nothing doubled, and the order is that of the commits (W1)**, on every pod, also after a change
 *   of the leader, a lost link or an outage of the database. An outage only delays entries.
 * - A slow reader costs the memory of at most 100 entries. What it has not read stays in the log.
 * - A value that was overwritten (`append: false`) before it was read is not seen: the log does not have it any more.
 *
 * It ends with `return()`, as a `for await` does when it is left. `next()` fails with CANCELLED when the signal aborts, and
 * with SHUTTING_DOWN when the pod stops, and with INVALID_ARGUMENT when the database refuses its reads for good.
 *
 * With `kv.retention` it fails with COMPACTED when versions were deleted that it had not read: `from` is too old, or the reader
 * is too slow, or the database did not answer for ten minutes. There is no gap without this error. `details.from` is the oldest place from
 * which all versions are left.
 */
export class KvWatch implements AsyncIterableIterator<KvEntry, undefined> {
  /**
   * Resolves when the watch has begun: it shows each version that is written after this. Rejects with BACKEND_UNAVAILABLE
   * when the database does not answer; then the watch has ended.
   */
  readonly ready: Promise<void>;
  readonly #init: KvWatchInit;
  readonly #stopListening: () => void;
  readonly #waiters: Waiter[] = [];
  readonly #whenEnded = new Set<() => void>();
  #open: OpenWatch | undefined;
  #ended = false;
  #error: HedgeError | undefined;

  constructor(init: KvWatchInit) {
    this.#init = init;
    const { signal, start } = init;
    this.ready = start.then(
      (after) => this.#begin(after),
      (error: HedgeError) => {
        this.#fail(error);
        throw error;
      },
    );
    // `next()` reports the same error.
    this.ready.catch(() => undefined);
    this.#stopListening = signal === undefined ? () => undefined : onAbort(signal, () => this.#fail(this.#cancelled()));
    if (signal?.aborted === true) this.#fail(this.#cancelled());
  }

  /** Milliseconds since it was certain that all versions were read; undefined before that. */
  get ageMs(): number | undefined {
    return this.#open?.ageMs();
  }

  /**
   * Resolves when the watch has yielded all versions that were written before this call. The reader must go on reading.
   * @throws HedgeError of `ready`; CANCELLED when the watch ends before
   */
  async caughtUp(): Promise<void> {
    await this.ready;
    const { name } = this.#init;
    await new Promise<void>((resolve, reject) => {
      const ended = (): void => reject(new HedgeError('CANCELLED', `${name} ended before it had caught up.`));
      if (this.#ended) return ended();
      this.#whenEnded.add(ended);
      this.#open?.whenCaughtUp(() => {
        this.#whenEnded.delete(ended);
        resolve();
      });
    });
  }

  next(): Promise<IteratorResult<KvEntry, undefined>> {
    const error = this.#error;
    this.#error = undefined;
    if (error !== undefined) return Promise.reject(error);
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      if (this.#waiters.length === 1) this.#open?.want();
    });
  }

  return(): Promise<IteratorResult<KvEntry, undefined>> {
    this.#end();
    for (const { resolve } of this.#waiters.splice(0)) resolve({ done: true, value: undefined });
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #begin(after: LogPlace): void {
    if (this.#ended) return;
    const { hub, scope, prefixLength, name } = this.#init;
    const open = hub.open(
      scope,
      new WatchReader(after),
      (entry) => {
        const waiter = this.#waiters.shift();
        waiter?.resolve({ done: false, value: toKvEntry({ ...entry, key: entry.key.slice(prefixLength) }) });
        if (this.#waiters.length > 0) open.want();
      },
      (error = new HedgeError('SHUTTING_DOWN', `${name} ended, because this pod is stopping.`)) => this.#fail(error),
    );
    this.#open = open;
    if (this.#waiters.length > 0) open.want();
  }

  /** The first waiting `next()`, or else the next one, gets the error. */
  #fail(error: HedgeError): void {
    if (this.#ended) return;
    this.#end();
    const [first, ...others] = this.#waiters.splice(0);
    if (first === undefined) this.#error = error;
    else first.reject(error);
    for (const { resolve } of others) resolve({ done: true, value: undefined });
  }

  #end(): void {
    this.#ended = true;
    this.#stopListening();
    this.#open?.end();
    for (const ended of this.#whenEnded) ended();
    this.#whenEnded.clear();
  }

  #cancelled(): HedgeError {
    const { name, signal } = this.#init;
    return new HedgeError('CANCELLED', `${name} was cancelled by its signal.`, { cause: signal?.reason });
  }
}
