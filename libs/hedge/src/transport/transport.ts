import type { HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import type { Frame } from '../wire/hedge/v1/link.js';

/** The body of a frame. */
export type FrameBody = NonNullable<Frame['body']>;

/**
 * One authenticated, ordered stream between two pods: the caller dialled it, the receiver accepted it. Requests travel
 * from caller to receiver, replies back, notices in both directions. Two members that call each other have two links,
 * one for each direction, so they need not agree on which link to keep.
 */
export interface Link {
  readonly peer: MemberId;
  /** `dialled`: this process is the caller. `accepted`: the peer is. */
  readonly direction: 'dialled' | 'accepted';
  /**
   * False when the receiver has no state of this caller's earlier links. The caller must not repeat unanswered requests
   * of those links then, because they may have run.
   */
  readonly resumed: boolean;
  readonly open: boolean;
  /** Bytes of frames that wait in the queue of this link. */
  readonly queuedBytes: number;
  /**
   * Queues a frame. Frames queued in one turn of the event loop leave as one message. Does nothing on a closed link: the
   * close event has reported that.
   * @param mayUseReserve whether the frame may use the room that the queue reserves for traffic of the library. Default:
   *   true for all frames but requests and replies.
   * @throws HedgeError OVERLOADED when the outbound queue (bounded in bytes) is full.
   * @throws HedgeError PAYLOAD_TOO_LARGE when the frame is larger than the limit.
   */
  send(body: FrameBody, mayUseReserve?: boolean): void;
  /** Caller side: reports to the receiver, with the next message, that it may forget this request. */
  acknowledge(sequence: number): void;
  close(): void;
}

/** How the request layer takes part in the handshake, so that no request runs twice over two links. */
export interface LinkSessions {
  /** Caller side: sequences that were sent to this receiver, and neither answered nor cancelled. */
  outstandingAt(receiver: MemberId): readonly number[];
  /**
   * Receiver side, after the caller is authenticated: forgets all requests of this caller except these.
   * @returns whether there was any state of this caller's incarnation (`Welcome.resumed`).
   */
  resume(caller: MemberId, outstanding: readonly number[]): boolean;
}

export interface TransportEvents {
  frame(link: Link, body: FrameBody): void;
  /** Receiver side: the caller has received the replies to these requests. */
  acknowledged(link: Link, sequences: readonly number[]): void;
  opened(link: Link): void;
  /** Once for each opened link. */
  closed(link: Link, reason: HedgeError): void;
}

/**
 * Links between members. Production uses gRPC; tests of messaging and membership use an in-memory network with faults.
 */
export interface Transport {
  readonly self: MemberId;
  /** Sets the listener and the session store. Called once, before `listen` and `dial`. */
  attach(events: TransportEvents, sessions: LinkSessions): void;
  /**
   * Binds the port. Not called by a client.
   * @throws HedgeError INVALID_OPTIONS when the port is in use or this machine does not have the address.
   */
  listen(): Promise<void>;
  /**
   * The open dialled link to that address, or a new one. Concurrent calls share one attempt.
   * @param target the address, and the required incarnation if one is required.
   * @throws HedgeError MEMBER_UNREACHABLE (not reachable, or another incarnation answers: `details.incarnation`),
   *   UNAUTHENTICATED (other group, protocol or secret).
   */
  dial(target: { address: string; incarnation?: string }): Promise<Link>;
  /** The open dialled link to exactly this incarnation, if there is one. */
  dialled(member: MemberId): Link | undefined;
  /** An open link to exactly this incarnation in either direction, if there is one. */
  linked(member: MemberId): Link | undefined;
  /** All open links, dialled and accepted. */
  links(): Iterable<Link>;
  /** Stops accepting, ends all links, frees the port. Idempotent; does not wait for peers. */
  close(): Promise<void>;
}

/**
 * Sends a notice that may be lost: its receiver learns the same later without it. So a full queue is no failure.
 * @returns whether the notice was queued.
 */
export function notify(link: Link, notice: FrameBody): boolean {
  try {
    link.send(notice);
    return true;
  } catch {
    return false;
  }
}
