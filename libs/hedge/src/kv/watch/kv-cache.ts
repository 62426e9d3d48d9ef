import { compareText } from '../../database/text.js';
import type { KvEntry } from '../kv-entry.js';
import type { KvWatch } from './kv-watch.js';

/**
 * The entries of a prefix in the memory of this pod, kept up to date by a watch. Reads are synchronous, and may be late by
 * `ageMs`: use `KvStore.get` where a read must see each acknowledged put.
 *
 * @example
 * const rates = await kv.cached('rates/');
 * rates.get('rates/eur')?.value;
 */
export class KvCache {
  readonly #entries = new Map<string, KvEntry>();
  readonly #watch: KvWatch;

  private constructor(watch: KvWatch) {
    this.#watch = watch;
  }

  /**
   * @param watch of the prefix, which no other code reads.
   * @param read reads all entries of the prefix.
   * @throws HedgeError of the watch, and of `read`
   */
  static async fill(watch: KvWatch, read: () => Promise<readonly KvEntry[]>): Promise<KvCache> {
    const cache = new KvCache(watch);
    try {
      await watch.ready;
      for (const entry of await read()) cache.#entries.set(entry.key, entry);
      const followed = cache.#follow();
      // The watch shows versions again that `read` has seen, and it may show a key that was deleted since.
      await Promise.race([watch.caughtUp(), followed]);
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
   * often. It is more while the database does not answer, and after the end of the watch.
   */
  get ageMs(): number {
    return this.#watch.ageMs ?? Infinity;
  }

  /** Ends the watch. The entries stay as they are. Idempotent. */
  close(): void {
    void this.#watch.return();
  }

  async #follow(): Promise<void> {
    for await (const entry of this.#watch) {
      const known = this.#entries.get(entry.key);
      if (known !== undefined && !isNewer(entry, known)) continue;
      if (entry.deleted === true) this.#entries.delete(entry.key);
      else this.#entries.set(entry.key, entry);
    }
  }
}

function isNewer(a: KvEntry, b: KvEntry): boolean {
  return a.version === b.version ? compareText(a.id, b.id) > 0 : a.version > b.version;
}
