import { abortInFreshContext } from '../../common/async/async-context.js';
import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { errorOf, failureOf } from '../failure.js';
import type { MessageStream } from './message-stream.js';
import type { PeerStream } from './peer-stream.js';
import { StreamControl } from '../../wire/hedge/v1/stream.js';

/** Bytes of received messages that are not read. Above it, the peer must wait. */
const READ_AHEAD_BYTES = 256 * 1024;
/** Bytes of written messages that have not left this process. Above it, `write` waits. */
const WRITE_AHEAD_BYTES = 256 * 1024;
/** Approximate memory of a message beyond its bytes, so that many small messages are bounded, too. */
const MESSAGE_OVERHEAD_BYTES = 64;

const EMPTY = new Uint8Array(0);
const DONE = Promise.resolve();
const END: IteratorResult<Uint8Array, undefined> = { done: true, value: undefined };

interface Waiter<T> {
  resolve(value: T): void;
  reject(reason: unknown): void;
}

export interface ByteStreamInit {
  readonly peer: MemberId;
  /** A stream after its handshake. */
  readonly wire: MessageStream;
  /** A larger message is rejected. */
  readonly maxMessageBytes: number;
  /** Called once, when the stream has ended. */
  readonly over: (stream: ByteStream) => void;
}

/**
 * A stream to a peer over one message stream. See proto/hedge/v1/stream.proto for the wire format.
 *
 * The reader receives all messages that arrived before a failure, and then the failure. `signal` aborts at once.
 */
export class ByteStream implements PeerStream {
  readonly peer: MemberId;
  readonly #wire: MessageStream;
  readonly #failure = new AbortController();
  readonly #inbox: Uint8Array[] = [];
  #inboxBytes = 0;
  #unwrittenBytes = 0;
  #reader: Waiter<IteratorResult<Uint8Array, undefined>> | undefined;
  #writers: Waiter<void>[] = [];
  #controlFollows = false;
  #peerEnded = false;
  #ended = false;
  #over = false;

  constructor(private readonly init: ByteStreamInit) {
    this.peer = init.peer;
    this.#wire = init.wire;
    this.#wire.attach({
      message: (message) => this.#receive(message),
      drained: () => undefined,
      closed: (reason) => this.#lost(reason),
    });
  }

  get signal(): AbortSignal {
    return this.#failure.signal;
  }

  write(message: Uint8Array, written?: () => void): Promise<void> {
    const { byteLength } = message;
    const { maxMessageBytes } = this.init;
    if (this.signal.aborted) return Promise.reject(this.signal.reason as HedgeError);
    if (this.#ended)
      return Promise.reject(new HedgeError('INVALID_ARGUMENT', 'The message was not written: end() was called'));
    if (byteLength > maxMessageBytes) return Promise.reject(tooLarge(byteLength, maxMessageBytes));
    if (byteLength === 0) this.#sendControl({ $case: 'empty', value: {} });
    else this.#send(message, written);
    if (this.#unwrittenBytes <= WRITE_AHEAD_BYTES) return DONE;
    return new Promise((resolve, reject) => void this.#writers.push({ resolve, reject }));
  }

  end(): void {
    if (this.#ended || this.#over) return;
    this.#ended = true;
    this.#sendControl({ $case: 'end', value: {} });
    this.#finishWhenBothEnded();
  }

  fail(reason: HedgeError): void {
    this.#abort(reason, () => this.#wire.finish());
  }

  cancel(reason: HedgeError): void {
    this.#abort(reason, () => this.#wire.end());
  }

  /** The next message, or undefined after the last. One call at a time. */
  async read(): Promise<Uint8Array | undefined> {
    return (await this.#next()).value;
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array, undefined> {
    return {
      next: () => this.#next(),
      return: async () => {
        this.cancel(new HedgeError('CANCELLED', 'The reader has left the stream before its end'));
        return END;
      },
    };
  }

  #next(): Promise<IteratorResult<Uint8Array, undefined>> {
    const message = this.#inbox.shift();
    if (message !== undefined) {
      this.#inboxBytes -= message.byteLength + MESSAGE_OVERHEAD_BYTES;
      if (this.#inboxBytes < READ_AHEAD_BYTES / 2) this.#wire.resume();
      return Promise.resolve({ done: false, value: message });
    }
    if (this.signal.aborted) return Promise.reject(this.signal.reason as HedgeError);
    if (this.#peerEnded) return Promise.resolve(END);
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
    });
  }

  #receive(message: Uint8Array): void {
    if (this.#over) return;
    if (this.#controlFollows) {
      this.#controlFollows = false;
      this.#handleControl(message);
    } else if (message.byteLength === 0) {
      this.#controlFollows = true;
    } else {
      this.#deliver(message);
    }
  }

  #deliver(message: Uint8Array): void {
    if (this.#peerEnded) return this.#violated('a message after its end');
    const reader = this.#reader;
    if (reader) {
      this.#reader = undefined;
      return reader.resolve({ done: false, value: message });
    }
    this.#inbox.push(message);
    this.#inboxBytes += message.byteLength + MESSAGE_OVERHEAD_BYTES;
    if (this.#inboxBytes >= READ_AHEAD_BYTES) this.#wire.pause();
  }

  #handleControl(message: Uint8Array): void {
    const body = decode(message)?.body;
    switch (body?.$case) {
      case 'end':
        this.#peerEnded = true;
        this.#reader?.resolve(END);
        this.#reader = undefined;
        return this.#finishWhenBothEnded();
      case 'failed':
        this.#wire.end();
        return this.#failed(errorOf(body.value));
      case 'empty':
        return this.#deliver(EMPTY);
      case undefined:
        return this.#violated('a control message that this version does not know');
    }
  }

  #send(message: Uint8Array, written?: () => void): void {
    const weight = message.byteLength + MESSAGE_OVERHEAD_BYTES;
    this.#unwrittenBytes += weight;
    this.#wire.write(message, () => {
      this.#unwrittenBytes -= weight;
      written?.();
      if (this.#unwrittenBytes > WRITE_AHEAD_BYTES) return;
      for (const { resolve } of this.#writers.splice(0)) resolve();
    });
  }

  #sendControl(body: NonNullable<StreamControl['body']>): void {
    this.#send(EMPTY);
    this.#send(StreamControl.encode({ body }).finish());
  }

  #finishWhenBothEnded(): void {
    if (!this.#peerEnded || !this.#ended) return;
    this.#over = true;
    this.#wire.finish();
    for (const { resolve } of this.#writers.splice(0)) resolve();
    this.init.over(this);
  }

  #abort(reason: HedgeError, endWire: () => void): void {
    if (this.#over) return;
    this.#sendControl({ $case: 'failed', value: failureOf(reason) });
    endWire();
    this.#inbox.length = 0;
    this.#failed(reason);
  }

  /** The peer violated the protocol. */
  #violated(what: string): void {
    this.cancel(
      new HedgeError('MEMBER_UNREACHABLE', `The stream with ${this.#name} was cancelled: the peer sent ${what}`),
    );
  }

  #lost(reason: string): void {
    if (this.#over) return;
    this.#failed(
      new HedgeError('MEMBER_UNREACHABLE', `The stream with ${this.#name} was cancelled or lost: ${reason}`, {
        details: { address: this.peer.address },
        retryable: false,
      }),
    );
  }

  #failed(error: HedgeError): void {
    this.#over = true;
    abortInFreshContext(this.#failure, error);
    for (const { reject } of this.#writers.splice(0)) reject(error);
    this.#reader?.reject(error);
    this.#reader = undefined;
    this.init.over(this);
  }

  get #name(): string {
    return this.peer.address || `client ${this.peer.incarnation}`;
  }
}

function decode(message: Uint8Array): StreamControl | undefined {
  try {
    return StreamControl.decode(message);
  } catch {
    return undefined;
  }
}

function tooLarge(bytes: number, limit: number): HedgeError {
  return new HedgeError(
    'PAYLOAD_TOO_LARGE',
    `A message of ${bytes} bytes is over the limit of ${limit} bytes. Write less at once, or raise \`limits.maxMessageBytes\` on all pods`,
    { details: { bytes, limit } },
  );
}
