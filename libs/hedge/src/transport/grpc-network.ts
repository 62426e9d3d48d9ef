import { type ChannelOptions, Client, Server, type ServerDuplexStream } from '@grpc/grpc-js';
import { HedgeError } from '../common/errors.js';
import type { LinkCredentials } from './credentials.js';
import { CallerStream, LINGER_MS, ReceiverStream } from './grpc-stream.js';
import type { MessageStream, Network } from './message-stream.js';
import { HedgeService } from './wire/hedge/v1/link.js';

export interface GrpcNetworkOptions {
  /** `host:port` to listen on; a client has none. */
  readonly bind: string | undefined;
  readonly credentials: LinkCredentials;
  /** A peer whose machine or network has fallen silent is noticed within this, in milliseconds. */
  readonly silenceMs: number;
  /** Larger messages break the stream. */
  readonly maxReceiveBytes: number;
}

/** Bytes a peer may send before it hears that they were read; a caller can have it wide, a server cannot in grpc-js. */
const CALLER_WINDOW_BYTES = 1024 * 1024;

// Messages pass as bytes: so a malformed one is the link's to judge, and batches are encoded without a copy.
const bytes = {
  serialize: ({ buffer, byteOffset, byteLength }: Uint8Array) => Buffer.from(buffer, byteOffset, byteLength),
  deserialize: (message: Buffer) => message,
};
const LINK = {
  ...HedgeService.link,
  requestSerialize: bytes.serialize,
  requestDeserialize: bytes.deserialize,
  responseSerialize: bytes.serialize,
  responseDeserialize: bytes.deserialize,
};

/** Streams over gRPC, each with a connection of its own; one port for all that come in. */
export class GrpcNetwork implements Network {
  private readonly streams = new Set<MessageStream>();
  private readonly shared: ChannelOptions;
  private server: Server | undefined;
  private idle: (() => void) | undefined;

  constructor(private readonly options: GrpcNetworkOptions) {
    // A ping goes out after a third of the time, and its answer is awaited for another. Without, a silent
    // network is noticed only when TCP gives up, after minutes.
    const third = Math.ceil(options.silenceMs / 3);
    this.shared = {
      'grpc.keepalive_time_ms': third,
      'grpc.keepalive_timeout_ms': third,
      'grpc.keepalive_permit_without_calls': 1,
      'grpc.max_receive_message_length': options.maxReceiveBytes,
      'grpc.max_send_message_length': -1,
      'grpc.enable_channelz': 0,
    };
  }

  async listen(accept: (stream: MessageStream) => void): Promise<number> {
    const { bind, credentials } = this.options;
    if (bind === undefined) throw new HedgeError('INVALID_OPTIONS', 'A client has no address and cannot listen');
    const server = new Server(this.shared);
    this.server = server;
    server.addService(
      { link: LINK },
      {
        link: (call: ServerDuplexStream<Uint8Array, Uint8Array>) =>
          accept(this.tracked(new ReceiverStream(call, (stream) => this.untrack(stream)))),
      },
    );
    return new Promise((resolve, reject) => {
      server.bindAsync(bind, credentials.server, (error, port) => {
        if (error) reject(cannotListen(bind, error));
        else resolve(port);
      });
    });
  }

  connect(address: string): MessageStream {
    const client = new Client(address, this.options.credentials.client, {
      ...this.shared,
      ...this.options.credentials.clientOptions,
      'grpc-node.flow_control_window': CALLER_WINDOW_BYTES,
      // A failed attempt must not make the next one wait, nor a proxy for the outer world stand between members.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_http_proxy': 0,
      'grpc.service_config_disable_resolution': 1,
      'grpc.enable_retries': 0,
    });
    const call = client.makeBidiStreamRequest(LINK.path, LINK.requestSerialize, LINK.responseDeserialize);
    return this.tracked(new CallerStream(address, client, call, (stream) => this.untrack(stream)));
  }

  async close(): Promise<void> {
    const { server } = this;
    const freed = new Promise<void>((resolve) => {
      if (server) server.tryShutdown(() => resolve());
      else resolve();
    });
    for (const stream of this.streams) stream.end();
    if (this.streams.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 2 * LINGER_MS);
        this.idle = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    server?.forceShutdown();
    await freed;
  }

  private tracked<S extends MessageStream>(stream: S): S {
    this.streams.add(stream);
    return stream;
  }

  private untrack(stream: MessageStream): void {
    this.streams.delete(stream);
    if (this.streams.size === 0) this.idle?.();
  }
}

function cannotListen(bind: string, cause: Error): HedgeError {
  return new HedgeError(
    'INVALID_OPTIONS',
    `Cannot listen on ${bind} (${cause.message}); the port may be taken, or the address not be this machine's: set another \`address\``,
    { cause, details: { option: 'address', value: bind } },
  );
}
