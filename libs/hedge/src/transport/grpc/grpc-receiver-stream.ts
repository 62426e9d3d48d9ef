import type { ServerHttp2Stream } from 'node:http2';
import { messageOf } from '../../common/errors.js';
import type { GcPressure } from '../../common/gc-pressure.js';
import { GrpcMessageReader } from './grpc-message-reader.js';
import { GrpcStream } from './grpc-stream.js';
import type { MessageStream } from '../streams/message-stream.js';

/** Bytes that may wait in this process before `write` returns false. */
const WRITE_AHEAD_BYTES = 256 * 1024;
/** A message up to this size is copied behind its prefix. A longer message is written separately. */
const COPIED_BYTES = 16 * 1024;
const OK = 0;
const RESOURCE_EXHAUSTED = 8;

export interface ReceiverStreamInit {
  readonly remote: string;
  readonly stream: ServerHttp2Stream;
  readonly gcPressure: GcPressure;
  /** Whether the peer may send a message of this length. */
  readonly allows: (length: number) => boolean;
  /** The peer is authenticated. */
  readonly admitted: () => void;
  /** The stream has ended, and holds no resources any more. */
  readonly over: (stream: MessageStream) => void;
  /** Closes the connection, which has only this stream. */
  readonly cut: () => void;
}

/** The receiver's end of a gRPC call. */
export class ReceiverStream extends GrpcStream {
  readonly remote: string;
  readonly #stream: ServerHttp2Stream;
  readonly #reader: GrpcMessageReader;
  #status = OK;
  #paused = false;
  #peerEnded = false;

  constructor(private readonly init: ReceiverStreamInit) {
    super();
    const { stream, remote, gcPressure } = init;
    this.remote = remote;
    this.#stream = stream;
    this.#reader = new GrpcMessageReader(init.allows);
    stream.on('data', (chunk: Buffer) => {
      // The chunk from the socket, and the message copied from it.
      gcPressure.record(2 * chunk.byteLength);
      if (this.ended) return;
      this.#reader.push(chunk);
      this.#deliver();
    });
    stream.on('end', () => {
      this.#peerEnded = true;
      this.#deliver();
    });
    stream.on('drain', () => {
      if (!this.ended) this.events?.drained();
    });
    stream.on('error', (error: Error) => this.closed(error.message));
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': String(this.#status) }));
    stream.on('close', () => {
      this.closed('the connection was lost');
      this.release();
      init.over(this);
    });
    stream.respond({ ':status': 200, 'content-type': 'application/grpc+proto' }, { waitForTrailers: true });
  }

  admitted(): void {
    this.init.admitted();
  }

  write(message: Uint8Array, written: () => void): boolean {
    const stream = this.#stream;
    this.init.gcPressure.record(message.byteLength);
    if (this.ended || stream.destroyed) return true;
    const left = (error?: Error | null): void => {
      if (!error) written();
    };
    const { buffer, byteOffset, byteLength } = message;
    const bytes = Buffer.from(buffer, byteOffset, byteLength);
    if (byteLength <= COPIED_BYTES) {
      const framed = Buffer.allocUnsafe(5 + byteLength);
      prefix(framed, byteLength);
      bytes.copy(framed, 5);
      stream.write(framed, left);
    } else {
      const head = Buffer.allocUnsafe(5);
      prefix(head, byteLength);
      stream.cork();
      stream.write(head);
      stream.write(bytes, left);
      stream.uncork();
    }
    return stream.writableLength < WRITE_AHEAD_BYTES;
  }

  pause(): void {
    this.#paused = true;
    this.#stream.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    // In a later turn, as from the network: the caller may be handling a message now.
    setImmediate(() => this.#deliver());
  }

  protected endWrites(): void {
    this.#stream.end();
    this.#stream.resume();
  }

  protected cut(): void {
    this.init.cut();
  }

  #deliver(): void {
    try {
      while (!this.ended && !this.#paused) {
        const message = this.#reader.next();
        if (message === undefined) break;
        this.events?.message(message);
      }
    } catch (error) {
      this.#status = RESOURCE_EXHAUSTED;
      this.closed(messageOf(error));
      this.end();
    }
    if (this.ended || this.#paused) return;
    if (this.#peerEnded) this.closed('the peer ended it');
    else this.#stream.resume();
  }
}

/** Writes the prefix of a gRPC message: the flag "not compressed", and its length. */
function prefix(bytes: Buffer, length: number): void {
  bytes[0] = 0;
  bytes.writeUInt32BE(length, 1);
}
