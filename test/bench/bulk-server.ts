import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import { answer } from './child.js';
import { RAW_STREAMS } from './raw-streams.js';

/** Sends bulk data to each caller, as fast as it reads: the bulk rate of gRPC between two processes. */
const MEGABYTE = Buffer.alloc(1024 * 1024, 'bulk');
const server = new Server({ 'grpc.max_send_message_length': -1, 'grpc.enable_channelz': 0 });
server.addService(
  { bulk: RAW_STREAMS.count },
  {
    bulk: (call: ServerDuplexStream<Buffer, Buffer>) => {
      const send = (): void => {
        while (!call.writableEnded && !call.destroyed && call.write(MEGABYTE));
      };
      call.on('drain', send);
      call.on('data', () => undefined);
      call.on('error', () => undefined);
      call.on('cancelled', () => call.destroy());
      call.on('end', () => call.end());
      send();
    },
  },
);
const port = await new Promise<number>((resolve, reject) => {
  server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
    error ? reject(error) : resolve(bound),
  );
});
const commands = { port: () => port };
export type BulkServerCommands = typeof commands;
answer(commands);
