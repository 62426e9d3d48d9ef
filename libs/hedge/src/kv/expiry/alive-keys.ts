import type { Clock } from '../../common/clock.js';
import { codeOf } from '../../common/errors.js';
import { EXPIRED_SUFFIX } from '../../database/log-table.js';
import type { KvEntry } from '../kv-entry.js';

export interface AliveKeysDeps {
  readonly clock: Clock;
  /** The pause after a failure. */
  readonly retryMs: number;
  /** Puts a key again, if this deletion is its newest version. */
  put(key: string, value: string, deletion: KvEntry, signal: AbortSignal): Promise<KvEntry>;
  /** The versions of a key behind an entry. */
  watch(entry: KvEntry, signal: AbortSignal): AsyncIterable<KvEntry>;
  /** Deletes a key, if this is its newest version. */
  remove(entry: KvEntry): Promise<unknown>;
}

interface Kept {
  entry: KvEntry;
  readonly stop: AbortController;
}

/**
 * The keys that this pod has put with `whileAlive`. A pod that was cut off for so long that the leader has deleted them puts them
 * again, if nobody has put or deleted them since. It notices both by a watch of each key.
 */
export class AliveKeys {
  readonly #kept = new Map<string, Kept>();
  #ended = false;

  constructor(private readonly deps: AliveKeysDeps) {}

  /** @param entry that this pod has just put. */
  keep(entry: KvEntry): void {
    this.#kept.get(entry.key)?.stop.abort();
    if (this.#ended) return;
    const kept = { entry, stop: new AbortController() };
    this.#kept.set(entry.key, kept);
    void this.#follow(entry.key, kept);
  }

  /** Deletes the keys, as far as the leader answers: the pod stops. Otherwise the leader does it when the pod has left. */
  async end(): Promise<void> {
    this.#ended = true;
    const entries = [...this.#kept.values()].map(({ entry, stop }) => {
      stop.abort();
      return entry;
    });
    this.#kept.clear();
    await Promise.allSettled(entries.map((entry) => this.deps.remove(entry)));
  }

  async #follow(key: string, kept: Kept): Promise<void> {
    const { signal } = kept.stop;
    const { value } = kept.entry;
    try {
      for await (const seen of this.deps.watch(kept.entry, signal)) {
        if (seen.id === kept.entry.id) continue;
        if (seen.id !== kept.entry.id + EXPIRED_SUFFIX) break;
        const again = await this.#putAgain(key, value, seen, signal);
        if (again === undefined) break;
        kept.entry = again;
      }
    } catch {
      // The pod stops, or the key is not to be kept any more.
    }
    if (this.#kept.get(key) === kept) this.#kept.delete(key);
  }

  /** @returns undefined when somebody has put the key, or the pod stops. */
  async #putAgain(key: string, value: string, deletion: KvEntry, signal: AbortSignal): Promise<KvEntry | undefined> {
    while (!signal.aborted) {
      try {
        return await this.deps.put(key, value, deletion, signal);
      } catch (error) {
        if (['CONFLICT', 'SHUTTING_DOWN', 'CANCELLED'].includes(codeOf(error))) return undefined;
        await new Promise<void>((resume) => void this.deps.clock.after(this.deps.retryMs, resume));
      }
    }
    return undefined;
  }
}
