interface Event {
  readonly at: number;
  readonly order: number;
  /** Undefined when it was cancelled. */
  run: (() => void) | undefined;
}

/** The counts of events in the history of one seed: a simulation without events finds nothing. */
export type Coverage = Map<string, number>;

/**
 * True time, in milliseconds, and the queue of its events. No pod sees it: each has its own
 * clocks. Events run one at a time, in the order of their time, then of their creation.
 */
export class World {
  #now = 0;
  #order = 0;
  readonly #heap: Event[] = [];
  readonly coverage: Coverage = new Map();
  /** Set to record events; off for speed. */
  trace: ((line: string) => void) | undefined;

  get now(): number {
    return this.#now;
  }

  /** Runs it after that time. The returned function cancels. */
  after(ms: number, run: () => void): () => void {
    this.#order += 1;
    const event: Event = { at: this.#now + ms, order: this.#order, run };
    this.#push(event);
    return () => void (event.run = undefined);
  }

  /** Runs all events until then, and `check` after each. */
  runUntil(end: number, check: () => void): void {
    for (let next = this.#heap[0]; next !== undefined && next.at <= end; next = this.#heap[0]) {
      this.#pop();
      if (next.run === undefined) continue;
      this.#now = next.at;
      next.run();
      check();
    }
    this.#now = end;
  }

  count(what: string, times = 1): void {
    this.coverage.set(what, (this.coverage.get(what) ?? 0) + times);
  }

  /** @param what evaluated only when events are recorded. */
  note(who: string, what: () => string): void {
    this.trace?.(`${this.#now.toFixed(1).padStart(9)} ${who.padEnd(6)} ${what()}`);
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(event);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!before(event, heap[parent]!)) break;
      heap[index] = heap[parent]!;
      index = parent;
    }
    heap[index] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child += 1;
      if (!before(heap[child]!, last)) break;
      heap[index] = heap[child]!;
      index = child;
    }
    heap[index] = last;
  }
}

function before(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
