import { type FrameBody, type Link, notify } from '../transport/transport.js';

export interface LockReleaseAnnouncerOptions {
  readonly links: () => Iterable<Link>;
  /** Whether this member leads: all members are linked to the leader, and not to each other. */
  readonly leads: () => boolean;
  /** Another member has given that lock back. */
  readonly released: (name: string, token: bigint) => void;
}

/**
 * Tells the other members that a lock was given back, so that those who wait for it try at once: over the links
 * there are, and the leader passes it on to all. A notice that is lost costs time only: who waits looks again
 * by itself.
 */
export class LockReleaseAnnouncer {
  constructor(private readonly options: LockReleaseAnnouncerOptions) {}

  announce({ name, token }: { readonly name: string; readonly token: bigint }): void {
    this.#send({ $case: 'lockReleased', value: { name, token, relayed: this.options.leads() } });
  }

  /** To call with every frame. @returns whether it was a notice. */
  frame(link: Link, body: FrameBody): boolean {
    if (body.$case !== 'lockReleased') return false;
    const { name, token, relayed } = body.value;
    this.options.released(name, token);
    if (!relayed && this.options.leads()) {
      this.#send({ $case: 'lockReleased', value: { name, token, relayed: true } }, link.peer.incarnation);
    }
    return true;
  }

  /** Once to each member, whatever links there are to it. */
  #send(notice: FrameBody, except?: string): void {
    const notified = new Set<string | undefined>([except]);
    for (const link of this.options.links()) {
      const { incarnation } = link.peer;
      if (!notified.has(incarnation) && notify(link, notice)) notified.add(incarnation);
    }
  }
}
