import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import { answer } from './child.js';
import { RAW_STREAMS } from './raw-streams.js';

const server = new Server();
type Call = ServerDuplexStream<Buffer, Buffer>;
server.addService(RAW_STREAMS, {
  echo(call: Call) {
    call.on('data', (message: Buffer) => {
      if (!call.write(message)) {
        call.pause();
        call.once('drain', () => call.resume());
      }
    });
    call.on('end', () => call.end());
  },
  count(call: Call) {
    let bytes = 0;
    call.on('data', (chunk: Buffer) => (bytes += chunk.byteLength));
    call.on('end', () => {
      call.write(Buffer.from(String(bytes)));
      call.end();
    });
  },
});
await new Promise<void>((resolve, reject) => {
  const address = `127.0.0.1:${process.env['BENCH_PORT']}`;
  server.bindAsync(address, ServerCredentials.createInsecure(), (error) => (error ? reject(error) : resolve()));
});
answer({});
