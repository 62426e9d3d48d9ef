import type { Clock } from '../../common/clock.js';

/** What nobody has needed for that long is let go of. */
const LET_GO_AFTER_MS = 10_000;

/**
 * Buffers that nobody uses, to be used again. Fresh memory costs more than what is done with it: each page when it is
 * touched first, and V8 marks its whole heap again whenever memory outside of it has grown by a part of that heap.
 *
 * They are in the pod's memory budget (P2): what its budgets need, they give up at once.
 */
export class IdleBuffers {
  #buffers: Buffer[] = [];
  /** The fewest there were since the last look: so many were not needed. */
  #least = 0;
  #cancelLook: (() => void) | undefined;
  #closed = false;

  /** @param room Bytes that the budgets leave for idle buffers. */
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
    this.#least = Math.min(this.#least, this.#buffers.length);
    return buffer;
  }

  /** Nobody looks at its bytes any more. */
  release(buffer: Buffer): void {
    if (this.#closed) return;
    this.#buffers.push(buffer);
    this.fit();
    if (this.#buffers.length > 0) this.#cancelLook ??= this.clock.after(LET_GO_AFTER_MS, () => this.#look());
  }

  /** To be called whenever a budget has been taken from. */
  fit(): void {
    while (this.bytes > this.room()) this.take();
  }

  /** Keeps nothing any more. */
  close(): void {
    this.#closed = true;
    this.#cancelLook?.();
    this.#buffers = [];
  }

  #look(): void {
    this.#buffers.length -= this.#least;
    this.#least = this.#buffers.length;
    this.#cancelLook = this.#least > 0 ? this.clock.after(LET_GO_AFTER_MS, () => this.#look()) : undefined;
  }
}
