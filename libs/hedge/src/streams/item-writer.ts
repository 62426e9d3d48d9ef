import { HedgeError } from '../common/errors.js';
import type { Encoded } from '../messaging/message.js';
import type { PayloadCodec } from '../messaging/serializer.js';
import type { PeerStream } from '../transport/streams/peer-stream.js';
import { FramePacker, ITEM_HEADER_BYTES } from './item-frames.js';

/** Where the items of a source go. */
export interface ItemSink {
  /** @throws HedgeError when the item cannot be taken: then the stream is to fail. */
  push(value: unknown): void;
  /**
   * Waits for room; undefined when there is some. Whoever can wait asks before each push. Once the stream has failed
   * there never is any: a source without end must not be read on at full speed until somebody looks.
   */
  room(): Promise<void> | undefined;
}

/** Encodes the values of a topic into that writer. */
export function sinkOf(writer: ItemWriter, topic: string, codec: PayloadCodec): ItemSink {
  return { push: (value) => writer.push(topic, codec.encode(topic, value)), room: () => writer.room() };
}

export interface StreamLimits {
  /** Largest item with its header, in bytes. */
  readonly maxMessageBytes: number;
  /** Bytes that may wait to be written: only a source that cannot be made to wait gets there. */
  readonly maxQueuedBytes: number;
}

/**
 * Writes items to a stream: those of one turn of the event loop share a frame. It never waits for more to come.
 */
export class ItemWriter {
  /** Items handed to the stream. */
  sent = 0;
  /** Frames that the stream has taken. */
  taken = 0;
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
   * @param topic only for the error's message.
   * @throws HedgeError PAYLOAD_TOO_LARGE; OVERLOADED when too much waits already.
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

  /** True while the peer does not take what was written. */
  get blocked(): boolean {
    return this.#room !== undefined;
  }

  /** Nothing is pushed any more. Resolves when the stream has taken everything, or has failed. */
  async end(): Promise<void> {
    this.#packer.flush();
    const room = this.room();
    if (room !== undefined) await untilAborted(room, this.stream.signal);
    this.stream.end();
  }

  /** Ends with an error, after what was pushed. */
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
    const taken = (): void => {
      this.taken += 1;
      this.#waitingBytes -= byteLength;
      if (this.#waitingBytes > 0) return;
      this.#room?.resolve();
      this.#room = undefined;
    };
    // A stream that failed tells so by its signal, and has no room.
    this.stream.write(frame).then(taken, () => undefined);
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
    `A message of stream '${topic}' has ${bytes} bytes; at most ${limit} are allowed. Split it, or raise limits.maxMessageBytes on all pods.`,
    { details: { bytes, limit } },
  );
}

function overrun(topic: string, waiting: number): HedgeError {
  return new HedgeError(
    'OVERLOADED',
    `${waiting} bytes of stream '${topic}' wait for a slow reader, and its Observable goes on emitting. Give an async iterable, which can be made to wait, or emit less.`,
    { details: { waiting }, retryable: false },
  );
}
