import type { ServerHttp2Stream } from 'node:http2';
import { messageOf } from '../../common/errors.js';
import type { GcPressure } from '../../common/gc-pressure.js';
import { GrpcMessageReader } from './grpc-message-reader.js';
import { LINGER_MS, type MessageStream, type MessageStreamEvents } from '../streams/message-stream.js';

/** Bytes that may wait in this process before `write` asks its caller to wait. */
const WRITE_AHEAD_BYTES = 256 * 1024;
/** A message up to here is copied behind its prefix; a longer one is written after it. */
const COPIED_BYTES = 16 * 1024;
const OK = 0;
const RESOURCE_EXHAUSTED = 8;

export interface ReceiverStreamInit {
  readonly remote: string;
  readonly stream: ServerHttp2Stream;
  readonly scavenging: GcPressure;
  /** Whether a message of that length may come. */
  readonly allows: (length: number) => boolean;
  /** The peer is authenticated. */
  readonly admitted: () => void;
  /** The stream is over, and holds nothing any more. */
  readonly over: (stream: MessageStream) => void;
  /** Cuts the connection, of which this is the only stream. */
  readonly cut: () => void;
}

/** The receiver's end of a gRPC call. */
export class ReceiverStream implements MessageStream {
  readonly remote: string;
  private readonly stream: ServerHttp2Stream;
  private readonly reader: GrpcMessageReader;
  private events: MessageStreamEvents | undefined;
  private status = OK;
  private ended = false;
  private gone = false;
  private paused = false;
  private peerEnded = false;
  private lingering: NodeJS.Timeout | undefined;

  constructor(private readonly init: ReceiverStreamInit) {
    const { stream, remote, scavenging } = init;
    this.remote = remote;
    this.stream = stream;
    this.reader = new GrpcMessageReader(init.allows);
    stream.on('data', (chunk: Buffer) => {
      // What came from the socket, and the message made of it.
      scavenging.record(2 * chunk.byteLength);
      if (this.ended) return;
      this.reader.push(chunk);
      this.deliver();
    });
    stream.on('end', () => {
      this.peerEnded = true;
      this.deliver();
    });
    stream.on('drain', () => {
      if (!this.ended) this.events?.drained();
    });
    stream.on('error', (error: Error) => this.closed(error.message));
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': String(this.status) }));
    stream.on('close', () => {
      this.closed('the connection was lost');
      this.gone = true;
      clearTimeout(this.lingering);
      init.over(this);
    });
    stream.respond({ ':status': 200, 'content-type': 'application/grpc+proto' }, { waitForTrailers: true });
  }

  attach(events: MessageStreamEvents): void {
    this.events = events;
  }

  admitted(): void {
    this.init.admitted();
  }

  write(message: Uint8Array, written: () => void): boolean {
    const { stream } = this;
    this.init.scavenging.record(message.byteLength);
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
    this.paused = true;
    this.stream.pause();
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    // In a later turn, as from the network: the caller may be in the middle of taking a message.
    setImmediate(() => this.deliver());
  }

  end(): void {
    if (!this.gone) this.lingering ??= setTimeout(() => this.init.cut(), LINGER_MS);
    this.finish();
  }

  finish(): void {
    if (this.ended) return;
    this.ended = true;
    this.stream.end();
    // What comes now is thrown away, and the peer's end comes after it.
    this.stream.resume();
  }

  private deliver(): void {
    try {
      while (!this.ended && !this.paused) {
        const message = this.reader.next();
        if (message === undefined) break;
        this.events?.message(message);
      }
    } catch (error) {
      this.status = RESOURCE_EXHAUSTED;
      this.closed(messageOf(error));
      this.end();
    }
    if (this.ended || this.paused) return;
    if (this.peerEnded) this.closed('the peer ended it');
    else this.stream.resume();
  }

  /** The peer has ended, or the connection is gone. */
  private closed(reason: string): void {
    if (this.ended) return;
    this.finish();
    this.events?.closed(reason);
  }
}

/** Not compressed, and so long. */
function prefix(bytes: Buffer, length: number): void {
  bytes[0] = 0;
  bytes.writeUInt32BE(length, 1);
}
