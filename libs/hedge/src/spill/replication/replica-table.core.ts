import { shortestElapsed, type Instant } from '../../common/clock.js';

/** Names the replica of one store on this pod. */
export interface ReplicaId {
  /** Incarnation of the owner. */
  readonly owner: string;
  /** Number of the store. It rises with each store that the owner creates. */
  readonly epoch: number;
}

/** The report of an owner to a holder about its live stores. */
export interface StoreRenewal {
  /** Rises with each renewal of this owner: a renewal that arrives after a later one is ignored. */
  readonly number: number;
  /** The last epoch that the owner has issued. */
  readonly issued: number;
  /** Its live stores. All others up to `issued` are dropped for good. */
  readonly live: readonly LiveStore[];
}

export interface LiveStore {
  readonly epoch: number;
  /** The sessions up to this one are closed: frames that still arrive by them do not count. */
  readonly closedSession: number;
  readonly discarded: readonly DiscardedFrame[];
}

/** A frame whose copies do not count when they arrived by this session or an earlier one. */
export interface DiscardedFrame {
  readonly sequence: number;
  readonly session: number;
}

/** Frames to free. */
export interface Discard {
  readonly replica: ReplicaId;
  /** These frames; all when undefined. */
  readonly sequences?: readonly number[];
}

interface Replica {
  /** The latest session by which each frame arrived, by sequence. */
  readonly frames: Map<number, number>;
  closedSession: number;
}

interface Owner {
  readonly replicas: Map<number, Replica>;
  /** When its last message arrived. */
  lastContact: Instant;
  number: number;
  issued: number;
  live: ReadonlySet<number>;
}

/**
 * The replicas that a pod holds for other pods. Pure: the runner stores and frees the frames.
 *
 * Guarantees:
 * - A store that its owner has dropped is never held again: no late frame revives it.
 * - A replica outlives its owner by at most `expireMs`: an owner without renewals is removed with its replicas.
 * - A discarded frame is freed, also when it arrives after the discard.
 */
export class ReplicaTable {
  readonly #owners = new Map<string, Owner>();
  #tickedAt: Instant | undefined;

  constructor(private readonly expireMs: number) {}

  /** The replicas that are held now. */
  *replicas(): Generator<ReplicaId & { readonly frames: number }> {
    for (const [owner, { replicas }] of this.#owners) {
      for (const [epoch, { frames }] of replicas) yield { owner, epoch, frames: frames.size };
    }
  }

  /** Whether frames may arrive by that session. Counts as contact with the owner. */
  admit({ owner, epoch }: ReplicaId, session: number, now: Instant): boolean {
    const known = this.#owner(owner, now);
    known.lastContact = now;
    if (epoch <= known.issued && !known.live.has(epoch)) return false;
    const replica = known.replicas.get(epoch);
    if (replica === undefined) known.replicas.set(epoch, { frames: new Map(), closedSession: 0 });
    return session > (replica?.closedSession ?? 0);
  }

  /** Records an arrived frame. False when it does not count and is to be freed. */
  stored({ owner, epoch }: ReplicaId, session: number, sequence: number): boolean {
    const replica = this.#owners.get(owner)?.replicas.get(epoch);
    if (replica === undefined || session <= replica.closedSession) return false;
    // A late copy by an earlier session does not replace the later session.
    replica.frames.set(sequence, Math.max(session, replica.frames.get(sequence) ?? 0));
    return true;
  }

  holds({ owner, epoch }: ReplicaId, sequence: number): boolean {
    return this.#owners.get(owner)?.replicas.get(epoch)?.frames.has(sequence) ?? false;
  }

  renewed(owner: string, { number, issued, live }: StoreRenewal, now: Instant): Discard[] {
    const known = this.#owner(owner, now);
    known.lastContact = now;
    if (number <= known.number) return [];
    known.number = number;
    known.issued = issued;
    known.live = new Set(live.map(({ epoch }) => epoch));
    const discards: Discard[] = [];
    for (const epoch of known.replicas.keys()) {
      if (epoch > issued || known.live.has(epoch)) continue;
      known.replicas.delete(epoch);
      discards.push({ replica: { owner, epoch } });
    }
    for (const { epoch, closedSession, discarded } of live) {
      const replica = known.replicas.get(epoch);
      if (replica === undefined) continue;
      replica.closedSession = Math.max(replica.closedSession, closedSession);
      const sequences = discarded
        .filter(({ sequence, session }) => (replica.frames.get(sequence) ?? Infinity) <= session)
        .map(({ sequence }) => sequence);
      for (const sequence of sequences) replica.frames.delete(sequence);
      if (sequences.length > 0) discards.push({ replica: { owner, epoch }, sequences });
    }
    return discards;
  }

  /** Removes owners without contact for `expireMs`. To be called a few times per `expireMs`. */
  tick(now: Instant): Discard[] {
    // After a pause of this process, renewals wait to be read.
    const wasPaused = this.#tickedAt !== undefined && shortestElapsed(this.#tickedAt, now) > this.expireMs / 2;
    this.#tickedAt = now;
    const discards: Discard[] = [];
    for (const [owner, known] of this.#owners) {
      if (shortestElapsed(known.lastContact, now) < this.expireMs) continue;
      if (wasPaused) {
        known.lastContact = { ...now, mono: now.mono - this.expireMs / 2 };
        continue;
      }
      this.#owners.delete(owner);
      for (const epoch of known.replicas.keys()) discards.push({ replica: { owner, epoch } });
    }
    return discards;
  }

  #owner(owner: string, now: Instant): Owner {
    let known = this.#owners.get(owner);
    if (known === undefined) {
      known = { replicas: new Map(), lastContact: now, number: 0, issued: 0, live: new Set() };
      this.#owners.set(owner, known);
    }
    return known;
  }
}
