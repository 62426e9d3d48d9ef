// A member in a separate process that accepts streams, and reads only as many bytes as the test allows.
import { memberTransport } from './member-transport.js';

const transport = memberTransport(Number(process.argv[2]));
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
// Only the channel to the test keeps this process alive: it ends with the test.
process.on('disconnect', () => process.exit());
await transport.listen();
process.send?.(transport.self);
