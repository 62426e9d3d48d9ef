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
  /** `host:port` to listen on; undefined for a client. */
  readonly bind: string | undefined;
  readonly credentials: LinkCredentials;
  /** Time limit in which a silent peer is detected, in milliseconds. */
  readonly silenceMs: number;
  /** A larger message breaks the stream. */
  readonly maxReceiveBytes: number;
}

/** Flow-control window of a caller: bytes that a receiver may send before the caller reads. In grpc-js, only callers can set it. */
const CALLER_WINDOW_BYTES = 1024 * 1024;

// Messages pass as bytes: the link rejects malformed messages, and the outbox encodes frames into a batch one by one.
const bytes = {
  serialize: ({ buffer, byteOffset, byteLength }: Uint8Array) => Buffer.from(buffer, byteOffset, byteLength),
  deserialize: (message: Buffer) => message,
};
const KINDS: ReadonlyMap<string, StreamKind> = new Map([
  [HedgeService.link.path, 'link'],
  [HedgeService.stream.path, 'stream'],
]);

/**
 * Streams over gRPC. Each stream has its own connection: opening one takes some milliseconds longer, but bulk data never
 * delays heartbeats, and each can be closed alone. All incoming streams use one port.
 */
export class GrpcNetwork implements Network {
  readonly #streams = new Set<MessageStream>();
  readonly #gcPressure = new GcPressure();
  readonly #keepaliveMs: number;
  #listener: GrpcListener | undefined;
  #idle: (() => void) | undefined;

  constructor(private readonly options: GrpcNetworkOptions) {
    // A ping is sent after one third of the time, and its answer must arrive within another third. Without pings, only TCP
    // would notice a silent network, after minutes.
    this.#keepaliveMs = Math.ceil(options.silenceMs / 3);
  }

  listen(accept: (stream: MessageStream, kind: StreamKind) => void): Promise<number> {
    const { bind, credentials, silenceMs, maxReceiveBytes } = this.options;
    if (bind === undefined) throw new HedgeError('INVALID_OPTIONS', 'A client has no address and cannot listen');
    this.#listener = new GrpcListener({
      tls: credentials.server,
      kinds: KINDS,
      accept: (stream, kind) => accept(this.#tracked(stream), kind),
      over: (stream) => this.#untrack(stream),
      gcPressure: this.#gcPressure,
      handshakeMs: silenceMs,
      keepaliveMs: this.#keepaliveMs,
      maxReceiveBytes,
    });
    return this.#listener.listen(bind);
  }

  connect(address: string, kind: StreamKind): MessageStream {
    // The link lives far longer than the call that opened it.
    return outsideContext(() => this.#open(address, kind));
  }

  #open(address: string, kind: StreamKind): MessageStream {
    const options: ChannelOptions = {
      'grpc.keepalive_time_ms': this.#keepaliveMs,
      'grpc.keepalive_timeout_ms': this.#keepaliveMs,
      'grpc.keepalive_permit_without_calls': 1,
      'grpc.max_receive_message_length': this.options.maxReceiveBytes,
      'grpc.max_send_message_length': -1,
      'grpc.enable_channelz': 0,
      ...this.options.credentials.clientOptions,
      'grpc-node.flow_control_window': CALLER_WINDOW_BYTES,
      // A failed attempt must not delay the next one, and an HTTP proxy must not be used between members.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_http_proxy': 0,
      'grpc.service_config_disable_resolution': 1,
      'grpc.enable_retries': 0,
    };
    const client = new Client(address, this.options.credentials.client, options);
    const call = client.makeBidiStreamRequest(HedgeService[kind].path, bytes.serialize, bytes.deserialize);
    return this.#tracked(new CallerStream(address, client, call, this.#gcPressure, (stream) => this.#untrack(stream)));
  }

  async close(): Promise<void> {
    this.#listener?.stopAccepting();
    for (const stream of this.#streams) stream.end();
    await this.#streamsOver(2 * LINGER_MS);
    await this.#listener?.close();
  }

  #streamsOver(atMostMs: number): Promise<void> {
    if (this.#streams.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, atMostMs);
      this.#idle = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #tracked<S extends MessageStream>(stream: S): S {
    this.#streams.add(stream);
    return stream;
  }

  #untrack(stream: MessageStream): void {
    this.#streams.delete(stream);
    if (this.#streams.size === 0) this.#idle?.();
  }
}
