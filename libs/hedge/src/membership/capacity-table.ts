/** The bytes that a member can still store for the spill stores of other members. Approximate, and a moment old. */
export interface FreeSpace {
  readonly memory: number;
  readonly disk: number;
}

/** By incarnation. */
export type FreeSpaces = ReadonlyMap<string, FreeSpace>;

/** The capacity of members, as a leader sends it with a view or with its changes. */
export interface AdvertisedCapacity {
  readonly spaces: FreeSpaces;
  /** Rises with every change in a term. */
  readonly edition: number;
  /** The entries complete this edition, and each later one. */
  readonly base: number;
}

/**
 * The capacity that each member advertised last, as this member knows it. Pure.
 *
 * Heartbeats and views carry it, but it is not part of a view: it changes within a version, and no change of members is
 * reported for it. Each change is a new edition. A member reports its edition with each heartbeat, and the leader sends the
 * entries that have changed since then.
 */
export class CapacityTable {
  /** Replaced at each change: a caller that has the old map keeps it unchanged. */
  #spaces: FreeSpaces = new Map();
  /** As leader: rises with every change. */
  #edition = 0;
  /** As follower: the edition that the leader sent last. */
  #received = 0;
  /** As leader: the edition of each entry. */
  readonly #changedIn = new Map<string, number>();

  get spaces(): FreeSpaces {
    return this.#spaces;
  }

  /** As leader. */
  get edition(): number {
    return this.#edition;
  }

  /** As follower: to report to the leader. */
  get received(): number {
    return this.#received;
  }

  /** As leader, for a member without any edition. */
  get all(): AdvertisedCapacity {
    return { spaces: this.#spaces, edition: this.#edition, base: 0 };
  }

  /** A new term: the editions of the last one mean nothing in it. */
  begin(): void {
    this.#edition = this.#received = 0;
    this.#changedIn.clear();
  }

  /** Records the capacity that a member advertised. */
  record(incarnation: string, space: FreeSpace | undefined): void {
    const known = this.#spaces.get(incarnation);
    if (space === undefined || (known?.memory === space.memory && known.disk === space.disk)) return;
    this.#spaces = new Map(this.#spaces).set(incarnation, space);
    this.#edition += 1;
    this.#changedIn.set(incarnation, this.#edition);
  }

  /** The entries that changed after that edition. */
  changesSince(edition: number): AdvertisedCapacity {
    const changed = [...this.#spaces].filter(([incarnation]) => (this.#changedIn.get(incarnation) ?? 0) > edition);
    return { spaces: new Map(changed), edition: this.#edition, base: edition };
  }

  /**
   * Accepts the entries of the leader, except the own one. After a lost message the edition stays, so that the next
   * heartbeat reports it, and the leader sends what is missing.
   * @param whole the entries are all that there are: they came with a whole view.
   */
  accept({ spaces, edition, base }: AdvertisedCapacity, whole: boolean, self: string): void {
    const own = this.#spaces.get(self);
    const next = new Map(whole ? spaces : [...this.#spaces, ...spaces]);
    if (own === undefined) next.delete(self);
    else next.set(self, own);
    this.#spaces = next;
    if (whole || base <= this.#received) this.#received = edition;
  }

  /** Removes all but these members. */
  retain(incarnations: ReadonlySet<string>): void {
    this.#spaces = new Map([...this.#spaces].filter(([incarnation]) => incarnations.has(incarnation)));
    for (const incarnation of this.#changedIn.keys())
      if (!incarnations.has(incarnation)) this.#changedIn.delete(incarnation);
  }
}
