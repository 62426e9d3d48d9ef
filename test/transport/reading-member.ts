// A member in a process of its own that takes streams, and reads from them only as many bytes as it is told to.
import { newIncarnation } from '../../libs/hedge/src/common/identity.js';
import { GrpcTransport } from '../../libs/hedge/src/transport/grpc-transport.js';

const address = '127.0.0.1:0';
const transport = new GrpcTransport({
  group: 'orders',
  self: { address, incarnation: newIncarnation() },
  bind: address,
  secret: async () => Buffer.from('secret'),
  heartbeatTimeoutMs: Number(process.argv[2]),
});
let allowed = 0;
let more: () => void = () => undefined;
process.on('message', (bytes: number) => {
  allowed += bytes;
  more();
});
const permission = async (read: number): Promise<void> => {
  if (read < allowed) return;
  await new Promise<void>((resolve) => (more = resolve));
  return permission(read);
};
transport.serveStreams('spill', async (stream) => {
  let read = 0;
  for await (const message of stream) {
    read += message.byteLength;
    await permission(read);
  }
  await stream.write(Buffer.from(String(read)));
  stream.end();
});
// The channel to the test is what keeps this process: without the test it ends.
process.on('disconnect', () => process.exit());
await transport.listen();
process.send?.(transport.self);
