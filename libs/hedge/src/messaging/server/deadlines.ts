/** The width of a slot of deadlines in milliseconds. A deadline passes at most this much late, and never early. */
const SLOT_MS = 10;

export interface Timed {
  readonly deadline: number;
  /** The index of the item in its slot. `Deadlines` writes it. */
  place: number;
}

/**
 * The deadlines of many requests, without a timer for each. A hundred thousand requests per second begin and end, and
 * almost none reaches its deadline. Times are monotonic milliseconds. An item is in at most one `Deadlines`.
 */
export class Deadlines<Item extends Timed> {
  /** The slots are arrays, because the garbage of a Set keeps later entries in memory: see `SequenceMap`. */
  readonly #slots = new Map<number, Item[]>();
  /** All slots below this one are empty. */
  #earliest = Infinity;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(item: Item): void {
    const slot = slotOf(item);
    let items = this.#slots.get(slot);
    if (items === undefined) {
      items = [];
      this.#slots.set(slot, items);
      if (slot < this.#earliest) this.#earliest = slot;
    }
    item.place = items.length;
    items.push(item);
    this.#size += 1;
  }

  /** @returns whether the item was present. */
  delete(item: Item): boolean {
    const slot = slotOf(item);
    const items = this.#slots.get(slot);
    if (items === undefined || items[item.place] !== item) return false;
    const last = items.pop();
    if (last !== undefined && last !== item) {
      items[item.place] = last;
      last.place = item.place;
    }
    if (items.length === 0) this.#slots.delete(slot);
    this.#size -= 1;
    return true;
  }

  /** Removes and returns the expired items, roughly in the order of their deadlines. */
  takeExpired(now: number): readonly Item[] {
    const last = Math.floor(now / SLOT_MS);
    if (last < this.#earliest) return [];
    const due: number[] = [];
    this.#earliest = Infinity;
    for (const slot of this.#slots.keys()) {
      if (slot <= last) due.push(slot);
      else if (slot < this.#earliest) this.#earliest = slot;
    }
    const expired = due.sort((a, b) => a - b).flatMap((slot) => this.#slots.get(slot) ?? []);
    for (const slot of due) this.#slots.delete(slot);
    this.#size -= expired.length;
    return expired;
  }

  /** Removes and returns all items. */
  takeAll(): readonly Item[] {
    return this.takeExpired(Infinity);
  }
}

function slotOf(item: { readonly deadline: number }): number {
  return Math.ceil(item.deadline / SLOT_MS);
}
