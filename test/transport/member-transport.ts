import { newIncarnation } from '../../libs/hedge/src/common/identity.js';
import { GrpcTransport } from '../../libs/hedge/src/transport/grpc/grpc-transport.js';

/** The transport of a member in a process of its own, of the group and with the secret that the tests of it use. */
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
