import { once } from 'node:events';
import { createServer, type Server as SocketServer, type Socket } from 'node:net';
import { createServer as createTlsServer, type Server as TlsServer, type TlsOptions, type TLSSocket } from 'node:tls';
import { HedgeError } from '../../common/errors.js';
import { GrpcConnection, type GrpcConnectionInit, remoteOf } from './grpc-connection.js';
import { hostOf, MAX_UNAUTHENTICATED, PendingByHost } from '../handshake/pending-by-host.js';

/** Far more than the members of any group. Bounds the connections of strangers. */
const MAX_CONNECTIONS = 4_096;
/**
 * Bytes of messages from unauthenticated peers that are longer than a Hello. A Proof is longer when its caller has hundreds
 * of unanswered requests.
 */
const MAX_RESERVED = { perHost: 4 * 1024 * 1024, total: 8 * 1024 * 1024, graceMs: 1_000 };
const MAX_STRANGER_MESSAGE_BYTES = 1024 * 1024;
const FLOOD_LOOK_MS = 25;

export interface GrpcListenerInit extends Pick<
  GrpcConnectionInit,
  'kinds' | 'accept' | 'over' | 'gcPressure' | 'handshakeMs' | 'maxReceiveBytes'
> {
  /** The interval of pings in milliseconds. */
  readonly keepaliveMs: number;
  readonly tls: TlsOptions | undefined;
}

/**
 * The server side of gRPC, on the HTTP/2 of Node, because a grpc-js server does not bound its resources for
 * unauthenticated peers. Here each connection has one stream; until a peer is authenticated, its messages are small, and it
 * has only the time of a handshake.
 */
export class GrpcListener {
  readonly #connections = new Map<string, GrpcConnection>();
  readonly #pending = new PendingByHost<Socket>(MAX_UNAUTHENTICATED);
  readonly #reserving = new PendingByHost<GrpcConnection>(MAX_RESERVED);
  readonly #server: SocketServer;
  readonly #tls: TlsServer | undefined;
  #watch: NodeJS.Timeout | undefined;
  #keepalive: NodeJS.Timeout | undefined;
  #freed: Promise<void> | undefined;

  constructor(private readonly init: GrpcListenerInit) {
    this.#server = createServer({ noDelay: true }, (socket) => this.#connected(socket));
    this.#server.maxConnections = MAX_CONNECTIONS;
    if (init.tls === undefined) return;
    // This server never listens. `connected` passes sockets to it.
    this.#tls = createTlsServer({ ...init.tls, ALPNProtocols: ['h2'], handshakeTimeout: init.handshakeMs });
    this.#tls.on('secureConnection', (socket: TLSSocket) => {
      const connection = this.#connections.get(remoteOf(socket));
      if (connection !== undefined && socket.alpnProtocol === 'h2') connection.start(socket);
      else socket.destroy();
    });
    this.#tls.on('tlsClientError', (_error, socket) => socket.destroy());
  }

  /**
   * @returns the port.
   * @throws HedgeError INVALID_OPTIONS when the address cannot be bound.
   */
  async listen(bind: string): Promise<number> {
    const colon = bind.lastIndexOf(':');
    const host = bind.slice(0, colon).replace(/^\[|\]$/g, '');
    try {
      this.#server.listen(Number(bind.slice(colon + 1)), host);
      await once(this.#server, 'listening');
    } catch (error) {
      throw cannotListen(bind, error as NodeJS.ErrnoException);
    }
    this.#keepAlive();
    return (this.#server.address() as { port: number }).port;
  }

  /** Accepts no more connections. The caller must still call `close`. */
  stopAccepting(): void {
    this.#freed ??= new Promise((resolve) => this.#server.close(() => resolve()));
  }

  /** Closes all connections and frees the port. */
  async close(): Promise<void> {
    clearInterval(this.#keepalive);
    this.stopAccepting();
    for (const connection of this.#connections.values()) connection.cut();
    await this.#freed;
  }

  #connected(socket: Socket): void {
    // First of all, before any resource is allocated for the socket.
    const { admitted, displaced } = this.#pending.add(hostOf(remoteOf(socket)), socket, performance.now());
    for (const one of displaced) one.destroy();
    if (!admitted) {
      socket.destroy();
      return;
    }
    const connection = new GrpcConnection(socket, {
      ...this.init,
      reserve: (one, bytes) => this.#reserve(one, bytes),
      authenticated: (one) => this.#settled(one),
      closed: (one) => {
        this.#settled(one);
        this.#connections.delete(one.remote);
      },
    });
    this.#connections.set(connection.remote, connection);
    this.#watch ??= setInterval(() => this.#cutFloods(), FLOOD_LOOK_MS).unref();
    if (this.#tls === undefined) connection.start(socket);
    else this.#tls.emit('connection', socket);
  }

  #reserve(connection: GrpcConnection, bytes: number): boolean {
    if (bytes > MAX_STRANGER_MESSAGE_BYTES) return false;
    const { admitted, displaced } = this.#reserving.add(connection.host, connection, performance.now(), bytes);
    for (const one of displaced) one.cut();
    return admitted;
  }

  /** The connection is authenticated or closed. */
  #settled(connection: GrpcConnection): void {
    this.#pending.delete(connection.host, connection.socket);
    this.#reserving.delete(connection.host, connection);
  }

  /** One timer for all connections. */
  #keepAlive(): void {
    const { keepaliveMs } = this.init;
    let checkedAt = performance.now();
    this.#keepalive = setInterval(() => {
      const now = performance.now();
      // After a stall, this process has not read what its callers sent.
      const stoodStill = now - checkedAt > 1.5 * keepaliveMs;
      checkedAt = now;
      if (!stoodStill) for (const connection of this.#connections.values()) connection.keepAlive();
    }, keepaliveMs).unref();
  }

  #cutFloods(): void {
    let anyPending = false;
    for (const socket of this.#pending) {
      anyPending = true;
      if (this.#connections.get(remoteOf(socket))?.floods === true) socket.destroy();
    }
    if (anyPending) return;
    clearInterval(this.#watch);
    this.#watch = undefined;
  }
}

function cannotListen(bind: string, cause: NodeJS.ErrnoException): HedgeError {
  const why: Record<string, string> = {
    EADDRINUSE: 'another process uses the port; stop it, or set another port in `address`',
    EADDRNOTAVAIL: 'this machine does not have that address; set `address` to one that it has, or to ":port"',
    EACCES: 'this user may not bind the port; set a port above 1023 in `address`',
  };
  return new HedgeError(
    'INVALID_OPTIONS',
    `Cannot listen on ${bind}: ${why[cause.code ?? ''] ?? `${cause.message}; set another \`address\``}`,
    { cause, details: { option: 'address', value: bind } },
  );
}
