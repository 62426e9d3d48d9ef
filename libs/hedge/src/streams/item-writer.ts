import { HedgeError } from '../common/errors.js';
import type { Encoded } from '../messaging/message.js';
import type { PayloadCodec } from '../messaging/serializer.js';
import type { PeerStream } from '../transport/streams/peer-stream.js';
import { FramePacker, ITEM_HEADER_BYTES } from './item-frames.js';

/** The destination of the items of a source. */
export interface ItemSink {
  /** @throws HedgeError when the item cannot be accepted. The stream must fail then. */
  push(value: unknown): void;
  /**
   * Waits for room; undefined when there is room. A source with back-pressure calls it before each push. After a failure of
   * the stream it never resolves: otherwise an infinite source would be read at full speed until someone ends it.
   */
  room(): Promise<void> | undefined;
}

/** A sink that encodes the values of a topic into a writer. */
export function sinkOf(writer: ItemWriter, topic: string, codec: PayloadCodec): ItemSink {
  return { push: (value) => writer.push(topic, codec.encode(topic, value)), room: () => writer.room() };
}

export interface StreamLimits {
  /** Largest item with its header, in bytes. */
  readonly maxMessageBytes: number;
  /** Bytes that may wait to be written. Only a source without back-pressure reaches this limit. */
  readonly maxQueuedBytes: number;
}

/**
 * Writes items to a stream. The items of one turn of the event loop share a frame. It does not wait for further items.
 */
export class ItemWriter {
  /** The number of items passed to the stream. */
  sent = 0;
  /** The number of frames that the stream has accepted. */
  framesWritten = 0;
  readonly #packer: FramePacker;
  #waitingBytes = 0;
  #flushing = false;
  #room: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;

  constructor(
    private readonly stream: PeerStream,
    private readonly limits: StreamLimits,
  ) {
    this.#packer = new FramePacker((frame, items) => this.#write(frame, items));
  }

  /**
   * @param topic for the message of an error.
   * @throws HedgeError PAYLOAD_TOO_LARGE, or OVERLOADED when too many bytes wait already.
   */
  push(topic: string, item: Encoded): void {
    if (this.stream.signal.aborted) return;
    const size = item.bytes.byteLength + ITEM_HEADER_BYTES;
    if (size > this.limits.maxMessageBytes) throw tooLarge(topic, size, this.limits.maxMessageBytes);
    if (this.#waitingBytes > this.limits.maxQueuedBytes) throw overrun(topic, this.#waitingBytes);
    this.#packer.add(item);
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      this.#packer.flush();
    });
  }

  room(): Promise<void> | undefined {
    return this.#room?.promise;
  }

  /** True while written frames wait for the peer. */
  get blocked(): boolean {
    return this.#room !== undefined;
  }

  /** Ends the items. Resolves when the stream has accepted all of them, or has failed. */
  async end(): Promise<void> {
    this.#packer.flush();
    const room = this.room();
    if (room !== undefined) await untilAborted(room, this.stream.signal);
    this.stream.end();
  }

  /** Ends with an error, after the pushed items. */
  fail(error: HedgeError): void {
    this.#packer.flush();
    this.stream.fail(error);
  }

  #write(frame: Uint8Array, items: number): void {
    const { byteLength } = frame;
    this.sent += items;
    this.#waitingBytes += byteLength;
    if (this.#room === undefined) {
      let resolve!: () => void;
      const promise = new Promise<void>((done) => (resolve = done));
      this.#room = { promise, resolve };
    }
    const written = (): void => {
      this.framesWritten += 1;
      this.#waitingBytes -= byteLength;
      if (this.#waitingBytes > 0) return;
      this.#room?.resolve();
      this.#room = undefined;
    };
    // The signal of the stream reports its failure. There is no room then.
    this.stream.write(frame).then(written, () => undefined);
  }
}

function untilAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = (): void => {
      signal.removeEventListener('abort', end);
      resolve();
    };
    signal.addEventListener('abort', end, { once: true });
    void promise.then(end);
  });
}

function tooLarge(topic: string, bytes: number, limit: number): HedgeError {
  return new HedgeError(
    'PAYLOAD_TOO_LARGE',
    `A message of stream '${topic}' was not sent: it has ${bytes} bytes; at most ${limit} are allowed. Split it, or raise limits.maxMessageBytes on all pods.`,
    { details: { bytes, limit } },
  );
}

function overrun(topic: string, waiting: number): HedgeError {
  return new HedgeError(
    'OVERLOADED',
    `Stream '${topic}' failed: ${waiting} bytes wait for a slow reader, and its Observable has no back-pressure. Give an async iterable, which waits for the reader, or emit less.`,
    { details: { waiting }, retryable: false },
  );
}
