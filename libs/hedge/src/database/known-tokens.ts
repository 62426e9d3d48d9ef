/** More names are forgotten, the longest unseen first: locks may have a name for each order or customer. */
const MOST_KNOWN = 10_000;

interface Known {
  readonly token: bigint;
  /** Absent when nobody holds it. */
  readonly leaseMs: number | undefined;
  readonly highest: bigint;
}

/**
 * The highest token of each lease that this process has seen in its row, or that a peer has named. A database that answers
 * with a lower one went back: a replica without the last commits took over, or a backup was restored. A name that is
 * forgotten is not noticed.
 *
 * Pure; one instance per process.
 */
export class KnownTokens {
  readonly #known = new Map<string, Known>();

  /** The highest token since the database last went back; 0n for a name that was not seen. */
  token(name: string): bigint {
    return this.#known.get(name)?.token ?? 0n;
  }

  /** As `token`, and it stays when the database goes back. */
  highest(name: string): bigint {
    return this.#known.get(name)?.highest ?? 0n;
  }

  /** The length of the lease when it was held at the last look. */
  leaseMs(name: string): number | undefined {
    return this.#known.get(name)?.leaseMs;
  }

  /** Whether it was held at the last look. */
  isHeld(name: string): boolean {
    return this.leaseMs(name) !== undefined;
  }

  /**
   * @param leaseMs of its holder; absent when nobody holds it.
   * @param wentBack whether a lower token than the known one replaces it; else it belongs to an earlier read.
   */
  seen(name: string, token: bigint, leaseMs: number | undefined, wentBack = false): void {
    if (!wentBack && token < this.token(name)) return;
    const highest = this.highest(name);
    this.#set(name, { token, leaseMs, highest: token > highest ? token : highest });
  }

  /**
   * A peer named this token.
   * @param leaseMs the assumed length of the lease.
   * @returns false for a token that is not above the highest one: peers repeat tokens that the database has lost.
   */
  heard(name: string, token: bigint, leaseMs: number): boolean {
    if (token <= this.highest(name)) return false;
    this.#set(name, { token, leaseMs, highest: token });
    return true;
  }

  #set(name: string, known: Known): void {
    this.#known.delete(name);
    this.#known.set(name, known);
    if (this.#known.size <= MOST_KNOWN) return;
    const [oldest] = this.#known.keys();
    if (oldest !== undefined) this.#known.delete(oldest);
  }
}
