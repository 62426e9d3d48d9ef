import { join } from 'node:path';
import { Child, type Commands } from './child.js';
import { freePort } from '../../scripts/free-port.js';
import { withFolder } from './cluster.js';
import type { LoadShape } from './load.js';
import type { NestGrpcCommands } from './nest-grpc-client.js';
import type { RawLinkCommands } from './raw-link-client.js';
import type { RawStreamCommands } from './raw-stream-client.js';
import type { SqliteCommands } from './sqlite-floor.js';
import type { Round } from './statistics.js';

/** Nest's own gRPC transport, with client and server in separate processes. */
export function withNestGrpc<T>(use: (run: (shape: LoadShape) => Promise<Round>) => Promise<T>): Promise<T> {
  return withPair<NestGrpcCommands, T>('nest-grpc-server.ts', 'nest-grpc-client.ts', (client) =>
    use((shape) => client.ask('run', shape)),
  );
}

/** One grpc-js stream with coalesced frames and nothing else: the basis of the links. */
export function withRawLink<T>(use: (run: (shape: LoadShape) => Promise<Round>) => Promise<T>): Promise<T> {
  return withPair<RawLinkCommands, T>('raw-link-server.ts', 'raw-link-client.ts', (client) =>
    use((shape) => client.ask('run', shape)),
  );
}

/** The same stream, whose requests are answered by a method of a Nest controller. */
export function withRawLinkOfNest<T>(use: (run: (shape: LoadShape) => Promise<Round>) => Promise<T>): Promise<T> {
  return withPair<RawLinkCommands, T>('raw-link-nest-server.ts', 'raw-link-client.ts', (client) =>
    use((shape) => client.ask('run', shape)),
  );
}

/** A bidirectional stream of grpc-js and nothing else: the basis of streams. */
export function withRawStreams<T>(use: (client: Child<RawStreamCommands>) => Promise<T>): Promise<T> {
  return withPair('raw-stream-server.ts', 'raw-stream-client.ts', use);
}

/** SQLite alone, on a separate file. */
export function withSqlite<T>(use: (sqlite: Child<SqliteCommands>) => Promise<T>): Promise<T> {
  return withFolder(async (folder) => {
    const sqlite = await Child.start<SqliteCommands>('sqlite-floor.ts', { BENCH_FILE: join(folder, 'floor.db') });
    try {
      await sqlite.ask('fill');
      return await use(sqlite);
    } finally {
      await sqlite.end();
    }
  });
}

async function withPair<C extends Commands, T>(
  serverFile: string,
  clientFile: string,
  use: (client: Child<C>) => Promise<T>,
): Promise<T> {
  const port = await freePort();
  const env = { BENCH_PORT: String(port), BENCH_URL: `127.0.0.1:${port}` };
  const server = await Child.start(serverFile, env);
  try {
    const client = await Child.start<C>(clientFile, env);
    try {
      return await use(client);
    } finally {
      await client.end('SIGKILL');
    }
  } finally {
    await server.end('SIGKILL');
  }
}
