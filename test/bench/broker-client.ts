import { answer } from './child.js';
import { MESSAGE, runLoad, type LoadShape } from './load.js';

interface Client {
  /** One operation. It counts when it is answered. */
  call(): Promise<unknown>;
  respond?(): Promise<void>;
}

const port = process.env['BENCH_PORT'] ?? '';
let count = 0;
const nextKey = (): string => `bench/${(count += 1) % 1_000}`;

/** Each broker, used through its usual Node client. */
const CLIENTS: Record<string, () => Promise<Client>> = {
  'nats-request': async () => {
    const { connect } = await import('@nats-io/transport-node');
    const connection = await connect({ servers: `127.0.0.1:${port}` });
    return {
      call: () => connection.request('echo', MESSAGE),
      respond: () => {
        connection.subscribe('echo', { callback: (_error, message) => void message.respond(message.data) });
        return connection.flush();
      },
    };
  },
  'redis-set': async () => {
    const { createClient } = await import('redis');
    const client = createClient({ socket: { host: '127.0.0.1', port: Number(port) } });
    await client.connect();
    return { call: () => client.set(nextKey(), MESSAGE) };
  },
  'etcd-put': async () => {
    const { Etcd3 } = await import('etcd3');
    const client = new Etcd3({ hosts: `http://127.0.0.1:${port}` });
    return { call: () => client.put(nextKey()).value(MESSAGE).exec() };
  },
};

const client = await CLIENTS[process.env['BENCH_BROKER'] ?? '']?.();
if (client === undefined) throw new Error(`Unknown broker ${process.env['BENCH_BROKER']}`);

const commands = {
  run: (shape: LoadShape) => runLoad(() => client.call(), shape),
  respond: () => client.respond?.(),
};
export type BrokerCommands = typeof commands;
answer(commands);
