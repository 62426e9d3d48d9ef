import { once } from 'node:events';
import { createServer, type Server as SocketServer, type Socket } from 'node:net';
import { createServer as createTlsServer, type Server as TlsServer, type TlsOptions, type TLSSocket } from 'node:tls';
import { HedgeError } from '../../common/errors.js';
import { GrpcConnection, type GrpcConnectionInit, remoteOf } from './grpc-connection.js';
import { hostOf, MAX_UNAUTHENTICATED, PendingByHost } from '../handshake/pending-by-host.js';

/** Far more than the members of any group; a bound against strangers. */
const MAX_CONNECTIONS = 4_096;
/**
 * Bytes of messages longer than a Hello, of peers that are not authenticated yet. A Proof is so when its caller has
 * hundreds of requests that are not answered.
 */
const MAX_RESERVED = { perHost: 4 * 1024 * 1024, total: 8 * 1024 * 1024, graceMs: 1_000 };
const MAX_STRANGER_MESSAGE_BYTES = 1024 * 1024;
const FLOOD_LOOK_MS = 25;

export interface GrpcListenerInit extends Pick<
  GrpcConnectionInit,
  'kinds' | 'accept' | 'over' | 'scavenging' | 'handshakeMs' | 'keepaliveMs' | 'maxReceiveBytes'
> {
  readonly tls: TlsOptions | undefined;
}

/**
 * The side of gRPC that takes calls, on Node's own HTTP/2, since a grpc-js server has no bound on what it keeps for
 * peers that have not said who they are: one stream for each connection, small messages until the peer is
 * authenticated, and only the time of a handshake for that.
 */
export class GrpcListener {
  private readonly connections = new Map<string, GrpcConnection>();
  private readonly pending = new PendingByHost<Socket>(MAX_UNAUTHENTICATED);
  private readonly reserving = new PendingByHost<GrpcConnection>(MAX_RESERVED);
  private readonly server: SocketServer;
  private readonly tls: TlsServer | undefined;
  private watch: NodeJS.Timeout | undefined;
  private freed: Promise<void> | undefined;

  constructor(private readonly init: GrpcListenerInit) {
    this.server = createServer({ noDelay: true }, (socket) => this.connected(socket));
    this.server.maxConnections = MAX_CONNECTIONS;
    if (init.tls === undefined) return;
    // It never listens: sockets are given to it.
    this.tls = createTlsServer({ ...init.tls, ALPNProtocols: ['h2'], handshakeTimeout: init.handshakeMs });
    this.tls.on('secureConnection', (socket: TLSSocket) => {
      const connection = this.connections.get(remoteOf(socket));
      if (connection !== undefined && socket.alpnProtocol === 'h2') connection.start(socket);
      else socket.destroy();
    });
    this.tls.on('tlsClientError', (_error, socket) => socket.destroy());
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
    return (this.server.address() as { port: number }).port;
  }

  /** Takes no more connections; `close` is still to be called. */
  stopAccepting(): void {
    this.freed ??= new Promise((resolve) => this.server.close(() => resolve()));
  }

  /** Cuts all connections and frees the port. */
  async close(): Promise<void> {
    this.stopAccepting();
    for (const connection of this.connections.values()) connection.cut();
    await this.freed;
  }

  private connected(socket: Socket): void {
    // Before anything is made for it.
    const { taken, displaced } = this.pending.add(hostOf(remoteOf(socket)), socket, performance.now());
    for (const one of displaced) one.destroy();
    if (!taken) {
      socket.destroy();
      return;
    }
    const connection = new GrpcConnection(socket, {
      ...this.init,
      reserve: (one, bytes) => this.reserve(one, bytes),
      authenticated: (one) => this.settled(one),
      closed: (one) => {
        this.settled(one);
        this.connections.delete(one.remote);
      },
    });
    this.connections.set(connection.remote, connection);
    this.watch ??= setInterval(() => this.cutFloods(), FLOOD_LOOK_MS).unref();
    if (this.tls === undefined) connection.start(socket);
    else this.tls.emit('connection', socket);
  }

  private reserve(connection: GrpcConnection, bytes: number): boolean {
    if (bytes > MAX_STRANGER_MESSAGE_BYTES) return false;
    const { taken, displaced } = this.reserving.add(connection.host, connection, performance.now(), bytes);
    for (const one of displaced) one.cut();
    return taken;
  }

  /** It is authenticated, or gone. */
  private settled(connection: GrpcConnection): void {
    this.pending.delete(connection.host, connection.socket);
    this.reserving.delete(connection.host, connection);
  }

  private cutFloods(): void {
    let some = false;
    for (const socket of this.pending) {
      some = true;
      if (this.connections.get(remoteOf(socket))?.floods === true) socket.destroy();
    }
    if (some) return;
    clearInterval(this.watch);
    this.watch = undefined;
  }
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
