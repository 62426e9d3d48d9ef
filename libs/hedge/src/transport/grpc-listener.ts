import { once } from 'node:events';
import { createServer, type Server as SocketServer, type Socket } from 'node:net';
import {
  type ChannelOptions,
  Server,
  type ServerCredentials,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { HedgeError } from '../common/errors.js';

/** Far more than the members of any group; a bound against strangers. */
const MAX_CONNECTIONS = 4_096;

export interface GrpcListenerInit {
  readonly options: ChannelOptions;
  readonly credentials: ServerCredentials;
  readonly service: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
  /** Connections that carry no stream for longer than this are cut, in milliseconds. */
  readonly idleMs: number;
  /** Whether a stream is open on the connection from `address:port`. */
  readonly inUse: (remote: string) => boolean;
}

/**
 * A gRPC server on a port of its own making: gRPC's own cannot let go of a connection whose peer does not close
 * it, so that a stopped process, or a stranger, could keep this one from ending.
 */
export class GrpcListener {
  private readonly grpc: Server;
  private readonly sockets = new Map<Socket, { idle: boolean }>();
  private readonly server: SocketServer;
  private sweeper: NodeJS.Timeout | undefined;
  private freed: Promise<void> | undefined;

  constructor(private readonly init: GrpcListenerInit) {
    this.grpc = new Server(init.options);
    this.grpc.addService(init.service, init.implementation);
    const { injectConnection } = this.grpc.createConnectionInjector(init.credentials);
    this.server = createServer({ noDelay: true }, (socket) => {
      this.sockets.set(socket, { idle: false });
      socket.on('close', () => this.sockets.delete(socket));
      injectConnection(socket);
    });
    this.server.maxConnections = MAX_CONNECTIONS;
  }

  /**
   * @returns the port.
   * @throws HedgeError INVALID_OPTIONS when it cannot be bound.
   */
  async listen(bind: string): Promise<number> {
    const colon = bind.lastIndexOf(':');
    const host = bind.slice(0, colon).replace(/^\[|\]$/g, '');
    try {
      this.server.listen(Number(bind.slice(colon + 1)), host);
      await once(this.server, 'listening');
    } catch (error) {
      throw cannotListen(bind, error as NodeJS.ErrnoException);
    }
    this.sweeper = setInterval(() => this.cutIdle(), this.init.idleMs);
    this.sweeper.unref();
    return (this.server.address() as { port: number }).port;
  }

  /** Takes no more connections; `close` is still to be called. */
  stopAccepting(): void {
    this.freed ??= new Promise((resolve) => this.server.close(() => resolve()));
  }

  /** Cuts the connection from `address:port`. */
  cut(remote: string): void {
    for (const socket of this.sockets.keys()) if (remoteOf(socket) === remote) socket.destroy();
  }

  /** Cuts all connections and frees the port. */
  async close(): Promise<void> {
    clearInterval(this.sweeper);
    this.stopAccepting();
    this.grpc.forceShutdown();
    for (const socket of this.sockets.keys()) socket.destroy();
    await this.freed;
  }

  private cutIdle(): void {
    for (const [socket, state] of this.sockets) {
      const inUse = this.init.inUse(remoteOf(socket));
      if (state.idle && !inUse) socket.destroy();
      state.idle = !inUse;
    }
  }
}

function remoteOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress}:${remotePort}`;
}

function cannotListen(bind: string, cause: NodeJS.ErrnoException): HedgeError {
  const why: Record<string, string> = {
    EADDRINUSE: 'another process has the port; stop it, or set another port in `address`',
    EADDRNOTAVAIL: 'the host is not an address of this machine; set `address` to one, or to ":port"',
    EACCES: 'this user may not have the port; set one above 1023 in `address`',
  };
  return new HedgeError(
    'INVALID_OPTIONS',
    `Cannot listen on ${bind}: ${why[cause.code ?? ''] ?? `${cause.message}; set another \`address\``}`,
    { cause, details: { option: 'address', value: bind } },
  );
}
