import type { Client, ClientDuplexStream, ServerDuplexStream, StatusObject } from '@grpc/grpc-js';
import type { MessageStream, MessageStreamEvents } from './message-stream.js';

/** How long an ended stream may take to get its last messages out before it is cut. */
export const LINGER_MS = 250;

type Call = ClientDuplexStream<Uint8Array, Uint8Array> | ServerDuplexStream<Uint8Array, Uint8Array>;

/** What both ends of a gRPC call have in common. */
abstract class GrpcStream<C extends Call> implements MessageStream {
  abstract readonly remote: string;
  private events: MessageStreamEvents | undefined;
  private ended = false;

  protected constructor(
    protected readonly call: C,
    /** The call is over, and holds nothing any more. */
    private readonly done: (stream: MessageStream) => void,
  ) {
    call.on('data', (message: Uint8Array) => {
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
    return this.ended || this.call.write(message, (error?: Error | null) => !error && written());
  }

  end(): void {
    if (this.ended) return;
    this.ended = true;
    this.call.end();
  }

  /** The peer has ended, or the connection is gone. */
  protected closed(reason: string): void {
    if (this.ended) return;
    this.ended = true;
    this.call.end();
    this.events?.closed(reason);
  }

  protected over(): void {
    this.done(this);
  }
}

/** The caller's end. It has a channel, and so a connection, of its own. */
export class CallerStream extends GrpcStream<ClientDuplexStream<Uint8Array, Uint8Array>> {
  private lingering: NodeJS.Timeout | undefined;

  constructor(
    readonly remote: string,
    client: Client,
    call: ClientDuplexStream<Uint8Array, Uint8Array>,
    done: (stream: MessageStream) => void,
  ) {
    super(call, done);
    // Every call ends with a status; an error comes with one, and unheard would end the process.
    call.on('error', () => undefined);
    call.on('status', (status: StatusObject) => {
      clearTimeout(this.lingering);
      this.closed(status.details || 'the peer ended it');
      client.close();
      this.over();
    });
  }

  override end(): void {
    this.lingering ??= setTimeout(() => this.call.cancel(), LINGER_MS);
    super.end();
  }
}

/** The receiver's end. */
export class ReceiverStream extends GrpcStream<ServerDuplexStream<Uint8Array, Uint8Array>> {
  readonly remote: string;

  constructor(call: ServerDuplexStream<Uint8Array, Uint8Array>, done: (stream: MessageStream) => void) {
    super(call, done);
    this.remote = call.getPeer();
    call.on('end', () => this.closed('the peer ended it'));
    call.on('error', (error: Error) => this.closed(error.message));
    // Also the last event of a call that ended well: its trailers have been sent.
    call.on('cancelled', () => {
      this.closed('the connection was lost');
      this.over();
    });
  }
}
