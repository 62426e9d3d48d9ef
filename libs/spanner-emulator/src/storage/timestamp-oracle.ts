import { NANOS_PER_MICRO, NANOS_PER_MILLI, type Nanos } from '../common/timestamps.js';

/**
 * Assigns timestamps in whole microseconds, as Spanner does. Each commit is later than every earlier commit and read, also
 * when the clock of the machine goes back.
 */
export class TimestampOracle {
  private lastCommit = 0n;
  private lastRead = 0n;

  /** @param clock milliseconds since the epoch */
  constructor(private readonly clock: () => number) {}

  /** The value of CURRENT_TIMESTAMP: never before the last commit. */
  now(): Nanos {
    const now = BigInt(Math.floor(this.clock())) * NANOS_PER_MILLI;
    return now > this.lastCommit ? now : this.lastCommit;
  }

  /** A timestamp after every commit so far and before every later commit. */
  strongRead(): Nanos {
    const now = this.now();
    this.readAt(now);
    return now;
  }

  /** Guarantees that the data at `at` does not change any more. */
  readAt(at: Nanos): void {
    if (at > this.lastRead) this.lastRead = at;
  }

  commit(): Nanos {
    const floor = (this.lastCommit > this.lastRead ? this.lastCommit : this.lastRead) + NANOS_PER_MICRO;
    const now = this.now();
    this.lastCommit = now > floor ? now : (floor / NANOS_PER_MICRO) * NANOS_PER_MICRO;
    return this.lastCommit;
  }

  /** Whether another commit can have the last timestamp without changing data that a reader has seen. */
  get lastCommitUnread(): boolean {
    return this.lastRead < this.lastCommit;
  }
}
