import {
  type Http2Session,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type IncomingHttpHeaders,
} from 'node:http2';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { GcPressure } from '../../common/gc-pressure.js';
import { ReceiverStream } from './grpc-receiver-stream.js';
import { LINGER_MS, type MessageStream, type StreamKind } from '../streams/message-stream.js';
import { hostOf } from '../handshake/pending-by-host.js';

/** What a message may have before its sender is authenticated. A Hello has a few hundred bytes. */
export const STRANGER_MESSAGE_BYTES = 4_096;
/** What a peer may send in all before it is authenticated, besides a long message that it was allowed. */
export const STRANGER_BYTES = 64 * 1024;
/** Some ten times what a session takes, so that V8 collects the closed ones of a churn of connections in time. */
const COUNTED_SESSION_BYTES = 512 * 1024;

/** All bounds on a peer that HTTP/2 itself can keep: it needs one stream, and little beside. */
const SESSION_OPTIONS = {
  maxSessionMemory: 1,
  maxSessionRejectedStreams: 1,
  maxSessionInvalidFrames: 1,
  maxHeaderListPairs: 32,
  settings: { maxConcurrentStreams: 1, maxHeaderListSize: 8_192, enablePush: false },
};

export interface GrpcConnectionInit {
  readonly kinds: ReadonlyMap<string, StreamKind>;
  readonly accept: (stream: MessageStream, kind: StreamKind) => void;
  readonly scavenging: GcPressure;
  /** An unauthenticated peer is cut after this and a little more, in milliseconds. */
  readonly handshakeMs: number;
  /** Pings go out, and their answers are awaited, so long, in milliseconds. */
  readonly keepaliveMs: number;
  readonly maxReceiveBytes: number;
  /** A stranger wants to send a message of that many bytes, more than `STRANGER_MESSAGE_BYTES`. */
  readonly reserve: (connection: GrpcConnection, bytes: number) => boolean;
  readonly authenticated: (connection: GrpcConnection) => void;
  /** A stream that was accepted is over. */
  readonly over: (stream: MessageStream) => void;
  readonly closed: (connection: GrpcConnection) => void;
}

/** One connection that came in: it carries one stream, and ends with it. */
export class GrpcConnection {
  readonly remote: string;
  readonly host: string;
  private session: ServerHttp2Session | undefined;
  private stream: ReceiverStream | undefined;
  private isAuthenticated = false;
  private reserved = 0;
  /**
   * Memory that V8 counts: it knows nothing of what a session takes outside of its heap, and would collect too late what
   * a stranger leaves behind that connects again and again. Never touched, so that it takes no memory itself.
   */
  counted: Buffer | undefined = Buffer.allocUnsafeSlow(COUNTED_SESSION_BYTES);
  private timer: NodeJS.Timeout;

  constructor(
    readonly socket: Socket,
    private readonly init: GrpcConnectionInit,
  ) {
    this.remote = remoteOf(socket);
    this.host = hostOf(this.remote);
    this.timer = setTimeout(() => this.cut(), init.handshakeMs + LINGER_MS);
    this.timer.unref();
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(this.timer);
      init.closed(this);
    });
  }

  /** @param transport the socket, or what TLS made of it. */
  start(transport: Duplex): void {
    transport.on('error', () => undefined);
    const session = performServerHandshake(transport, SESSION_OPTIONS);
    this.session = session;
    session.on('error', () => this.cut());
    session.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => this.open(stream, headers));
    session.on('close', () => this.cut());
  }

  /** What it has sent, and was not allowed to: a flood of frames of which none opens a stream. */
  get floods(): boolean {
    return !this.isAuthenticated && this.socket.bytesRead > STRANGER_BYTES + this.reserved;
  }

  cut(): void {
    this.socket.destroy();
  }

  private open(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    stream.on('error', () => undefined);
    const kind = this.init.kinds.get(headers[':path'] ?? '');
    if (this.stream !== undefined || kind === undefined || headers[':method'] !== 'POST') return this.cut();
    this.stream = new ReceiverStream({
      remote: this.remote,
      stream,
      scavenging: this.init.scavenging,
      allows: (length) => this.allows(length),
      admitted: () => this.authenticate(),
      over: (ended) => this.over(ended),
      cut: () => this.cut(),
    });
    this.init.accept(this.stream, kind);
  }

  private allows(length: number): boolean {
    if (this.isAuthenticated) return length <= this.init.maxReceiveBytes;
    if (length <= STRANGER_MESSAGE_BYTES) return true;
    if (this.reserved > 0 || !this.init.reserve(this, length)) return false;
    this.reserved = 2 * length;
    return true;
  }

  private authenticate(): void {
    this.isAuthenticated = true;
    this.counted = undefined;
    this.init.authenticated(this);
    clearTimeout(this.timer);
    this.keepAlive();
  }

  /** Without it, a silent network is noticed only when TCP gives up, after minutes. */
  private keepAlive(): void {
    const { session } = this;
    if (!usable(session)) return;
    const { keepaliveMs } = this.init;
    this.timer = setTimeout(() => {
      if (!usable(session)) return;
      this.timer = setTimeout(() => this.cut(), keepaliveMs);
      this.timer.unref();
      session.ping((error) => {
        clearTimeout(this.timer);
        if (error === null) this.keepAlive();
      });
    }, keepaliveMs);
    this.timer.unref();
  }

  private over(stream: MessageStream): void {
    this.init.over(stream);
    const { session } = this;
    if (!usable(session)) return this.cut();
    session.close();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.cut(), LINGER_MS);
    this.timer.unref();
  }
}

function usable(session: Http2Session | undefined): session is Http2Session {
  return session !== undefined && !session.closed && !session.destroyed;
}

export function remoteOf({ remoteAddress, remotePort }: Pick<Socket, 'remoteAddress' | 'remotePort'>): string {
  return `${remoteAddress}:${remotePort}`;
}
