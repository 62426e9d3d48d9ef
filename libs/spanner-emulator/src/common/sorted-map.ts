const CHUNK = 256;

/** The keys from `start` (inclusive) to `end` (exclusive), in the order of UTF-16 code units. */
export interface KeyRange {
  readonly start: string;
  readonly end: string;
}

/** The position of a key, or its insertion point. */
const position = (keys: readonly string[], key: string): number => {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
};

/**
 * An ordered map on strings: a hash map for points, and a list of short sorted chunks for ranges.
 * An insertion moves at most one chunk, so it is fast with millions of keys, in any order of insertion.
 */
export class SortedMap<V> {
  private readonly values = new Map<string, V>();
  private readonly chunks: string[][] = [[]];

  get size(): number {
    return this.values.size;
  }

  get(key: string): V | undefined {
    return this.values.get(key);
  }

  set(key: string, value: V): void {
    if (!this.values.has(key)) {
      const at = this.chunkOf(key);
      const chunk = this.chunks[at]!;
      chunk.splice(position(chunk, key), 0, key);
      if (chunk.length > 2 * CHUNK) this.chunks.splice(at + 1, 0, chunk.splice(CHUNK));
    }
    this.values.set(key, value);
  }

  delete(key: string): void {
    if (!this.values.delete(key)) return;
    const at = this.chunkOf(key);
    const chunk = this.chunks[at]!;
    chunk.splice(position(chunk, key), 1);
    if (chunk.length === 0 && this.chunks.length > 1) this.chunks.splice(at, 1);
  }

  /** The entries of a range in order, or in reverse order. The map must not change during the iteration. */
  *scan(range: KeyRange, reverse = false): Generator<[string, V]> {
    if (reverse) yield* this.backward(range);
    else yield* this.forward(range);
  }

  private *forward({ start, end }: KeyRange): Generator<[string, V]> {
    for (let at = this.chunkOf(start); at < this.chunks.length; at++) {
      const chunk = this.chunks[at]!;
      for (let i = position(chunk, start); i < chunk.length; i++) {
        const key = chunk[i]!;
        if (key >= end) return;
        yield [key, this.values.get(key)!];
      }
    }
  }

  private *backward({ start, end }: KeyRange): Generator<[string, V]> {
    for (let at = this.chunkOf(end); at >= 0; at--) {
      const chunk = this.chunks[at]!;
      for (let i = position(chunk, end) - 1; i >= 0; i--) {
        const key = chunk[i]!;
        if (key < start) return;
        yield [key, this.values.get(key)!];
      }
    }
  }

  /** The last chunk whose first key is not above `key`. */
  private chunkOf(key: string): number {
    let low = 0;
    let high = this.chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.chunks[middle]![0]! <= key) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
