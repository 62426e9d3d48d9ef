import { onAbort } from '../../common/async/on-abort.js';

/** A writer with a partly filled frame, which it can seal early. */
export interface FillingWriter {
  /** Seals the frame now or soon. Its token is released when the frame is placed. */
  flush(): void;
}

/** The right to have one frame of this pod's own stores in flight. */
export interface FrameToken {
  /** Idempotent. */
  release(): void;
}

/**
 * Bounds the frames of this pod's own stores that are in flight: being filled, sent, or read ahead. The other buffers
 * are for frames of other pods, so that two pods that send to each other never wait for each other.
 *
 * No caller waits forever: a sent frame is stored or refused, frames that are read ahead use at most half of the tokens,
 * and for each waiting caller one partly filled frame is sealed as soon as there is one.
 */
export class FrameTokens {
  readonly #capacity: number;
  #free: number;
  readonly #waiting = new Set<() => void>();
  /** Writers with a partly filled frame, the oldest first. */
  readonly #fillingWriters = new Set<FillingWriter>();
  /** Requested flushes that have not served a waiting caller yet. */
  #requestedFlushes = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#free = capacity;
  }

  /** @throws the signal's reason */
  async acquire(signal: AbortSignal): Promise<FrameToken> {
    signal.throwIfAborted();
    if (this.#free > 0) return this.#grant();
    const released = this.#waitForRelease(signal);
    this.#requestFlushes();
    await released;
    return this.#grant(0);
  }

  /** For frames that are read ahead: undefined unless more than half of the tokens are free. */
  tryAcquire(): FrameToken | undefined {
    return this.#free > this.#capacity / 2 ? this.#grant() : undefined;
  }

  /** The writer fills a frame from now on. It may be asked to flush it, once. */
  filling(writer: FillingWriter): void {
    this.#fillingWriters.add(writer);
    // Serves callers that began to wait while no frame was being filled.
    this.#requestFlushes();
  }

  filled(writer: FillingWriter): void {
    this.#fillingWriters.delete(writer);
  }

  #requestFlushes(): void {
    for (const writer of this.#fillingWriters) {
      if (this.#waiting.size <= this.#requestedFlushes) return;
      this.#requestedFlushes += 1;
      this.#fillingWriters.delete(writer);
      writer.flush();
    }
  }

  #stopWaiting(start: () => void): void {
    this.#waiting.delete(start);
    // The released token may be of any frame, so a later caller may request one flush too many; never one too few.
    this.#requestedFlushes = Math.max(0, this.#requestedFlushes - 1);
  }

  #grant(taken = 1): FrameToken {
    this.#free -= taken;
    let held = true;
    return {
      release: () => {
        if (!held) return;
        held = false;
        const [next] = this.#waiting;
        if (next === undefined) this.#free += 1;
        else next();
      },
    };
  }

  /** Resolves when a token is released for this caller. The token is never free in between. */
  #waitForRelease(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const start = (): void => {
        this.#stopWaiting(start);
        stopListening();
        resolve();
      };
      const abort = (): void => {
        this.#stopWaiting(start);
        reject(signal.reason as Error);
      };
      const stopListening = onAbort(signal, abort);
      this.#waiting.add(start);
    });
  }
}
