import { linkCredentials, type TlsOptions } from './credentials.js';
import { GrpcNetwork } from './grpc-network.js';
import { DEFAULT_MAX_MESSAGE_BYTES, LinkTransport, type LinkTransportOptions } from '../links/link-transport.js';

export interface GrpcTransportOptions extends LinkTransportOptions {
  /** `host:port` to listen on (see `resolveAddress`); a client has none. */
  readonly bind?: string;
  /** A peer that has fallen silent loses its links within this, in milliseconds: the group's heartbeat timeout. */
  readonly heartbeatTimeoutMs: number;
  readonly tls?: TlsOptions;
}

/** What an envelope holds besides one largest payload: the other fields, or a batch of small frames. */
const ENVELOPE_OVERHEAD_BYTES = 1024 * 1024;

/**
 * Links over gRPC.
 *
 * @throws HedgeError INVALID_OPTIONS when `tls` cannot be used.
 *
 * @example
 * const { advertised, bind } = resolveAddress(':7400');
 * const transport = new GrpcTransport({
 *   group: 'orders', self: { address: advertised, incarnation: newIncarnation() }, bind,
 *   secret: () => readGroupSecret(), heartbeatTimeoutMs: 5_000,
 * });
 * transport.attach(events, sessions);
 * await transport.listen();
 */
export class GrpcTransport extends LinkTransport {
  constructor(options: GrpcTransportOptions) {
    super(
      { handshakeTimeoutMs: options.heartbeatTimeoutMs, ...options },
      new GrpcNetwork({
        bind: options.bind,
        credentials: linkCredentials(options.tls),
        silenceMs: options.heartbeatTimeoutMs,
        maxReceiveBytes: (options.maxMessageBytes ?? DEFAULT_MAX_MESSAGE_BYTES) + ENVELOPE_OVERHEAD_BYTES,
      }),
    );
  }
}
