import { type FrameBody, type Link, notify } from '../transport/transport.js';

export interface LockReleaseAnnouncerOptions {
  readonly links: () => Iterable<Link>;
  /** Whether this member leads: all members are linked to the leader, and not to each other. */
  readonly leads: () => boolean;
}

/**
 * Announces the release of a lock to the other members, so that waiting members try at once. It sends over the open
 * links, and the leader relays to all members. A lost announcement costs only time: waiting members also poll.
 */
export class LockReleaseAnnouncer {
  #released: (name: string, token: bigint) => void = () => undefined;

  constructor(private readonly options: LockReleaseAnnouncerOptions) {}

  /** Sets the listener for locks that another member has released. */
  onReleased(listener: (name: string, token: bigint) => void): void {
    this.#released = listener;
  }

  announce({ name, token }: { readonly name: string; readonly token: bigint }): void {
    this.#send({ $case: 'lockReleased', value: { name, token, relayed: this.options.leads() } });
  }

  /** To call with every frame. @returns whether it was an announcement. */
  frame(link: Link, body: FrameBody): boolean {
    if (body.$case !== 'lockReleased') return false;
    const { name, token, relayed } = body.value;
    this.#released(name, token);
    if (!relayed && this.options.leads()) {
      this.#send({ $case: 'lockReleased', value: { name, token, relayed: true } }, link.peer.incarnation);
    }
    return true;
  }

  /** Sends once to each member, over any of its links. */
  #send(notice: FrameBody, except?: string): void {
    const notified = new Set<string | undefined>([except]);
    for (const link of this.options.links()) {
      const { incarnation } = link.peer;
      if (!notified.has(incarnation) && notify(link, notice)) notified.add(incarnation);
    }
  }
}
