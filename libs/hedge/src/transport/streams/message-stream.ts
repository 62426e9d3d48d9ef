/** What a stream is for; each kind is an rpc of its own, with a handshake that is worth nothing to the other. */
export type StreamKind = 'link' | 'stream';

/** How long an ended stream may take to get its last messages out before it is cut, in milliseconds. */
export const LINGER_MS = 250;

/**
 * An ordered two-way stream of byte messages: one gRPC call, or a pair of queues in tests. It knows nothing
 * of frames, members or secrets; the handshake and the links above it are the same over any stream.
 */
export interface MessageStream {
  /** Where the other end is, for log lines: `10.0.0.7:51234`. */
  readonly remote: string;
  /** Sets the listener, in place of an earlier one. First in the turn in which the stream was made: nothing is missed. */
  attach(events: MessageStreamEvents): void;
  /** The peer has proved who it is: the bounds on strangers no longer hold for it. */
  admitted(): void;
  /**
   * Queues a message, which must not be changed afterwards.
   * @param written runs once the message has left the queue of this process; never if the stream ends first.
   * @returns false when the queue is long: the caller should wait for `drained` before it writes more.
   */
  write(message: Uint8Array, written: () => void): boolean;
  /**
   * Lets no message come until `resume`, apart from at most one that is on its way already: the peer's writes then
   * wait. That the stream has broken is still told.
   */
  pause(): void;
  resume(): void;
  /** Ends the stream after what was written, and cuts it when the peer does not follow soon. No event comes after. */
  end(): void;
  /** As `end`, but waits as long as the peer takes to read what was written. */
  finish(): void;
}

export interface MessageStreamEvents {
  message(message: Uint8Array): void;
  drained(): void;
  /** Once: the peer ended the stream, or it broke. Not after this side's own `end`. */
  closed(reason: string): void;
}

/** How streams to other processes come about. */
export interface Network {
  /**
   * @returns the port that was bound, also when the wanted one was 0.
   * @throws HedgeError INVALID_OPTIONS when it cannot be bound.
   */
  listen(accept: (stream: MessageStream, kind: StreamKind) => void): Promise<number>;
  /** Starts a stream at once; a peer that cannot be reached shows as `closed`. */
  connect(address: string, kind: StreamKind): MessageStream;
  /** Stops accepting and frees everything once the streams have ended. Idempotent. */
  close(): Promise<void>;
}
