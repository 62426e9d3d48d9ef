/** Deadlines are kept by slots of this many milliseconds, so one passes up to this much late, and never early. */
const SLOT_MS = 10;

export interface Timed {
  readonly deadline: number;
  /** Its index in its slot; `Deadlines` writes it. */
  place: number;
}

/**
 * The deadlines of many requests without a timer for each: a hundred thousand a second come and go, and next
 * to none is ever reached. Times are milliseconds on one rising line. An item is in one `Deadlines` at most.
 */
export class Deadlines<Item extends Timed> {
  /** Arrays, because a Set leaves garbage behind that holds all that came after it: see `SequenceMap`. */
  readonly #slots = new Map<number, Item[]>();
  /** No slot below this one is filled. */
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

  /** True when it was there. */
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

  /** Takes out what is due, roughly in the order of the deadlines. */
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

  /** Takes out everything. */
  takeAll(): readonly Item[] {
    return this.takeExpired(Infinity);
  }
}

function slotOf(item: { readonly deadline: number }): number {
  return Math.ceil(item.deadline / SLOT_MS);
}
