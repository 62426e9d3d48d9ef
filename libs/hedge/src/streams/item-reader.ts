import { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { ReadableStream, ReadableStreamDefaultReader } from 'node:stream/web';

/** Reads an iterable item by item. The reader can leave it at any time, also while it waits for the next item. */
export interface ItemReader {
  /** The next item. One call at a time. Rejects with the error of the source. */
  next(): Promise<IteratorResult<unknown, unknown>>;
  /**
   * Closes the source: destroys a Node stream, cancels a web stream, or calls `return` of any other iterator that was
   * created. An async generator that waits for a promise runs its `return` only after that. Idempotent.
   */
  leave(): void;
}

/**
 * Creates a reader. It listens for errors from now on: an error of a Node stream before the first `next()`, or after the
 * last, does not end the process.
 *
 * @param failedEarly called when the source fails before the first `next()`.
 * @param begin whether to create the iterator at once, so that `leave` closes it even before the first `next()`.
 *   Otherwise an unread source can be passed to another call, which then finds all of its items.
 */
export function readItems(
  source: AsyncIterable<unknown> | Iterable<unknown>,
  { failedEarly = () => undefined, begin = false }: { failedEarly?: (error: unknown) => void; begin?: boolean } = {},
): ItemReader {
  if (isNodeStream(source)) return ofNodeStream(source, failedEarly);
  if (isWebStream(source)) return ofWebStream(source);
  return isAsyncIterable(source) ? ofAsyncIterable(source, begin) : ofIterable(source, begin);
}

function ofNodeStream(stream: Readable, failedEarly: (error: unknown) => void): ItemReader {
  let iterator: AsyncIterator<unknown> | undefined;
  const failed = (error: unknown): void => {
    if (iterator === undefined) failedEarly(error);
  };
  // Never removed: the stream may still fail while it is destroyed.
  stream.on('error', failed);
  if (stream.errored != null) queueMicrotask(() => failed(stream.errored));
  // The request of an HTTP server uses the same socket as the response.
  const keepSocket = stream instanceof IncomingMessage && stream.statusCode === null;
  return {
    async next() {
      iterator ??= keepSocket ? stream.iterator({ destroyOnReturn: false }) : stream[Symbol.asyncIterator]();
      return iterator.next();
    },
    leave() {
      if (!keepSocket) stream.destroy();
      // Discards the rest of the body.
      else if (iterator !== undefined) quietly(async () => (await iterator?.return?.(), stream.resume()));
    },
  };
}

function ofWebStream(stream: ReadableStream): ItemReader {
  let reader: ReadableStreamDefaultReader<unknown> | undefined;
  return {
    async next() {
      reader ??= stream.getReader();
      const { done, value } = await reader.read();
      return { done, value };
    },
    leave() {
      quietly(() => (reader ?? stream).cancel());
    },
  };
}

function ofAsyncIterable(source: AsyncIterable<unknown>, begin: boolean): ItemReader {
  let iterator = begin ? source[Symbol.asyncIterator]() : undefined;
  return {
    async next() {
      iterator ??= source[Symbol.asyncIterator]();
      return iterator.next();
    },
    leave() {
      quietly(async () => iterator?.return?.());
    },
  };
}

/** Awaits promises among the items, as `for await` does. */
function ofIterable(source: Iterable<unknown>, begin: boolean): ItemReader {
  let iterator = begin ? source[Symbol.iterator]() : undefined;
  // Existing promises may reject long before their turn. Without a listener, that would end the process.
  if (Array.isArray(source) || source instanceof Set) {
    for (const item of source) if (item instanceof Promise) item.catch(() => undefined);
  }
  return {
    async next() {
      iterator ??= source[Symbol.iterator]();
      const { done, value } = iterator.next();
      return { done: done === true, value: await value };
    },
    leave() {
      quietly(async () => iterator?.return?.());
    },
  };
}

/** Calls a cleanup without waiting for it, and ignores its error. */
function quietly(leave: () => Promise<unknown>): void {
  void leave().catch(() => undefined);
}

export function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof (value as Partial<AsyncIterable<unknown>> | null | undefined)?.[Symbol.asyncIterator] === 'function';
}

/** Recognises the streams of Node and of the package readable-stream. */
function isNodeStream(value: object): value is Readable {
  if (value instanceof Readable) return true;
  const { on, pipe, destroy } = value as Partial<Readable>;
  return [on, pipe, destroy].every((method) => typeof method === 'function') && isAsyncIterable(value);
}

function isWebStream(value: object): value is ReadableStream {
  const { getReader, cancel } = value as Partial<ReadableStream>;
  return typeof getReader === 'function' && typeof cancel === 'function';
}
