import type { Instant } from '../common/clock.js';

/** More names are forgotten, the longest unseen first: locks may have a name for each order or customer. */
const MOST_KNOWN = 10_000;

interface Known {
  readonly token: bigint;
  /** Absent when nobody holds it. */
  readonly leaseMs: number | undefined;
  readonly highest: bigint;
  /** The number of losses that were found before this token was seen or heard. */
  readonly losses: number;
  /** When the last loss of this lease was found. */
  readonly lostAt: Instant | undefined;
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
  #losses = 0;

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

  /** When a lower token than the known one was last seen. */
  lostAt(name: string): Instant | undefined {
    return this.#known.get(name)?.lostAt;
  }

  /** The database went back: what is known now comes from before. */
  wentBack(): void {
    this.#losses += 1;
  }

  /** Whether the token comes from before the last loss that was found. */
  isFromBefore(name: string): boolean {
    return (this.#known.get(name)?.losses ?? this.#losses) < this.#losses;
  }

  /**
   * @param leaseMs of its holder; absent when nobody holds it.
   * @param lostAt now, if a lower token than the known one replaces it; else a lower one belongs to an earlier read.
   */
  seen(name: string, token: bigint, leaseMs: number | undefined, lostAt?: Instant): void {
    if (lostAt === undefined && token < this.token(name)) return;
    const highest = this.highest(name);
    this.#set(name, token, leaseMs, token > highest ? token : highest, lostAt ?? this.lostAt(name));
  }

  /**
   * A peer named this token.
   * @param leaseMs the assumed length of the lease.
   * @returns false for a token that is not above the highest one: peers repeat tokens that the database has lost.
   */
  heard(name: string, token: bigint, leaseMs: number): boolean {
    if (token <= this.highest(name)) return false;
    this.#set(name, token, leaseMs, token, this.lostAt(name));
    return true;
  }

  #set(name: string, token: bigint, leaseMs: number | undefined, highest: bigint, lostAt: Instant | undefined): void {
    this.#known.delete(name);
    this.#known.set(name, { token, leaseMs, highest, losses: this.#losses, lostAt });
    if (this.#known.size <= MOST_KNOWN) return;
    const [oldest] = this.#known.keys();
    if (oldest !== undefined) this.#known.delete(oldest);
  }
}
