/** An item of a `DeadlineQueue`. Its deadline does not change while it is in the queue. */
export interface Queued {
  readonly deadline: number;
  /** The index of the item in its queue. `DeadlineQueue` writes it. */
  place: number;
}

/**
 * A queue in the order of deadlines, from which any item can be deleted: a binary heap. For many deadlines over a long time.
 * `Deadlines` of requests is faster while they are few seconds ahead. An item is in at most one queue.
 */
export class DeadlineQueue<Item extends Queued> {
  readonly #heap: Item[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** The item with the earliest deadline. */
  get first(): Item | undefined {
    return this.#heap[0];
  }

  add(item: Item): void {
    this.#heap.push(item);
    this.#raise(item, this.#heap.length - 1);
  }

  /** @returns whether the item was present. */
  delete(item: Item): boolean {
    const { place } = item;
    if (this.#heap[place] !== item) return false;
    const last = this.#heap.pop()!;
    if (last === item) return true;
    this.#raise(last, place);
    this.#lower(last, last.place);
    return true;
  }

  #raise(item: Item, from: number): void {
    let place = from;
    while (place > 0) {
      const parent = this.#heap[(place - 1) >>> 1]!;
      if (parent.deadline <= item.deadline) break;
      this.#put(parent, place);
      place = (place - 1) >>> 1;
    }
    this.#put(item, place);
  }

  #lower(item: Item, from: number): void {
    let place = from;
    for (;;) {
      const left = this.#heap[2 * place + 1];
      const right = this.#heap[2 * place + 2];
      if (left === undefined) break;
      const child = right === undefined || left.deadline <= right.deadline ? left : right;
      if (item.deadline <= child.deadline) break;
      const childAt = child.place;
      this.#put(child, place);
      place = childAt;
    }
    this.#put(item, place);
  }

  #put(item: Item, place: number): void {
    this.#heap[place] = item;
    item.place = place;
  }
}
