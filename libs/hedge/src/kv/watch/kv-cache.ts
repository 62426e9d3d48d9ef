import { HedgeError } from '../../common/errors.js';
import { compareText } from '../../database/text.js';
import type { KvEntry } from '../kv-entry.js';
import type { KvWatch } from './kv-watch.js';

/** The pause before the entries are read again, after a failure, in milliseconds. */
const REFILL_PAUSE_MS = 1_000;

/** What fills a cache. */
export interface CacheSource {
  /** Opens a watch of the prefix, which no other code reads. */
  watch(): KvWatch;
  /** Reads all entries of the prefix. */
  read(): Promise<readonly KvEntry[]>;
  pause(ms: number): Promise<void>;
}

/**
 * The entries of a prefix in the memory of this pod, kept up to date by a watch. Reads are synchronous, and may be late by
 * `ageMs`: use `KvStore.get` where a read must see each acknowledged put.
 *
 * @example
 * const rates = await kv.cached('rates/');
 * rates.get('rates/eur')?.value;
 */
export class KvCache {
  readonly #source: CacheSource;
  #entries: Map<string, KvEntry> = new Map();
  #watch: KvWatch;
  #closed = false;

  private constructor(source: CacheSource) {
    this.#source = source;
    this.#watch = source.watch();
  }

  /** @throws HedgeError of the source */
  static async open(source: CacheSource): Promise<KvCache> {
    const cache = new KvCache(source);
    try {
      await cache.#read();
      const caughtUp = cache.#watch.caughtUp();
      const followed = cache.#follow();
      // The watch shows versions again that the read has seen, and it may show a key that was deleted since.
      await Promise.race([caughtUp, followed]);
      // Later, its end only shows in the age.
      followed.catch(() => undefined);
      return cache;
    } catch (error) {
      cache.close();
      throw error;
    }
  }

  /** The latest known version of a key; undefined when it has no value. */
  get(key: string): KvEntry | undefined {
    return this.#entries.get(key);
  }

  /** The latest known versions, sorted by key. */
  entries(): KvEntry[] {
    return [...this.#entries.values()].sort((a, b) => compareText(a.key, b.key));
  }

  /**
   * Milliseconds since the cache was certainly up to date. It stays below about 10 s, because the watch reads at least that
   * often. It is more while the database does not answer, and after the end of the watch; Infinity while the cache is filled
   * again, because retention has deleted versions that it had not read.
   */
  get ageMs(): number {
    return this.#watch.ageMs ?? Infinity;
  }

  /** Ends the watch. The entries stay as they are. Idempotent. */
  close(): void {
    this.#closed = true;
    void this.#watch.return();
  }

  async #follow(): Promise<void> {
    for (;;) {
      try {
        return await this.#followWatch();
      } catch (error) {
        if (!isCompacted(error)) throw error;
        await this.#fillAgain();
      }
    }
  }

  async #fillAgain(): Promise<void> {
    while (!this.#closed) {
      this.#watch = this.#source.watch();
      try {
        return await this.#read();
      } catch (error) {
        void this.#watch.return();
        if (!(error instanceof HedgeError) || !error.retryable) throw error;
        await this.#source.pause(REFILL_PAUSE_MS);
      }
    }
  }

  async #read(): Promise<void> {
    await this.#watch.ready;
    const entries = await this.#source.read();
    this.#entries = new Map(entries.map((entry) => [entry.key, entry]));
  }

  async #followWatch(): Promise<void> {
    for await (const entry of this.#watch) {
      const known = this.#entries.get(entry.key);
      if (known !== undefined && !isNewer(entry, known)) continue;
      if (entry.deleted === true) this.#entries.delete(entry.key);
      else this.#entries.set(entry.key, entry);
    }
  }
}

function isCompacted(error: unknown): boolean {
  return error instanceof HedgeError && error.code === 'COMPACTED';
}

function isNewer(a: KvEntry, b: KvEntry): boolean {
  return a.version === b.version ? compareText(a.id, b.id) > 0 : a.version > b.version;
}
