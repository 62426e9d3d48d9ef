import { backoffMs } from '../../common/backoff.js';
import type { MemberId } from '../../common/identity.js';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;

/** A member as one store's placement sees it. */
export class Target {
  /** Rises with each stream to it; 0 before the first. */
  session = 0;
  open = false;
  /** Sequences of frames that it has not acknowledged. */
  readonly inFlight = new Set<number>();
  /** When it last acknowledged a frame, or received one while none was in flight. */
  progressAt = 0;
  /** Its free bytes as far as known: a weight, not a promise. */
  freeBytes: number;
  /** The bytes that it advertised last. */
  #advertisedBytes: number;
  /** It refused a frame, and has not advertised more capacity since. */
  full = false;
  suspendedUntil = -Infinity;
  /** Whether it is in the view. A member that left it receives no more frames. */
  present = true;
  /** See `nextByWeight`. */
  credit = 0;
  #failures = 0;

  constructor(
    readonly member: MemberId,
    freeBytes: number,
  ) {
    this.freeBytes = this.#advertisedBytes = freeBytes;
  }

  assign(sequence: number, bytes: number, now: number): void {
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

  /** Its capacity in the view. A member that refused frames is tried again when it advertises more than before. */
  advertised(freeBytes: number): void {
    const more = freeBytes > this.#advertisedBytes;
    this.#advertisedBytes = freeBytes;
    if (this.full && !more) return;
    this.full = false;
    // The advertisement does not count the frames in flight to it.
    if (this.inFlight.size === 0) this.freeBytes = freeBytes;
  }
}
