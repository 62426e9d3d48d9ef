import type { HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import type { Frame } from '../wire/hedge/v1/link.js';

/** What a frame carries after the handshake. */
export type FrameBody = NonNullable<Frame['body']>;

/**
 * One authenticated, ordered stream to a peer, from a caller (who dialled) to a receiver. Requests travel
 * from caller to receiver, replies back, notices in both directions. A pair of members that call each other
 * has two links, one for each direction: so neither needs to agree with the other on whose to keep.
 */
export interface Link {
  readonly peer: MemberId;
  /** `dialled`: this process is the caller. `accepted`: the peer is. */
  readonly direction: 'dialled' | 'accepted';
  /**
   * False when the receiver remembers nothing of this caller's earlier links: requests that were sent on
   * them and not answered must not be sent again, because they may have run.
   */
  readonly resumed: boolean;
  readonly open: boolean;
  /**
   * Queues a frame; frames queued in one event-loop turn leave as one message. On a closed link it does
   * nothing (the close event has told).
   * @throws HedgeError OVERLOADED when the outbound queue (bounded in bytes) is full.
   * @throws HedgeError PAYLOAD_TOO_LARGE when the frame is larger than the limit.
   */
  send(body: FrameBody): void;
  /** Caller side: tells the receiver, with the next message, that it may forget this request. */
  acknowledge(sequence: number): void;
  close(): void;
}

/** How the request layer takes part in the handshake, so that no request runs twice over two links. */
export interface LinkSessions {
  /** Caller side: sequences sent to that receiver and neither answered nor given up. */
  outstandingAt(receiver: MemberId): readonly number[];
  /**
   * Receiver side, once the caller is authenticated: forget all of this caller's requests but these.
   * @returns whether anything of this caller's incarnation was remembered (`Welcome.resumed`).
   */
  resume(caller: MemberId, outstanding: readonly number[]): boolean;
}

export interface TransportEvents {
  frame(link: Link, body: FrameBody): void;
  /** Receiver side: the caller has had the replies to these requests. */
  acknowledged(link: Link, sequences: readonly number[]): void;
  opened(link: Link): void;
  /** Once per link that was opened. */
  closed(link: Link, reason: HedgeError): void;
}

/**
 * Links between members. Implemented over gRPC; a seam so that messaging and membership can be tested on an
 * in-memory network with faults.
 */
export interface Transport {
  readonly self: MemberId;
  /** Sets the one listener and the one session keeper; called once, before `listen` and `dial`. */
  attach(events: TransportEvents, sessions: LinkSessions): void;
  /**
   * Binds the port. Not called by a client.
   * @throws HedgeError INVALID_OPTIONS when the port is in use or the address is not this machine's.
   */
  listen(): Promise<void>;
  /**
   * The open dialled link to that address, or a new one. Concurrent calls share one attempt.
   * @param target with an incarnation, only that process start will do.
   * @throws HedgeError MEMBER_UNREACHABLE (not reachable, or another incarnation answers there:
   *   `details.incarnation`), UNAUTHENTICATED (other group, protocol or secret).
   */
  dial(target: { address: string; incarnation?: string }): Promise<Link>;
  /** The open dialled link to that very member, if there is one. */
  dialled(member: MemberId): Link | undefined;
  /** All open links, dialled and accepted. */
  links(): Iterable<Link>;
  /** Stops accepting, ends all links, frees the port. Idempotent; does not wait for peers. */
  close(): Promise<void>;
}
