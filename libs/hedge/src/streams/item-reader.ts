import { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { ReadableStream, ReadableStreamDefaultReader } from 'node:stream/web';

/** Reads an iterable item by item. It can be left at any moment, also while it waits for the next item. */
export interface ItemReader {
  /** One call at a time. Rejects with what the source failed with. */
  next(): Promise<IteratorResult<unknown, unknown>>;
  /**
   * Nothing more is wanted: destroys a Node stream, cancels a web stream, and runs the `return` of any other iterator
   * that was begun. An async generator that waits for something runs its `return` only once that has come. Idempotent.
   */
  leave(): void;
}

/**
 * A reader of that source, which is heard from now on: an error of a Node stream that comes before the first `next()`, or
 * after the last, does not end the process.
 *
 * @param failedEarly called when the source fails before the first `next()`.
 * @param begin an iterator is made at once, and so is left also when no item was asked for. Else it can be given to
 *   another call, which must not take it for an empty one.
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
  // Stays for good: the stream may fail while it is destroyed, too.
  stream.on('error', failed);
  if (stream.errored != null) queueMicrotask(() => failed(stream.errored));
  // The request that an HTTP server still has to answer goes over the same socket as the answer.
  const keepSocket = stream instanceof IncomingMessage && stream.statusCode === null;
  return {
    async next() {
      iterator ??= keepSocket ? stream.iterator({ destroyOnReturn: false }) : stream[Symbol.asyncIterator]();
      return iterator.next();
    },
    leave() {
      if (!keepSocket) stream.destroy();
      // Lets what is left of its body pass.
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

/** As `for await` does it, promises among the items are awaited. */
function ofIterable(source: Iterable<unknown>, begin: boolean): ItemReader {
  let iterator = begin ? source[Symbol.iterator]() : undefined;
  // Promises that are there already may reject long before their turn, and unheard would end the process.
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

/** Whatever it answers, nobody waits for it. */
function quietly(leave: () => Promise<unknown>): void {
  void leave().catch(() => undefined);
}

export function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof (value as Partial<AsyncIterable<unknown>> | null | undefined)?.[Symbol.asyncIterator] === 'function';
}

/** Also those of the package readable-stream, which are none of Node's own. */
function isNodeStream(value: object): value is Readable {
  if (value instanceof Readable) return true;
  const { on, pipe, destroy } = value as Partial<Readable>;
  return [on, pipe, destroy].every((method) => typeof method === 'function') && isAsyncIterable(value);
}

function isWebStream(value: object): value is ReadableStream {
  const { getReader, cancel } = value as Partial<ReadableStream>;
  return typeof getReader === 'function' && typeof cancel === 'function';
}
