import { shortestElapsed, type Instant } from '../../common/clock.js';

/** The part of one store that is held here for its owner. */
export interface Part {
  /** Incarnation of the owner. */
  readonly owner: string;
  /** Number of the store at its owner: it rises with each store that the owner creates. */
  readonly epoch: number;
}

/** What an owner says of its stores to a member that holds parts of them. */
export interface Renewal {
  /** Rises with each renewal of this owner: one that comes late is not believed. */
  readonly number: number;
  /** The last epoch it had given away. */
  readonly issued: number;
  /** Its stores that live. All others up to `issued` are dropped, for good. */
  readonly live: readonly LiveStore[];
}

export interface LiveStore {
  readonly epoch: number;
  /** Up to this one, the ways that frames came by are closed: what still comes by them does not count. */
  readonly closedSession: number;
  readonly discarded: readonly DiscardedFrame[];
}

/** A frame that is not counted on when it came by that session or an earlier one; by a later one it may be. */
export interface DiscardedFrame {
  readonly sequence: number;
  readonly session: number;
}

/** What to free. */
export interface Discard {
  readonly part: Part;
  /** These frames; all when undefined. */
  readonly sequences?: readonly number[];
}

interface Held {
  /** The session that brought each frame, by sequence. */
  readonly frames: Map<number, number>;
  closedSession: number;
}

interface Owner {
  readonly parts: Map<number, Held>;
  heardAt: Instant;
  number: number;
  issued: number;
  live: ReadonlySet<number>;
}

/**
 * What a member holds of other members' stores. Pure: the runner stores and frees.
 *
 * Guarantees:
 * - A store that its owner has dropped holds nothing here from then on: no late frame revives it.
 * - Nothing outlives its owner by more than `expireMs`: whose renewals stop is forgotten with all it had here.
 * - A frame that its owner does not count on is freed, also when it arrives after the owner has said so.
 */
export class ReplicaTable {
  readonly #owners = new Map<string, Owner>();
  #tickedAt: Instant | undefined;

  constructor(private readonly expireMs: number) {}

  /** Parts that are held now. */
  *parts(): Generator<Part & { readonly frames: number }> {
    for (const [owner, { parts }] of this.#owners) {
      for (const [epoch, { frames }] of parts) yield { owner, epoch, frames: frames.size };
    }
  }

  /** Whether frames of that part may come by that session. A sign of life of the owner. */
  admit({ owner, epoch }: Part, session: number, now: Instant): boolean {
    const known = this.#owner(owner, now);
    known.heardAt = now;
    if (epoch <= known.issued && !known.live.has(epoch)) return false;
    const held = known.parts.get(epoch);
    if (held === undefined) known.parts.set(epoch, { frames: new Map(), closedSession: 0 });
    return session > (held?.closedSession ?? 0);
  }

  /** Whether the frame is one to keep; else it is to be freed at once. */
  stored({ owner, epoch }: Part, session: number, sequence: number): boolean {
    const held = this.#owners.get(owner)?.parts.get(epoch);
    if (held === undefined || session <= held.closedSession) return false;
    // A copy that comes late by an earlier session does not make it one of that session again.
    held.frames.set(sequence, Math.max(session, held.frames.get(sequence) ?? 0));
    return true;
  }

  holds({ owner, epoch }: Part, sequence: number): boolean {
    return this.#owners.get(owner)?.parts.get(epoch)?.frames.has(sequence) ?? false;
  }

  renewed(owner: string, { number, issued, live }: Renewal, now: Instant): Discard[] {
    const known = this.#owner(owner, now);
    known.heardAt = now;
    if (number <= known.number) return [];
    known.number = number;
    known.issued = issued;
    known.live = new Set(live.map(({ epoch }) => epoch));
    const discards: Discard[] = [];
    for (const epoch of known.parts.keys()) {
      if (epoch > issued || known.live.has(epoch)) continue;
      known.parts.delete(epoch);
      discards.push({ part: { owner, epoch } });
    }
    for (const { epoch, closedSession, discarded } of live) {
      const held = known.parts.get(epoch);
      if (held === undefined) continue;
      held.closedSession = Math.max(held.closedSession, closedSession);
      const sequences = discarded
        .filter(({ sequence, session }) => (held.frames.get(sequence) ?? Infinity) <= session)
        .map(({ sequence }) => sequence);
      for (const sequence of sequences) held.frames.delete(sequence);
      if (sequences.length > 0) discards.push({ part: { owner, epoch }, sequences });
    }
    return discards;
  }

  /** Forgets owners that were silent for too long. To call a few times per `expireMs`. */
  tick(now: Instant): Discard[] {
    // After standing still itself it has heard nobody: their renewals are yet to be read.
    const stoodStill = this.#tickedAt !== undefined && shortestElapsed(this.#tickedAt, now) > this.expireMs / 2;
    this.#tickedAt = now;
    const discards: Discard[] = [];
    for (const [owner, known] of this.#owners) {
      if (shortestElapsed(known.heardAt, now) < this.expireMs) continue;
      if (stoodStill) {
        known.heardAt = { ...now, mono: now.mono - this.expireMs / 2 };
        continue;
      }
      this.#owners.delete(owner);
      for (const epoch of known.parts.keys()) discards.push({ part: { owner, epoch } });
    }
    return discards;
  }

  #owner(owner: string, now: Instant): Owner {
    let known = this.#owners.get(owner);
    if (known === undefined) {
      known = { parts: new Map(), heardAt: now, number: 0, issued: 0, live: new Set() };
      this.#owners.set(owner, known);
    }
    return known;
  }
}
