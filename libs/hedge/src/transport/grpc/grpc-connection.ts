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

/** Size limit of a message from an unauthenticated peer. A Hello has a few hundred bytes. */
const STRANGER_MESSAGE_BYTES = 4_096;
/** The bytes that an unauthenticated peer may send in total, apart from a long message that was allowed. */
const STRANGER_BYTES = 64 * 1024;
/** About ten times the memory of a session, so that V8 collects closed sessions in time when many connections open and close. */
const COUNTED_SESSION_BYTES = 512 * 1024;

/** All bounds on a peer that HTTP/2 itself enforces: a peer needs one stream and little else. */
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
  readonly gcPressure: GcPressure;
  /** An unauthenticated peer is disconnected after this time and a little more, in milliseconds. */
  readonly handshakeMs: number;
  readonly maxReceiveBytes: number;
  /** Called when an unauthenticated peer announces a message of more than `STRANGER_MESSAGE_BYTES`. Returns whether it may send it. */
  readonly reserve: (connection: GrpcConnection, bytes: number) => boolean;
  readonly authenticated: (connection: GrpcConnection) => void;
  /** An accepted stream has ended. */
  readonly over: (stream: MessageStream) => void;
  readonly closed: (connection: GrpcConnection) => void;
}

/** One incoming connection. It carries one stream, and ends with it. */
export class GrpcConnection {
  readonly remote: string;
  readonly host: string;
  #session: ServerHttp2Session | undefined;
  #stream: ReceiverStream | undefined;
  #isAuthenticated = false;
  #reserved = 0;
  /** `bytesRead` at the last call of `keepAlive`, and the number of calls since it changed. */
  #bytesRead = 0;
  #silentIntervals = 0;
  /**
   * Memory that V8 counts. V8 does not know the memory of a session outside of its heap, and would collect too late the
   * sessions of a stranger that connects again and again. The buffer is never touched, so it uses no memory itself.
   */
  counted: Buffer | undefined = Buffer.allocUnsafeSlow(COUNTED_SESSION_BYTES);
  #timer: NodeJS.Timeout;

  constructor(
    readonly socket: Socket,
    private readonly init: GrpcConnectionInit,
  ) {
    this.remote = remoteOf(socket);
    this.host = hostOf(this.remote);
    this.#timer = setTimeout(() => this.cut(), init.handshakeMs + LINGER_MS);
    this.#timer.unref();
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(this.#timer);
      init.closed(this);
    });
  }

  /** @param transport the socket, or the TLS socket over it. */
  start(transport: Duplex): void {
    transport.on('error', () => undefined);
    const session = performServerHandshake(transport, SESSION_OPTIONS);
    this.#session = session;
    session.on('error', () => this.cut());
    session.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => this.#open(stream, headers));
    session.on('close', () => this.cut());
  }

  /** Whether it has sent more than allowed, for example a flood of frames of which none opens a stream. */
  get floods(): boolean {
    return !this.#isAuthenticated && this.socket.bytesRead > STRANGER_BYTES + this.#reserved;
  }

  cut(): void {
    this.socket.destroy();
  }

  #open(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    stream.on('error', () => undefined);
    const kind = this.init.kinds.get(headers[':path'] ?? '');
    if (this.#stream !== undefined || kind === undefined || headers[':method'] !== 'POST') return this.cut();
    this.#stream = new ReceiverStream({
      remote: this.remote,
      stream,
      gcPressure: this.init.gcPressure,
      allows: (length) => this.#allows(length),
      admitted: () => this.#authenticate(),
      over: (ended) => this.#over(ended),
      cut: () => this.cut(),
    });
    this.init.accept(this.#stream, kind);
  }

  #allows(length: number): boolean {
    if (this.#isAuthenticated) return length <= this.init.maxReceiveBytes;
    if (length <= STRANGER_MESSAGE_BYTES) return true;
    if (this.#reserved > 0 || !this.init.reserve(this, length)) return false;
    this.#reserved = 2 * length;
    return true;
  }

  #authenticate(): void {
    this.#isAuthenticated = true;
    this.counted = undefined;
    this.init.authenticated(this);
    clearTimeout(this.#timer);
  }

  /**
   * To call once per interval. The caller pings, so this side does so only after an interval without a byte, and cuts the
   * connection after two. Without pings, only TCP would notice a silent network, after minutes.
   */
  keepAlive(): void {
    if (!this.#isAuthenticated) return;
    const { bytesRead } = this.socket;
    this.#silentIntervals = bytesRead === this.#bytesRead ? this.#silentIntervals + 1 : 0;
    this.#bytesRead = bytesRead;
    if (this.#silentIntervals >= 2) this.cut();
    else if (this.#silentIntervals === 1 && usable(this.#session)) this.#session.ping(() => undefined);
  }

  #over(stream: MessageStream): void {
    this.init.over(stream);
    const session = this.#session;
    if (!usable(session)) return this.cut();
    session.close();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.cut(), LINGER_MS);
    this.#timer.unref();
  }
}

function usable(session: Http2Session | undefined): session is Http2Session {
  return session !== undefined && !session.closed && !session.destroyed;
}

export function remoteOf({ remoteAddress, remotePort }: Pick<Socket, 'remoteAddress' | 'remotePort'>): string {
  return `${remoteAddress}:${remotePort}`;
}
