import { linkCredentials, type TlsOptions } from './credentials.js';
import { GrpcNetwork } from './grpc-network.js';
import { DEFAULT_MAX_MESSAGE_BYTES, LinkTransport, type LinkTransportOptions } from '../links/link-transport.js';

export interface GrpcTransportOptions extends LinkTransportOptions {
  /** `host:port` to listen on (see `resolveAddress`); undefined for a client. */
  readonly bind?: string;
  /** Time limit in which a silent peer loses its links, in milliseconds: the heartbeat timeout of the group. */
  readonly heartbeatTimeoutMs: number;
  readonly tls?: TlsOptions;
}

/** Size of an envelope beyond the largest payload: the other fields, or a batch of small frames. */
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
