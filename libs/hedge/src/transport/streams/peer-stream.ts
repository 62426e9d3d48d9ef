import type { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';

/** The purpose of a stream between members. Each purpose has one server on the called member. */
export type StreamPurpose = 'leader-stream' | 'broadcast-stream' | 'spill';

/**
 * A two-way stream of byte messages to one member, separate from the link and authenticated like it. It has the flow
 * control of gRPC: a side that does not read makes the other side wait, and buffers stay bounded.
 *
 * Read it by async iteration, once. The iteration ends when the peer has ended its side, and throws the error of the
 * stream when it failed. Leaving the loop early cancels the stream.
 *
 * @example
 * const stream = await transport.openStream(member, { purpose: 'spill', opening });
 * await stream.write(frame); // waits while the peer does not read
 * stream.end();
 * for await (const message of stream) handle(message);
 */
export interface PeerStream extends AsyncIterable<Uint8Array> {
  readonly peer: MemberId;
  /** Aborts with the HedgeError that ended the stream early, on either side. Does not abort when both sides called `end`. */
  readonly signal: AbortSignal;
  /**
   * Queues a message, which must not be changed before `written`. Resolves when the next one may follow: at once while
   * little is queued. One write at a time is enough for full speed.
   * @param written runs when the bytes of the message are not used any more; never if the stream ends first.
   * @throws HedgeError the error of the stream, or MEMBER_UNREACHABLE
   */
  write(message: Uint8Array, written?: () => void): Promise<void>;
  /** Ends the writes of this side. Reading continues. Idempotent. */
  end(): void;
  /**
   * Ends this side with an error, and stops reading. The peer reads the error after the written messages, without a time
   * limit. Idempotent.
   */
  fail(reason: HedgeError): void;
  /**
   * Ends the stream in both directions at once. The peer receives the code and message of the error. If it has too many
   * unread messages, it fails with MEMBER_UNREACHABLE after a quarter of a second. Idempotent.
   */
  cancel(reason: HedgeError): void;
}

export interface StreamOpening {
  readonly purpose: StreamPurpose;
  /** The first message of the caller, in the encoding of the purpose: at most 64 KB. */
  readonly opening: Uint8Array;
}

/** Serves a stream that a member has opened. An error that it throws cancels the stream. */
export type StreamServer = (stream: PeerStream, opening: Uint8Array) => Promise<void>;

/** The part of the transport that opens and serves streams between members. */
export interface StreamTransport {
  readonly self: MemberId;
  /**
   * Opens a stream to this incarnation of a member. A stream to this process itself does not use the network.
   * @throws HedgeError MEMBER_UNREACHABLE, UNAUTHENTICATED, SHUTTING_DOWN, or the signal's reason
   */
  openStream(target: MemberId, opening: StreamOpening, options?: { signal?: AbortSignal }): Promise<PeerStream>;
  /** Sets the server of a purpose. A stream of a purpose without a server fails with NO_HANDLER. */
  serveStreams(purpose: StreamPurpose, server: StreamServer): void;
}
