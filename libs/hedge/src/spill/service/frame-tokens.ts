import { onAbort } from '../../common/async/on-abort.js';

/** Somebody with a half-filled frame, who can let go of it early. */
export interface Filler {
  /** Seals what there is, now or soon; it is on its way then, and its token comes back by itself. */
  flush(): void;
}

/** Room for one frame of this pod's own stores on its way. */
export interface FrameToken {
  /** Idempotent. */
  release(): void;
}

/**
 * Bounds the frames of this pod's own stores that are on their way: being filled, sent, or read ahead. The rest of
 * the buffers is for frames of other pods, so that two pods which send to each other never wait for each other.
 *
 * Nobody waits for ever: what is sent is taken or refused, what is read ahead is at most half of the tokens, and
 * for each who waits a half-filled frame is sealed, as soon as there is one.
 */
export class FrameTokens {
  readonly #capacity: number;
  #free: number;
  readonly #waiting = new Set<() => void>();
  /** Those that fill a frame now, the longest first. */
  readonly #fillers = new Set<Filler>();
  /** Flushes that were asked for and that those who wait still count on. */
  #asked = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#free = capacity;
  }

  /** @throws the signal's reason */
  async acquire(signal: AbortSignal): Promise<FrameToken> {
    signal.throwIfAborted();
    if (this.#free > 0) return this.#grant();
    const turn = this.#turn(signal);
    this.#ask();
    await turn;
    return this.#grant(0);
  }

  /** For what can wait: only while half of the tokens are free. */
  tryAcquire(): FrameToken | undefined {
    return this.#free > this.#capacity / 2 ? this.#grant() : undefined;
  }

  /** That one fills a frame from now on, and can be asked to flush it, once. */
  filling(filler: Filler): void {
    this.#fillers.add(filler);
    // Those who came while no frame was being filled have asked nobody yet.
    this.#ask();
  }

  filled(filler: Filler): void {
    this.#fillers.delete(filler);
  }

  #ask(): void {
    for (const filler of this.#fillers) {
      if (this.#waiting.size <= this.#asked) return;
      this.#asked += 1;
      this.#fillers.delete(filler);
      filler.flush();
    }
  }

  #left(start: () => void): void {
    this.#waiting.delete(start);
    // Whichever token it was, one who asked later may have to ask again: rather once too often than never.
    this.#asked = Math.max(0, this.#asked - 1);
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

  /** Resolves with a token that somebody released, without its having been free in between. */
  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const start = (): void => {
        this.#left(start);
        stopListening();
        resolve();
      };
      const abort = (): void => {
        this.#left(start);
        reject(signal.reason as Error);
      };
      const stopListening = onAbort(signal, abort);
      this.#waiting.add(start);
    });
  }
}
