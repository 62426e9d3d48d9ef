/** Node cuts buffers up to this size out of a shared buffer. */
const POOLED_BYTES = 4_096;
const STEP_BYTES = 64 * 1024;
/** The number of elements of an array of `STEP_BYTES`. */
const STEP_SLOTS = STEP_BYTES / 8;

/**
 * Makes V8 collect the buffers of passing messages while they are young.
 *
 * These buffers are outside of V8's heap and soon unused. V8 frees them in a scavenge, which takes half a millisecond.
 * But a scavenge runs only when the young part of the heap is full, and bulk data hardly fills that. Meanwhile V8 counts
 * the buffers as growth of the old heap, and marks the whole old heap again for each 10 to 20 MB of them: tens of
 * milliseconds on all cores, most of the cost of moving bulk data. So for each byte outside of the heap, this class
 * allocates one inside and drops it: then a scavenge comes first.
 *
 * Measured in BENCHMARKS.md. It changes only the time at which memory is collected.
 */
export class GcPressure {
  #pendingBytes = 0;
  /** Keeps the compiler from removing the allocation. */
  lastAllocation: unknown;

  /** @param bytes that were allocated for messages outside of the heap. */
  record(bytes: number): void {
    if (bytes <= POOLED_BYTES) return;
    for (this.#pendingBytes += bytes; this.#pendingBytes >= STEP_BYTES; this.#pendingBytes -= STEP_BYTES) {
      // oxlint-disable-next-line unicorn/no-new-array -- only its memory counts, not its elements
      this.lastAllocation = new Array(STEP_SLOTS);
    }
  }
}
