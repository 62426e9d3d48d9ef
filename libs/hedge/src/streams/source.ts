import { isObservable, type Observable, Subject, takeUntil } from 'rxjs';
import { HedgeError } from '../common/errors.js';
import { isAsyncIterable, type ItemReader, readItems } from './item-reader.js';
import type { ItemSink } from './item-writer.js';

/**
 * A source of a stream. An iterable, async or not, is read at the pace of the other end. An Observable has no
 * back-pressure: its values are queued, and above `limits.maxQueuedBytes` the stream fails with OVERLOADED.
 *
 * The call owns a Node stream or web stream: it destroys or cancels the stream at its end, also after a failure. (Except
 * the request of an HTTP server, because the response uses the same socket.)
 */
export type StreamSource<T = unknown> = AsyncIterable<T> | Iterable<T> | Observable<T>;

/**
 * Rejects text and bytes: they are iterable, too, but a stream of single letters or numbers is a mistake.
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

/** Runs the checks of a call. When they reject it, closes its source: the caller may hold no reference to it. */
export function leaveWhenRefused(source: unknown, check: () => void): void {
  try {
    check();
  } catch (error) {
    if (isStreamable(source)) new SourceReader(source).leave();
    throw error;
  }
}

/** Called once, when the source ended or failed, or the sink rejected an item. Not called after `leave`. */
export type SourceOver = (failure?: { readonly error: unknown }) => void;

/**
 * Reads a source for one call. It listens for errors of the source from the start, and can close it at any time, also
 * while the source waits for its next item: a file or a socket must not stay open after the end of its stream.
 */
export class SourceReader {
  readonly #source: Observable<unknown> | ItemReader;
  #failure: { readonly error: unknown } | undefined;
  #failedEarly: ((error: unknown) => void) | undefined;
  #stop: (() => void) | undefined;
  /** The reader reads no more items. */
  #over = false;

  constructor(source: StreamSource) {
    this.#source = isObservable(source) ? source : readItems(source, { failedEarly: (error) => this.#fail(error) });
  }

  /** Sets a listener, called once when the source fails before it is read. */
  onEarlyFailure(listener: (error: unknown) => void): void {
    if (this.#failure !== undefined) listener(this.#failure.error);
    else this.#failedEarly = listener;
  }

  /** Reads the source into a sink, once. Reads an iterable only while the sink has room. */
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

  /** Closes the source: unsubscribes, destroys, cancels, or calls `return` of the iterator. Idempotent. */
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

/** @returns a function that unsubscribes. Called within `next`, it stops even a synchronous source at once. */
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
