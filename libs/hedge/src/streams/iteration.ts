import { onAbort } from '../common/async/on-abort.js';
import { HedgeError } from '../common/errors.js';

/** Cancels an iteration from outside, with the first of several reasons. */
export class Cancellation {
  readonly #controller = new AbortController();
  readonly #stop: () => void = () => undefined;
  /** The consumer has left the loop, and receives no more errors. */
  left = false;

  /** @param given the signal of the caller, which may outlive many streams. */
  constructor(given: AbortSignal | undefined) {
    if (given === undefined) return;
    const abort = (): void => this.cancel(given.reason);
    this.#stop = onAbort(given, abort);
    if (given.aborted) abort();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Only the first reason counts. */
  cancel(reason: unknown): void {
    this.#controller.abort(reason);
  }

  /** Removes the listener of the caller's signal. */
  release(): void {
    this.#stop();
  }
}

/**
 * Iterates over the items of `run`, which starts with the first `next()`. Leaving the iteration also ends a `next()` that
 * waits.
 *
 * @param over called at once when the consumer wants no more items, also by a `return()` before the first `next()`.
 */
export function iterateUntilLeft<T>(
  given: AbortSignal | undefined,
  run: (cancellation: Cancellation) => AsyncIterable<T>,
  over: () => void,
): AsyncIterableIterator<T, void> {
  let cancellation: Cancellation | undefined;
  async function* begin(): AsyncGenerator<T, void> {
    cancellation = new Cancellation(given);
    // Called even while the consumer is busy with an item.
    cancellation.signal.addEventListener('abort', over, { once: true });
    try {
      cancellation.signal.throwIfAborted();
      for await (const item of run(cancellation)) yield item;
    } catch (error) {
      if (!cancellation.left) throw error;
    } finally {
      cancellation.release();
      over();
    }
  }
  const generator = begin();
  return {
    next: () => generator.next(),
    return() {
      if (cancellation !== undefined) {
        cancellation.left = true;
        cancellation.cancel(new HedgeError('CANCELLED', 'The caller has left the stream'));
      }
      over();
      return generator.return();
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
