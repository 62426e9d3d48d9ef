import { SortedMap, type KeyRange } from '../common/sorted-map.js';
import type { Nanos } from '../common/timestamps.js';

interface Version<V> {
  readonly at: Nanos;
  /** Undefined: deleted at this time. */
  readonly value: V | undefined;
}

/**
 * An ordered map with a history: every read names a time, or none for the latest version.
 * Old versions are kept until `collect` raises the oldest readable time.
 */
export class VersionedMap<V> {
  private readonly entries = new SortedMap<Version<V>[]>();
  /** Keys with collectable versions, in the order of the times at which these became old. */
  private superseded: { readonly key: string; readonly at: Nanos }[] = [];

  get(key: string, at?: Nanos): V | undefined {
    return visible(this.entries.get(key), at);
  }

  *scan(range: KeyRange, at?: Nanos, reverse = false): Generator<[string, V]> {
    for (const [key, versions] of this.entries.scan(range, reverse)) {
      const value = visible(versions, at);
      if (value !== undefined) yield [key, value];
    }
  }

  /** Times of one key never decrease; a second write at the same time replaces the first. */
  put(key: string, at: Nanos, value: V | undefined): void {
    const versions = this.entries.get(key);
    if (!versions) {
      if (value !== undefined) this.entries.set(key, [{ at, value }]);
      return;
    }
    if (versions.at(-1)?.at === at) versions.pop();
    versions.push({ at, value });
    this.superseded.push({ key, at });
  }

  /** Every version of every key, for an index that is created after its table. */
  *history(): Generator<[string, readonly Version<V>[]]> {
    yield* this.entries.scan({ start: '', end: '\uffff' });
  }

  /** Drops versions that are not visible at `horizon` or later. */
  collect(horizon: Nanos): void {
    let done = 0;
    while (done < this.superseded.length && this.superseded[done]!.at <= horizon) {
      this.collectKey(this.superseded[done]!.key, horizon);
      done++;
    }
    if (done > 0) this.superseded = this.superseded.slice(done);
  }

  private collectKey(key: string, horizon: Nanos): void {
    const versions = this.entries.get(key);
    if (!versions) return;
    let keep = versions.length - 1;
    while (keep > 0 && versions[keep]!.at > horizon) keep--;
    if (keep > 0) versions.splice(0, keep);
    if (versions.length === 1 && versions[0]!.value === undefined) this.entries.delete(key);
  }
}

const visible = <V>(versions: readonly Version<V>[] | undefined, at: Nanos | undefined): V | undefined => {
  if (!versions) return undefined;
  if (at === undefined) return versions.at(-1)?.value;
  // The wanted version is nearly always among the last.
  for (let i = versions.length - 1; i >= 0; i--) if (versions[i]!.at <= at) return versions[i]!.value;
  return undefined;
};
