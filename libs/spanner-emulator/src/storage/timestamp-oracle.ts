import { NANOS_PER_MICRO, NANOS_PER_MILLI, type Nanos } from '../common/timestamps.js';

/**
 * Gives out timestamps in whole microseconds, as Spanner does. Each commit is later than every commit and every
 * read before it, also when the machine's clock goes back.
 */
export class TimestampOracle {
  private lastCommit = 0n;
  private lastRead = 0n;

  /** @param clock milliseconds since the epoch */
  constructor(private readonly clock: () => number) {}

  /** What CURRENT_TIMESTAMP says: never before the last commit. */
  now(): Nanos {
    const now = BigInt(Math.floor(this.clock())) * NANOS_PER_MILLI;
    return now > this.lastCommit ? now : this.lastCommit;
  }

  /** A timestamp that sees every commit so far, and that no later commit will reach. */
  strongRead(): Nanos {
    const now = this.now();
    this.readAt(now);
    return now;
  }

  /** Promises a reader that what it sees at `at` stays as it is. */
  readAt(at: Nanos): void {
    if (at > this.lastRead) this.lastRead = at;
  }

  commit(): Nanos {
    const floor = (this.lastCommit > this.lastRead ? this.lastCommit : this.lastRead) + NANOS_PER_MICRO;
    const now = this.now();
    this.lastCommit = now > floor ? now : (floor / NANOS_PER_MICRO) * NANOS_PER_MICRO;
    return this.lastCommit;
  }

  /** Whether one more commit can carry the last timestamp without changing what a reader was shown at it. */
  get lastCommitUnread(): boolean {
    return this.lastRead < this.lastCommit;
  }
}
