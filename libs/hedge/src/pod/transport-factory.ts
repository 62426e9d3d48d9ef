import { resolveAddress } from '../transport/address.js';
import type { GroupSecrets } from '../transport/handshake/group-identity.js';
import { GrpcTransport } from '../transport/grpc/grpc-transport.js';
import type { StreamTransport } from '../transport/streams/peer-stream.js';
import type { Transport } from '../transport/transport.js';
import type { MemberId } from '../common/identity.js';
import type { Logger } from '../common/line-logger.js';
import type { Metrics } from '../telemetry/metrics.js';
import type { PodSettings } from './settings.js';

export interface TransportContext {
  readonly settings: PodSettings;
  readonly incarnation: string;
  /** Reads the secret of the group for this pod. The transport calls it for each handshake. */
  readonly secret: (self: MemberId) => Promise<GroupSecrets>;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

export interface MadeTransport {
  readonly transport: Transport & StreamTransport;
  /** The source of the address, for the log: `given`, `POD_IP`, `interface eth0`; empty for a client. */
  readonly source: string;
}

/** Creates the transport of a pod. `HedgeTestingModule` replaces it by an in-memory network. */
export type TransportFactory = (context: TransportContext) => MadeTransport;

export const grpcTransport: TransportFactory = ({ settings, incarnation, secret, logger, metrics }) => {
  const { group, timing, limits } = settings;
  const tls = settings.tls.reveal();
  const common = {
    group,
    secret,
    logger,
    metrics,
    heartbeatTimeoutMs: timing.heartbeatTimeoutMs,
    timing,
    maxMessageBytes: limits.maxMessageBytes,
    maxQueuedBytes: limits.maxQueuedBytes,
    ...(tls && { tls }),
  };
  if (settings.mode !== 'member') {
    return { transport: new GrpcTransport({ ...common, self: { address: '', incarnation } }), source: '' };
  }
  const { advertised, bind, source } = resolveAddress(settings.address);
  return { transport: new GrpcTransport({ ...common, self: { address: advertised, incarnation }, bind }), source };
};
