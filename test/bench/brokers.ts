import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { connect } from 'node:net';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BrokerCommands } from './broker-client.js';
import { Child } from './child.js';
import { freePort } from '../../scripts/free-port.js';
import { withFolder } from './cluster.js';
import type { Contestant } from './compete.js';

/** Common brokers for the same work, measured if their servers are installed: for comparison, not as targets. */
export interface Broker {
  /** Name of the rows. */
  readonly name: string;
  readonly server: string;
  /** Whether a client of the broker, in a separate process, answers the calls. */
  readonly responder?: true;
  /** Writes are durable: each write is on disk before its answer, as with a put. */
  args(port: number, folder: string): readonly string[];
}

export const NATS: Broker = {
  name: 'nats-request',
  server: 'nats-server',
  responder: true,
  args: (port) => ['--addr', '127.0.0.1', '--port', String(port)],
};

export const REDIS: Broker = {
  name: 'redis-set',
  server: 'redis-server',
  args: (port, folder) => [
    '--bind',
    '127.0.0.1',
    '--port',
    String(port),
    '--dir',
    folder,
    '--appendonly',
    'yes',
    '--appendfsync',
    'always',
  ],
};

export const ETCD: Broker = {
  name: 'etcd-put',
  server: 'etcd',
  args: (port, folder) => [
    '--data-dir',
    folder,
    '--listen-client-urls',
    `http://127.0.0.1:${port}`,
    '--advertise-client-urls',
    `http://127.0.0.1:${port}`,
    '--listen-peer-urls',
    'http://127.0.0.1:0',
  ],
};

/** Runs `use` with the broker as contestants. If it is not installed, prints that and runs `use` without contestants. */
export async function withBroker<T>(
  broker: Broker,
  concurrencies: readonly number[],
  use: (contestants: readonly Contestant[]) => Promise<T>,
): Promise<T> {
  if (!installed(broker.server)) {
    console.error(`  ${broker.name} is not measured: ${broker.server} is not installed`);
    return use([]);
  }
  return withFolder(async (folder) => {
    const port = await freePort();
    const server = spawn(broker.server, broker.args(port, folder), { stdio: 'ignore' });
    try {
      await listening(server, broker, port);
      const env = { BENCH_BROKER: broker.name, BENCH_PORT: String(port) };
      const responder = broker.responder && (await Child.start<BrokerCommands>('broker-client.ts', env));
      await responder?.ask('respond');
      const client = await Child.start<BrokerCommands>('broker-client.ts', env);
      try {
        return await use(
          concurrencies.map((concurrency) => ({
            name: broker.name,
            concurrency,
            run: (shape) => client.ask('run', shape),
          })),
        );
      } finally {
        await client.end('SIGKILL');
        await responder?.end('SIGKILL');
      }
    } finally {
      await ended(server);
    }
  });
}

function installed(server: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, server), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

async function listening(server: ChildProcess, { name }: Broker, port: number): Promise<void> {
  for (const end = Date.now() + 10_000; Date.now() < end; await sleep(50)) {
    if (server.exitCode !== null) throw new Error(`the server of ${name} ended with code ${server.exitCode}`);
    if (await accepts(port)) return;
  }
  throw new Error(`the server of ${name} did not listen within 10 s`);
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function ended(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  server.kill('SIGKILL');
  await once(server, 'exit');
}
