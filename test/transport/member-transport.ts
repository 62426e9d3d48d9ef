import { newIncarnation } from '../../libs/hedge/src/common/identity.js';
import { GrpcTransport } from '../../libs/hedge/src/transport/grpc/grpc-transport.js';

/** The transport of a member in a separate process, with the group and the secret of the tests. */
export function memberTransport(heartbeatTimeoutMs: number): GrpcTransport {
  const address = '127.0.0.1:0';
  return new GrpcTransport({
    group: 'orders',
    self: { address, incarnation: newIncarnation() },
    bind: address,
    secret: async () => Buffer.from('secret'),
    heartbeatTimeoutMs,
  });
}
