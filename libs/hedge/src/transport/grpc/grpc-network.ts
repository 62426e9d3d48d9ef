import { type ChannelOptions, Client } from '@grpc/grpc-js';
import { outsideContext } from '../../common/async/async-context.js';
import { HedgeError } from '../../common/errors.js';
import type { LinkCredentials } from './credentials.js';
import { GrpcListener } from './grpc-listener.js';
import { CallerStream } from './grpc-stream.js';
import { LINGER_MS, type MessageStream, type Network, type StreamKind } from '../streams/message-stream.js';
import { GcPressure } from '../../common/gc-pressure.js';
import { HedgeService } from '../../wire/hedge/v1/link.js';

export interface GrpcNetworkOptions {
  /** `host:port` to listen on; a client has none. */
  readonly bind: string | undefined;
  readonly credentials: LinkCredentials;
  /** A peer whose machine or network has fallen silent is noticed within this, in milliseconds. */
  readonly silenceMs: number;
  /** Larger messages break the stream. */
  readonly maxReceiveBytes: number;
}

/** Bytes that a receiver may send ahead of their being read. In grpc-js only a caller can have a wide window. */
const CALLER_WINDOW_BYTES = 1024 * 1024;

// Messages pass as bytes: a malformed one is for the link to judge, and batches are encoded as they grow.
const bytes = {
  serialize: ({ buffer, byteOffset, byteLength }: Uint8Array) => Buffer.from(buffer, byteOffset, byteLength),
  deserialize: (message: Buffer) => message,
};
const KINDS: ReadonlyMap<string, StreamKind> = new Map([
  [HedgeService.link.path, 'link'],
  [HedgeService.stream.path, 'stream'],
]);

/**
 * Streams over gRPC, each with a connection of its own, for some milliseconds more to open one: bulk data then never
 * holds up heartbeats, and each can be cut alone. One port for all that come in.
 */
export class GrpcNetwork implements Network {
  private readonly streams = new Set<MessageStream>();
  private readonly scavenging = new GcPressure();
  private readonly keepaliveMs: number;
  private listener: GrpcListener | undefined;
  private idle: (() => void) | undefined;

  constructor(private readonly options: GrpcNetworkOptions) {
    // A ping goes out after a third of the time, and its answer is awaited for another. Without, a silent
    // network is noticed only when TCP gives up, after minutes.
    this.keepaliveMs = Math.ceil(options.silenceMs / 3);
  }

  listen(accept: (stream: MessageStream, kind: StreamKind) => void): Promise<number> {
    const { bind, credentials, silenceMs, maxReceiveBytes } = this.options;
    if (bind === undefined) throw new HedgeError('INVALID_OPTIONS', 'A client has no address and cannot listen');
    this.listener = new GrpcListener({
      tls: credentials.server,
      kinds: KINDS,
      accept: (stream, kind) => accept(this.tracked(stream), kind),
      over: (stream) => this.untrack(stream),
      scavenging: this.scavenging,
      handshakeMs: silenceMs,
      keepaliveMs: this.keepaliveMs,
      maxReceiveBytes,
    });
    return this.listener.listen(bind);
  }

  connect(address: string, kind: StreamKind): MessageStream {
    // The link outlives by far whatever made this process open it.
    return outsideContext(() => this.open(address, kind));
  }

  private open(address: string, kind: StreamKind): MessageStream {
    const options: ChannelOptions = {
      'grpc.keepalive_time_ms': this.keepaliveMs,
      'grpc.keepalive_timeout_ms': this.keepaliveMs,
      'grpc.keepalive_permit_without_calls': 1,
      'grpc.max_receive_message_length': this.options.maxReceiveBytes,
      'grpc.max_send_message_length': -1,
      'grpc.enable_channelz': 0,
      ...this.options.credentials.clientOptions,
      'grpc-node.flow_control_window': CALLER_WINDOW_BYTES,
      // A failed attempt must not make the next one wait, nor a proxy for the outer world stand between members.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_http_proxy': 0,
      'grpc.service_config_disable_resolution': 1,
      'grpc.enable_retries': 0,
    };
    const client = new Client(address, this.options.credentials.client, options);
    const call = client.makeBidiStreamRequest(HedgeService[kind].path, bytes.serialize, bytes.deserialize);
    return this.tracked(new CallerStream(address, client, call, this.scavenging, (stream) => this.untrack(stream)));
  }

  async close(): Promise<void> {
    this.listener?.stopAccepting();
    for (const stream of this.streams) stream.end();
    await this.streamsOver(2 * LINGER_MS);
    await this.listener?.close();
  }

  private streamsOver(atMostMs: number): Promise<void> {
    if (this.streams.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, atMostMs);
      this.idle = () => {
        clearTimeout(timer);
        resolve();
      };
    });
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
