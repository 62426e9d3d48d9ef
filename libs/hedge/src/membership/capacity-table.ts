/** The bytes that a member can still store for the spill stores of other members. Approximate, and a moment old. */
export interface FreeSpace {
  readonly memory: number;
  readonly disk: number;
}

/** By incarnation. */
export type FreeSpaces = ReadonlyMap<string, FreeSpace>;

/**
 * The capacity that each member advertised last, as this member knows it. Pure.
 *
 * Heartbeats and views carry it, but it is not part of a view: it changes within a version, and no change of members is
 * reported for it. The leader sends its view again to each member that has an older edition.
 */
export class CapacityTable {
  /** Replaced at each change: a caller that has the old map keeps it unchanged. */
  #spaces: FreeSpaces = new Map();
  /** Rises with every change. */
  #edition = 0;
  /** The edition that each member has been sent, by incarnation. */
  readonly #sentEditions = new Map<string, number>();

  get spaces(): FreeSpaces {
    return this.#spaces;
  }

  /** Records the capacity that a member advertised. */
  record(incarnation: string, space: FreeSpace | undefined): void {
    const known = this.#spaces.get(incarnation);
    if (space === undefined || (known?.memory === space.memory && known.disk === space.disk)) return;
    this.#spaces = new Map(this.#spaces).set(incarnation, space);
    this.#edition += 1;
  }

  /** Replaces all entries by those of the leader, except the own one. */
  replace(spaces: FreeSpaces, self: string): void {
    const own = this.#spaces.get(self);
    const others = [...spaces].filter(([incarnation]) => incarnation !== self);
    this.#spaces = new Map(own === undefined ? others : [...others, [self, own]]);
  }

  /** Whether that member was sent the current edition. */
  isUpToDate(incarnation: string): boolean {
    return this.#sentEditions.get(incarnation) === this.#edition;
  }

  markSent(incarnation: string): void {
    this.#sentEditions.set(incarnation, this.#edition);
  }

  /** Removes all but these members. */
  retain(incarnations: ReadonlySet<string>): void {
    this.#spaces = new Map([...this.#spaces].filter(([incarnation]) => incarnations.has(incarnation)));
    for (const incarnation of this.#sentEditions.keys())
      if (!incarnations.has(incarnation)) this.#sentEditions.delete(incarnation);
  }
}
