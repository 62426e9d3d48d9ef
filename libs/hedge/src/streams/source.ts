import { isObservable, type Observable, Subject, takeUntil } from 'rxjs';
import { HedgeError } from '../common/errors.js';
import { isAsyncIterable, type ItemReader, readItems } from './item-reader.js';
import type { ItemSink } from './item-writer.js';

/**
 * What can be streamed. An iterable, async or not, is read at the pace of the other end. An Observable cannot be
 * made to wait: what it emits too fast is held, and above `limits.maxQueuedBytes` the stream fails with OVERLOADED.
 *
 * A Node stream or web stream belongs to the call that gets it: it is destroyed or cancelled when the call ends,
 * however it ends. (The request of an HTTP server is not, since its answer goes over the same socket.)
 */
export type StreamSource<T = unknown> = AsyncIterable<T> | Iterable<T> | Observable<T>;

/**
 * Text and bytes can be iterated over too, but a stream of single letters or numbers is hardly meant.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function checkSource(topic: string, source: unknown): asserts source is StreamSource {
  if (isStreamable(source) && typeof source !== 'string' && !(source instanceof Uint8Array)) return;
  const got = source instanceof Uint8Array ? 'bytes' : `a value of type ${typeof source}`;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `The source of stream '${topic}' is ${got}. Give an async iterable, an iterable or an Observable; a single message as [message].`,
  );
}

/** Runs the checks of a call. When they refuse it, its source is closed, because no one else may hold it. */
export function leaveWhenRefused(source: unknown, check: () => void): void {
  try {
    check();
  } catch (error) {
    if (isStreamable(source)) new SourceReader(source).leave();
    throw error;
  }
}

/** Called once, when the source has ended or failed, or the sink refused an item; not after `leave`. */
export type SourceOver = (failure?: { readonly error: unknown }) => void;

/**
 * A source from the moment it is given until nobody wants more of it. It is heard all the time, and closed at once,
 * also while it waits for its next item: a file or a socket must not stay open for a stream that is over.
 */
export class SourceReader {
  readonly #source: Observable<unknown> | ItemReader;
  #failure: { readonly error: unknown } | undefined;
  #failedEarly: ((error: unknown) => void) | undefined;
  #stop: (() => void) | undefined;
  /** Nothing more is read. */
  #over = false;

  constructor(source: StreamSource) {
    this.#source = isObservable(source) ? source : readItems(source, { failedEarly: (error) => this.#fail(error) });
  }

  /** Calls back, once, when the source fails before it is read. */
  onEarlyFailure(listener: (error: unknown) => void): void {
    if (this.#failure !== undefined) listener(this.#failure.error);
    else this.#failedEarly = listener;
  }

  /** Reads it into a sink, once: an iterable only while there is room. */
  feed(sink: ItemSink, over: SourceOver): void {
    this.#failedEarly = undefined;
    if (this.#over) return;
    const end: SourceOver = (failure) => {
      if (this.#over) return;
      this.#over = true;
      over(failure);
    };
    if (isObservable(this.#source)) this.#stop = feedObservable(this.#source, sink, end);
    else void this.#feedItems(this.#source, sink, end);
  }

  /** Unsubscribes, destroys, cancels, or runs the iterator's `return`. Idempotent. */
  leave(): void {
    if (this.#over) return;
    this.#over = true;
    this.#failedEarly = undefined;
    this.#stop?.();
    if (!isObservable(this.#source)) this.#source.leave();
  }

  #fail(error: unknown): void {
    this.#failure = { error };
    this.#failedEarly?.(error);
    this.#failedEarly = undefined;
  }

  async #feedItems(items: ItemReader, sink: ItemSink, end: SourceOver): Promise<void> {
    try {
      for (;;) {
        const room = sink.room();
        if (room !== undefined) await room;
        if (this.#over) return;
        const { done, value } = await items.next();
        if (this.#over) return;
        if (done === true) return end();
        pushOrLeave(items, sink, value);
      }
    } catch (error) {
      end({ error });
    }
  }
}

function pushOrLeave(items: ItemReader, sink: ItemSink, value: unknown): void {
  try {
    sink.push(value);
  } catch (error) {
    items.leave();
    throw error;
  }
}

/** @returns unsubscribes, also within a call of `next`: then nothing more is emitted, however many are ready. */
function feedObservable(source: Observable<unknown>, sink: ItemSink, end: SourceOver): () => void {
  const stop = new Subject<void>();
  source.pipe(takeUntil(stop)).subscribe({
    next: (value) => {
      try {
        sink.push(value);
      } catch (error) {
        end({ error });
        stop.next();
      }
    },
    error: (error: unknown) => end({ error }),
    complete: () => end(),
  });
  return () => stop.next();
}

function isStreamable(value: unknown): value is StreamSource {
  return isObservable(value) || isIterable(value) || isAsyncIterable(value);
}

function isIterable(value: unknown): value is Iterable<unknown> {
  return typeof (value as Partial<Iterable<unknown>> | null | undefined)?.[Symbol.iterator] === 'function';
}
