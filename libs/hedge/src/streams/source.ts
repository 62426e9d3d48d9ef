import { isObservable, type Observable } from 'rxjs';
import { HedgeError } from '../common/errors.js';
import type { ItemSink } from './item-writer.js';

/**
 * What can be streamed. An iterable, async or not, is read at the pace of the other end. An Observable cannot be
 * made to wait: what it emits too fast is held, and above `limits.maxQueuedBytes` the stream fails with OVERLOADED.
 */
export type StreamSource<T = unknown> = AsyncIterable<T> | Iterable<T> | Observable<T>;

/**
 * Text and bytes can be iterated over too, but a stream of single letters or numbers is hardly meant.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function checkSource(topic: string, source: unknown): asserts source is StreamSource {
  const streamable = isObservable(source) || isIterable(source) || isAsyncIterable(source);
  if (streamable && typeof source !== 'string' && !(source instanceof Uint8Array)) return;
  const got = source instanceof Uint8Array ? 'bytes' : `a value of type ${typeof source}`;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `The source of stream '${topic}' is ${got}. Give an async iterable, an iterable or an Observable; a single message as [message].`,
  );
}

/**
 * Reads a source into a sink: an iterable only while there is room.
 *
 * @param over called once, when the source has ended or failed, or the sink refused an item; not after `stop`.
 * @returns stops it: unsubscribes, or runs the iterator's `return`.
 */
export function feed(source: StreamSource, sink: ItemSink, over: (failure?: { error: unknown }) => void): () => void {
  return isObservable(source) ? feedObservable(source, sink, over) : feedIterable(source, sink, over);
}

function feedIterable(
  source: AsyncIterable<unknown> | Iterable<unknown>,
  sink: ItemSink,
  over: (failure?: { error: unknown }) => void,
): () => void {
  const reading = new AbortController();
  const { signal } = reading;
  let iterator: AsyncIterator<unknown> | Iterator<unknown> | undefined;
  const leave = (): void => {
    // Whatever it answers, nobody waits for it.
    void (async () => iterator?.return?.())().catch(() => undefined);
  };
  const read = async (): Promise<void> => {
    iterator = isAsyncIterable(source) ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
    for (;;) {
      const room = sink.room();
      if (room !== undefined) await room;
      if (signal.aborted) return;
      const result = await iterator.next();
      if (signal.aborted || result.done === true) return;
      try {
        sink.push(result.value);
      } catch (error) {
        leave();
        throw error;
      }
    }
  };
  const end = (failure?: { error: unknown }): void => {
    if (signal.aborted) return;
    reading.abort();
    over(failure);
  };
  read().then(
    () => end(),
    (error: unknown) => end({ error }),
  );
  return () => {
    if (signal.aborted) return;
    reading.abort();
    leave();
  };
}

function feedObservable(
  source: Observable<unknown>,
  sink: ItemSink,
  over: (failure?: { error: unknown }) => void,
): () => void {
  let ended = false;
  const end = (failure?: { error: unknown }): void => {
    if (ended) return;
    ended = true;
    over(failure);
  };
  const subscription = source.subscribe({
    next: (value) => {
      if (ended) return;
      try {
        sink.push(value);
      } catch (error) {
        // It may have emitted within `subscribe`, when there is no subscription yet.
        queueMicrotask(() => subscription.unsubscribe());
        end({ error });
      }
    },
    error: (error: unknown) => end({ error }),
    complete: () => end(),
  });
  return () => {
    ended = true;
    subscription.unsubscribe();
  };
}

export function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof (value as Partial<AsyncIterable<unknown>> | null | undefined)?.[Symbol.asyncIterator] === 'function';
}

function isIterable(value: unknown): value is Iterable<unknown> {
  return typeof (value as Partial<Iterable<unknown>> | null | undefined)?.[Symbol.iterator] === 'function';
}
