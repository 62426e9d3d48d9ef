const PAGE_SIZE = 64;

interface Page<Value> {
  readonly values: (Value | undefined)[];
  used: number;
}

/**
 * A map whose keys are rising whole numbers, for entries with a short life. It stores the values in pages of consecutive
 * numbers, and deletes a page when it is empty.
 *
 * A Map with a hundred thousand new entries per second allocates new tables all the time. Each old table refers to the
 * next one. When one unused table reaches the old generation of the heap, all later tables survive until a full garbage
 * collection. In our measurement, 1.2 KB of each request survived, and collections used a third of the time.
 */
export class SequenceMap<Value extends object> {
  readonly #pages = new Map<number, Page<Value>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(sequence: number): Value | undefined {
    return this.#pages.get(Math.floor(sequence / PAGE_SIZE))?.values[sequence % PAGE_SIZE];
  }

  set(sequence: number, value: Value): void {
    const number = Math.floor(sequence / PAGE_SIZE);
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = { values: Array.from({ length: PAGE_SIZE }), used: 0 };
      this.#pages.set(number, page);
    }
    const place = sequence % PAGE_SIZE;
    if (page.values[place] === undefined) {
      page.used += 1;
      this.#size += 1;
    }
    page.values[place] = value;
  }

  /** @returns whether the map contained the sequence. */
  delete(sequence: number): boolean {
    const number = Math.floor(sequence / PAGE_SIZE);
    const page = this.#pages.get(number);
    const place = sequence % PAGE_SIZE;
    if (page?.values[place] === undefined) return false;
    page.values[place] = undefined;
    page.used -= 1;
    this.#size -= 1;
    if (page.used === 0) this.#pages.delete(number);
    return true;
  }

  *keys(): Iterable<number> {
    for (const [number, { values }] of this.#pages) {
      for (const [place, value] of values.entries()) if (value !== undefined) yield number * PAGE_SIZE + place;
    }
  }

  *values(): Iterable<Value> {
    for (const { values } of this.#pages.values()) for (const value of values) if (value !== undefined) yield value;
  }
}
