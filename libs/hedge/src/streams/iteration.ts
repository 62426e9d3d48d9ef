import { onAbort } from '../common/async/on-abort.js';
import { HedgeError } from '../common/errors.js';

/** Ends an iteration from outside, for whatever reason comes first. */
export class GivenUp {
  readonly #controller = new AbortController();
  readonly #stop: () => void = () => undefined;
  /** The consumer has left the loop, and is told of nothing more. */
  left = false;

  /** @param given the caller's own; may outlive many streams. */
  constructor(given: AbortSignal | undefined) {
    if (given === undefined) return;
    const abort = (): void => this.because(given.reason);
    this.#stop = onAbort(given, abort);
    if (given.aborted) abort();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Only the first reason counts. */
  because(reason: unknown): void {
    this.#controller.abort(reason);
  }

  over(): void {
    this.#stop();
  }
}

/**
 * Iterates over what `run` yields. Nothing happens before the first `next()`; and leaving it ends also a `next()` that
 * waits.
 *
 * @param over called when nothing more is wanted, at once: also by a `return()` before the first `next()`.
 */
export function iterateUntilLeft<T>(
  given: AbortSignal | undefined,
  run: (givenUp: GivenUp) => AsyncIterable<T>,
  over: () => void,
): AsyncIterableIterator<T, void> {
  let givenUp: GivenUp | undefined;
  async function* begin(): AsyncGenerator<T, void> {
    givenUp = new GivenUp(given);
    // Also while the consumer is busy with an item.
    givenUp.signal.addEventListener('abort', over, { once: true });
    try {
      givenUp.signal.throwIfAborted();
      for await (const item of run(givenUp)) yield item;
    } catch (error) {
      if (!givenUp.left) throw error;
    } finally {
      givenUp.over();
      over();
    }
  }
  const generator = begin();
  return {
    next: () => generator.next(),
    return() {
      if (givenUp !== undefined) {
        givenUp.left = true;
        givenUp.because(new HedgeError('CANCELLED', 'The caller has left the stream'));
      }
      over();
      return generator.return();
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
