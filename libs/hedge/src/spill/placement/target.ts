import { backoffMs } from '../../common/backoff.js';
import type { MemberId } from '../../common/identity.js';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;

/** A member as one store's placement sees it. */
export class Target {
  /** Rises with each way that was opened to it; 0 before the first. */
  session = 0;
  open = false;
  /** Frames that were sent and are not acknowledged. */
  readonly inFlight = new Set<number>();
  /** When it last acknowledged something, or was given something to acknowledge. */
  progressAt = 0;
  /** What it has left, as far as known: a weight and not a promise. */
  freeBytes: number;
  /** What it said last of itself. */
  #heardBytes: number;
  /** It refused for want of space, and has not been heard to have some since. */
  full = false;
  suspendedUntil = -Infinity;
  /** In the view. One that left it gets nothing more. */
  present = true;
  /** Of the smooth round robin. */
  credit = 0;
  #failures = 0;

  constructor(
    readonly member: MemberId,
    freeBytes: number,
  ) {
    this.freeBytes = this.#heardBytes = freeBytes;
  }

  began(sequence: number, bytes: number, now: number): void {
    if (!this.open) {
      this.open = true;
      this.session += 1;
    }
    if (this.inFlight.size === 0) this.progressAt = now;
    this.inFlight.add(sequence);
    this.freeBytes = Math.max(0, this.freeBytes - bytes);
  }

  stored(sequence: number, now: number): void {
    this.inFlight.delete(sequence);
    this.progressAt = now;
    this.#failures = 0;
  }

  refused(freeBytes: number): void {
    this.full = true;
    this.freeBytes = freeBytes;
  }

  /** @param random in [0, 1). */
  failed(now: number, random: number): void {
    this.open = false;
    this.inFlight.clear();
    this.#failures += 1;
    this.suspendedUntil = now + backoffMs(this.#failures, FIRST_PAUSE_MS, LONGEST_PAUSE_MS, random);
  }

  /** What the view says it has left. One that refused becomes a place again when it says that it has more. */
  heard(freeBytes: number): void {
    const more = freeBytes > this.#heardBytes;
    this.#heardBytes = freeBytes;
    if (this.full && !more) return;
    this.full = false;
    // Its word is older than what is on the way to it.
    if (this.inFlight.size === 0) this.freeBytes = freeBytes;
  }
}
