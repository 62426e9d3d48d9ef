import type { Client, ClientDuplexStream, ServerDuplexStream, StatusObject } from '@grpc/grpc-js';
import type { Scavenging } from '../common/scavenging.js';
import { LINGER_MS, type MessageStream, type MessageStreamEvents } from './message-stream.js';

type Call = ClientDuplexStream<Uint8Array, Uint8Array> | ServerDuplexStream<Uint8Array, Uint8Array>;

/** What both ends of a gRPC call have in common. */
abstract class GrpcStream<C extends Call> implements MessageStream {
  abstract readonly remote: string;
  private events: MessageStreamEvents | undefined;
  private ended = false;
  private gone = false;
  private paused = false;
  private read: (() => void) | undefined;
  private lingering: NodeJS.Timeout | undefined;

  protected constructor(
    protected readonly call: C,
    private readonly scavenging: Scavenging,
    /** The call is over, and holds nothing any more. */
    private readonly done: (stream: MessageStream) => void,
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
      scavenging.passed(2 * message.byteLength);
      if (!this.ended) this.events?.message(message);
    });
    call.on('drain', () => {
      if (!this.ended) this.events?.drained();
    });
  }

  attach(events: MessageStreamEvents): void {
    this.events = events;
  }

  write(message: Uint8Array, written: () => void): boolean {
    this.scavenging.passed(message.byteLength);
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
    if (!this.gone) this.lingering ??= setTimeout(() => this.cut(), LINGER_MS);
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
  protected closed(reason: string): void {
    if (this.ended) return;
    this.finish();
    this.events?.closed(reason);
  }

  protected over(): void {
    this.gone = true;
    clearTimeout(this.lingering);
    this.done(this);
  }

  protected abstract cut(): void;
}

/** The caller's end. It has a channel, and so a connection, of its own. */
export class CallerStream extends GrpcStream<ClientDuplexStream<Uint8Array, Uint8Array>> {
  constructor(
    readonly remote: string,
    client: Client,
    call: ClientDuplexStream<Uint8Array, Uint8Array>,
    scavenging: Scavenging,
    done: (stream: MessageStream) => void,
  ) {
    super(call, scavenging, done);
    // Every call ends with a status; an error comes with one, and unheard would end the process.
    call.on('error', () => undefined);
    call.on('status', (status: StatusObject) => {
      this.closed(status.details || 'the peer ended it');
      client.close();
      this.over();
    });
  }

  protected cut(): void {
    this.call.cancel();
  }
}

/** The receiver's end. */
export class ReceiverStream extends GrpcStream<ServerDuplexStream<Uint8Array, Uint8Array>> {
  readonly remote: string;

  constructor(
    call: ServerDuplexStream<Uint8Array, Uint8Array>,
    scavenging: Scavenging,
    done: (stream: MessageStream) => void,
    /** Cuts the connection from that address: a grpc-js server cannot cut a single call. */
    private readonly cutConnection: (remote: string) => void,
  ) {
    super(call, scavenging, done);
    this.remote = call.getPeer();
    call.on('end', () => this.closed('the peer ended it'));
    call.on('error', (error: Error) => this.closed(error.message));
    // Also the last event of a call that ended well: its trailers have been sent.
    call.on('cancelled', () => {
      this.closed('the connection was lost');
      this.over();
    });
  }

  protected cut(): void {
    this.cutConnection(this.remote);
  }
}
