import type { Client, ClientDuplexStream, StatusObject } from '@grpc/grpc-js';
import type { GcPressure } from '../../common/gc-pressure.js';
import { LINGER_MS, type MessageStream, type MessageStreamEvents } from '../streams/message-stream.js';

/** The caller's end of a gRPC call. It has a channel, and so a connection, of its own. */
export class CallerStream implements MessageStream {
  private events: MessageStreamEvents | undefined;
  private ended = false;
  private gone = false;
  private paused = false;
  private read: (() => void) | undefined;
  private lingering: NodeJS.Timeout | undefined;

  constructor(
    readonly remote: string,
    client: Client,
    private readonly call: ClientDuplexStream<Uint8Array, Uint8Array>,
    private readonly scavenging: GcPressure,
    /** The call is over, and holds nothing any more. */
    done: (stream: MessageStream) => void,
  ) {
    // gRPC takes the next message from the network when its stream asks for one by `_read`, and asks the peer to
    // wait when it does not. `call.pause()` would let sixteen more come first, whatever their size.
    const read = call._read.bind(call);
    call._read = (size) => {
      if (this.paused) this.read = () => read(size);
      else read(size);
    };
    call.on('data', (message: Uint8Array) => {
      // What came from the socket, and the message made of it.
      scavenging.record(2 * message.byteLength);
      if (!this.ended) this.events?.message(message);
    });
    call.on('drain', () => {
      if (!this.ended) this.events?.drained();
    });
    // Every call ends with a status; an error comes with one, and unheard would end the process.
    call.on('error', () => undefined);
    call.on('status', (status: StatusObject) => {
      this.closed(status.details || 'the peer ended it');
      client.close();
      this.gone = true;
      clearTimeout(this.lingering);
      done(this);
    });
  }

  attach(events: MessageStreamEvents): void {
    this.events = events;
  }

  admitted(): void {
    // A caller reads from a member that it chose to call.
  }

  write(message: Uint8Array, written: () => void): boolean {
    this.scavenging.record(message.byteLength);
    return this.ended || this.call.write(message, (error?: Error | null) => !error && written());
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    const { read } = this;
    this.read = undefined;
    read?.();
  }

  end(): void {
    if (!this.gone) this.lingering ??= setTimeout(() => this.call.cancel(), LINGER_MS);
    this.finish();
  }

  finish(): void {
    if (this.ended) return;
    this.ended = true;
    this.call.end();
    // What comes now is thrown away, and the peer's end comes after it.
    this.resume();
  }

  /** The peer has ended, or the connection is gone. */
  private closed(reason: string): void {
    if (this.ended) return;
    this.finish();
    this.events?.closed(reason);
  }
}
