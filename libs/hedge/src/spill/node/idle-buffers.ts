import type { Clock } from '../../common/clock.js';

/** A buffer that was not needed for this time is freed. */
const FREE_AFTER_MS = 10_000;

/**
 * Unused buffers, kept for reuse. Fresh memory costs more than filling it: the system maps each page on first use, and
 * V8 marks its whole heap again whenever memory outside of it has grown by a part of that heap.
 *
 * They are within the pod's memory budget (P2): they are freed as soon as the budgets need their bytes.
 */
export class IdleBuffers {
  #buffers: Buffer[] = [];
  /** The lowest count since the last check: this many buffers were not needed. */
  #leastCount = 0;
  #cancelCheck: (() => void) | undefined;
  #closed = false;

  /** @param room the bytes that the budgets leave for idle buffers */
  constructor(
    readonly bufferBytes: number,
    private readonly room: () => number,
    private readonly clock: Pick<Clock, 'after'>,
  ) {}

  get bytes(): number {
    return this.#buffers.length * this.bufferBytes;
  }

  take(): Buffer | undefined {
    const buffer = this.#buffers.pop();
    this.#leastCount = Math.min(this.#leastCount, this.#buffers.length);
    return buffer;
  }

  /** To be called when no code reads the buffer any more. */
  release(buffer: Buffer): void {
    if (this.#closed) return;
    this.#buffers.push(buffer);
    this.shrinkToRoom();
    if (this.#buffers.length > 0) this.#cancelCheck ??= this.clock.after(FREE_AFTER_MS, () => this.#freeUnneeded());
  }

  /** Frees buffers until the rest fits. To be called after each reservation in a budget. */
  shrinkToRoom(): void {
    while (this.bytes > this.room()) this.take();
  }

  /** Frees all buffers, and keeps none from now on. */
  close(): void {
    this.#closed = true;
    this.#cancelCheck?.();
    this.#buffers = [];
  }

  #freeUnneeded(): void {
    this.#buffers.length -= this.#leastCount;
    this.#leastCount = this.#buffers.length;
    this.#cancelCheck = this.#leastCount > 0 ? this.clock.after(FREE_AFTER_MS, () => this.#freeUnneeded()) : undefined;
  }
}
