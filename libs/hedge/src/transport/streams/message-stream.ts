/** The kind of a stream. Each kind has its own rpc and its own proofs, which are invalid for the other kind. */
export type StreamKind = 'link' | 'stream';

/** The time in which an ended stream may send its last messages before it is cut, in milliseconds. */
export const LINGER_MS = 250;

/**
 * An ordered two-way stream of byte messages: one gRPC call, or a pair of queues in memory. It does not know frames,
 * members or secrets. The handshake and the links above it are the same over any stream.
 */
export interface MessageStream {
  /** The address of the other end, for the log: `10.0.0.7:51234`. */
  readonly remote: string;
  /** Sets or replaces the listener. Call it first in the turn in which the stream was created, so that no event is missed. */
  attach(events: MessageStreamEvents): void;
  /** The peer is authenticated: the bounds on strangers do not apply any more. */
  admitted(): void;
  /**
   * Queues a message, which must not be changed afterwards.
   * @param written runs when the message has left the queue of this process; never if the stream ends first.
   * @returns false when the queue is long: then wait for `drained` before the next write.
   */
  write(message: Uint8Array, written: () => void): boolean;
  /**
   * Stops the delivery of messages until `resume`; at most one that is on its way may still arrive. The writes of the peer
   * wait meanwhile. `closed` is still reported.
   */
  pause(): void;
  resume(): void;
  /** Ends the stream after the written messages, and cuts it when the peer does not end it soon. No event follows. */
  end(): void;
  /** As `end`, but without a time limit for the peer to read the written messages. */
  finish(): void;
}

export interface MessageStreamEvents {
  message(message: Uint8Array): void;
  drained(): void;
  /** Once: the peer ended the stream, or it broke. Not after this side's own `end`. */
  closed(reason: string): void;
}

/** Opens and accepts streams to other processes. */
export interface Network {
  /**
   * @returns the bound port, also when port 0 was configured.
   * @throws HedgeError INVALID_OPTIONS when the port cannot be bound.
   */
  listen(accept: (stream: MessageStream, kind: StreamKind) => void): Promise<number>;
  /** Returns a stream at once. An unreachable peer causes the event `closed`. */
  connect(address: string, kind: StreamKind): MessageStream;
  /** Stops accepting, and frees all resources when the streams have ended. Idempotent. */
  close(): Promise<void>;
}
