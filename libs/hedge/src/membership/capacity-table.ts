/** What a member would still take of other members' spill stores, in bytes. Coarse, and a moment old. */
export interface FreeSpace {
  readonly memory: number;
  readonly disk: number;
}

/** By incarnation. */
export type FreeSpaces = ReadonlyMap<string, FreeSpace>;

/**
 * What this member knows of the free space of all. Pure.
 *
 * It rides on heartbeats and views, and is no part of a view: it changes within a version, and nobody is told
 * of that as of a change of members. The leader sends its view again to whom it owes news.
 */
export class CapacityTable {
  /** Replaced with each change: who was handed it keeps what it was. */
  #spaces: FreeSpaces = new Map();
  /** Rises with every change. */
  #edition = 0;
  /** The edition that each member has been sent, by incarnation. */
  readonly #sentEditions = new Map<string, number>();

  get spaces(): FreeSpaces {
    return this.#spaces;
  }

  /** What that member said of itself. */
  record(incarnation: string, space: FreeSpace | undefined): void {
    const known = this.#spaces.get(incarnation);
    if (space === undefined || (known?.memory === space.memory && known.disk === space.disk)) return;
    this.#spaces = new Map(this.#spaces).set(incarnation, space);
    this.#edition += 1;
  }

  /** What the leader said of all; only of itself this member knows better. */
  replace(spaces: FreeSpaces, self: string): void {
    const own = this.#spaces.get(self);
    const others = [...spaces].filter(([incarnation]) => incarnation !== self);
    this.#spaces = new Map(own === undefined ? others : [...others, [self, own]]);
  }

  /** Whether that member was sent all of it. */
  isUpToDate(incarnation: string): boolean {
    return this.#sentEditions.get(incarnation) === this.#edition;
  }

  markSent(incarnation: string): void {
    this.#sentEditions.set(incarnation, this.#edition);
  }

  /** Forgets all but these members. */
  retain(incarnations: ReadonlySet<string>): void {
    this.#spaces = new Map([...this.#spaces].filter(([incarnation]) => incarnations.has(incarnation)));
    for (const incarnation of this.#sentEditions.keys())
      if (!incarnations.has(incarnation)) this.#sentEditions.delete(incarnation);
  }
}
