import type { Client, ClientDuplexStream, StatusObject } from '@grpc/grpc-js';
import type { GcPressure } from '../../common/gc-pressure.js';
import { LINGER_MS, type MessageStream, type MessageStreamEvents } from '../streams/message-stream.js';

/** One end of a gRPC call: its listener and its end, which are the same at the caller and at the receiver. */
export abstract class GrpcStream implements MessageStream {
  abstract readonly remote: string;
  protected events: MessageStreamEvents | undefined;
  protected ended = false;
  #released = false;
  #lingering: NodeJS.Timeout | undefined;

  attach(events: MessageStreamEvents): void {
    this.events = events;
  }

  abstract admitted(): void;
  abstract write(message: Uint8Array, written: () => void): boolean;
  abstract pause(): void;
  abstract resume(): void;

  end(): void {
    if (!this.#released) this.#lingering ??= setTimeout(() => this.cut(), LINGER_MS);
    this.finish();
  }

  finish(): void {
    if (this.ended) return;
    this.ended = true;
    this.endWrites();
  }

  /** The peer has ended the stream, or the connection was lost. */
  protected closed(reason: string): void {
    if (this.ended) return;
    this.finish();
    this.events?.closed(reason);
  }

  /** The call holds no resources any more. */
  protected release(): void {
    this.#released = true;
    clearTimeout(this.#lingering);
  }

  /** Ends this side, and drops the messages that arrive before the end of the peer. */
  protected abstract endWrites(): void;

  /** Ends the call on both sides at once. */
  protected abstract cut(): void;
}

/** The caller's end of a gRPC call. It has its own channel, and so its own connection. */
export class CallerStream extends GrpcStream {
  #paused = false;
  #read: (() => void) | undefined;

  constructor(
    readonly remote: string,
    client: Client,
    private readonly call: ClientDuplexStream<Uint8Array, Uint8Array>,
    private readonly gcPressure: GcPressure,
    /** The call has ended, and holds no resources any more. */
    done: (stream: MessageStream) => void,
  ) {
    super();
    // grpc-js reads the next message from the network when its stream calls `_read`. Otherwise flow control stops the peer.
    // With `call.pause()`, sixteen more messages of any size would arrive first.
    const read = call._read.bind(call);
    call._read = (size) => {
      if (this.#paused) this.#read = () => read(size);
      else read(size);
    };
    call.on('data', (message: Uint8Array) => {
      // The chunk from the socket, and the message copied from it.
      gcPressure.record(2 * message.byteLength);
      if (!this.ended) this.events?.message(message);
    });
    call.on('drain', () => {
      if (!this.ended) this.events?.drained();
    });
    // Every call ends with a status. An error event comes with it; without a listener it would end the process.
    call.on('error', () => undefined);
    call.on('status', (status: StatusObject) => {
      // A failed dial ends with a note of the name resolver, which is mostly empty.
      this.closed(status.details.replace(/\.? Resolution note: *$/, '') || 'the peer ended it');
      client.close();
      this.release();
      done(this);
    });
  }

  admitted(): void {
    // A caller chose the member that it called, so it bounds nothing before.
  }

  write(message: Uint8Array, written: () => void): boolean {
    this.gcPressure.record(message.byteLength);
    return this.ended || this.call.write(message, (error?: Error | null) => !error && written());
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    const read = this.#read;
    this.#read = undefined;
    read?.();
  }

  protected endWrites(): void {
    this.call.end();
    this.resume();
  }

  protected cut(): void {
    this.call.cancel();
  }
}
