// A member in a process of its own that takes streams, and reads from them only as many bytes as it is told to.
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
// The channel to the test is what keeps this process: without the test it ends.
process.on('disconnect', () => process.exit());
await transport.listen();
process.send?.(transport.self);
