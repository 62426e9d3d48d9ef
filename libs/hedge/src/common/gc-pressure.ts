/** Buffers up to that size Node cuts out of a shared one. */
const POOLED_BYTES = 4_096;
const STEP_BYTES = 64 * 1024;
/** Elements of an array of that many bytes. */
const STEP_SLOTS = STEP_BYTES / 8;

/**
 * Has V8 collect the buffers of passing messages while they are young.
 *
 * They lie outside of its heap and die at once. V8 frees such buffers in a scavenge, which takes half a millisecond, but
 * runs only when the young part of the heap is full, and bulk data hardly fills that. Meanwhile it counts them as growth
 * of the old heap, and marks all of that again for each 10 to 20 MB of them: tens of milliseconds on all cores, most of
 * what moving bulk data costs. So for each byte outside, one is allocated inside, and left: a scavenge then comes first.
 *
 * Measured in BENCHMARKS.md. It changes nothing but when memory is collected.
 */
export class GcPressure {
  private owed = 0;
  /** Keeps the compiler from leaving the allocation out. */
  left: unknown;

  /** That many bytes were allocated for messages outside of the heap. */
  record(bytes: number): void {
    if (bytes <= POOLED_BYTES) return;
    for (this.owed += bytes; this.owed >= STEP_BYTES; this.owed -= STEP_BYTES) {
      // oxlint-disable-next-line unicorn/no-new-array -- its memory is all that is wanted, not its elements
      this.left = new Array(STEP_SLOTS);
    }
  }
}
