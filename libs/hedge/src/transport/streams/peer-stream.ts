import type { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';

/** What a stream beside the links is for; each purpose has one server on the member that is called. */
export type StreamPurpose = 'leader-stream' | 'broadcast-stream' | 'spill';

/**
 * A two-way stream of byte messages to one member, apart from the link and authenticated like it. Its flow
 * control is that of gRPC: whoever does not read makes the other side wait, and nothing grows in between.
 *
 * Reading is by async iteration, once: it ends when the peer has ended its side, and throws what the stream
 * failed with. Leaving the loop early cancels the stream.
 *
 * @example
 * const stream = await transport.openStream(member, { purpose: 'spill', opening });
 * await stream.write(frame); // waits while the peer does not read
 * stream.end();
 * for await (const message of stream) take(message);
 */
export interface PeerStream extends AsyncIterable<Uint8Array> {
  readonly peer: MemberId;
  /** Aborts with the HedgeError that ended the stream too early, on either side. Not when both sides ended well. */
  readonly signal: AbortSignal;
  /**
   * Queues a message, which must not be changed before `written`. Resolves when the next one may come: at once while
   * little is queued. One at a time is enough for full speed.
   * @param written runs once nobody looks at the message's bytes any more; never if the stream ends first.
   * @throws HedgeError what the stream failed with, or MEMBER_UNREACHABLE
   */
  write(message: Uint8Array, written?: () => void): Promise<void>;
  /** This side has written everything; reading goes on. Idempotent. */
  end(): void;
  /**
   * Ends this side with an error, which the peer reads after what was written, and stops reading. It may take the
   * peer as long as it likes. Idempotent.
   */
  fail(reason: HedgeError): void;
  /**
   * Ends the stream in both directions at once. The peer sees the error's code and message, unless so much was
   * written that it has not read: then MEMBER_UNREACHABLE after a quarter of a second. Idempotent.
   */
  cancel(reason: HedgeError): void;
}

export interface StreamOpening {
  readonly purpose: StreamPurpose;
  /** The caller's first word: what it wants, in the encoding of the purpose. Small: at most 64 KB. */
  readonly opening: Uint8Array;
}

/** Takes a stream that a member has opened. What it throws cancels the stream with that error. */
export type StreamServer = (stream: PeerStream, opening: Uint8Array) => Promise<void>;

/** The part of the transport that makes streams beside the links. */
export interface StreamTransport {
  readonly self: MemberId;
  /**
   * Opens a stream to that very member; to this process itself too, without the network.
   * @throws HedgeError MEMBER_UNREACHABLE, UNAUTHENTICATED, SHUTTING_DOWN, or the signal's reason
   */
  openStream(target: MemberId, opening: StreamOpening, options?: { signal?: AbortSignal }): Promise<PeerStream>;
  /** Sets the one server of a purpose. A stream to a purpose without server fails with NO_HANDLER. */
  serveStreams(purpose: StreamPurpose, server: StreamServer): void;
}
