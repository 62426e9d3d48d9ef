import type { HedgeError } from '../../common/errors.js';
import type { GrantedPermit } from './permit-row.js';
import { foreign } from '../semaphore-errors.js';
import type { SemaphoreOutcome } from './semaphore-queue.messages.js';

interface Release {
  readonly id: string;
  readonly incarnation: string;
  /** The requests for this release; a repeated request joins. */
  readonly tickets: number[];
}

/** The requested releases of one semaphore that are not written to its row yet. */
export class PendingReleases {
  readonly #releases = new Map<string, Release>();

  /** @param settle answers one request. */
  constructor(
    private readonly semaphore: string,
    private readonly settle: (ticket: number, outcome: SemaphoreOutcome | HedgeError) => void,
  ) {}

  get size(): number {
    return this.#releases.size;
  }

  /** @param ticket the request that expects an answer. */
  add(id: string, incarnation: string, ticket?: number): void {
    // The key contains the requester, so that no other member can block the owner.
    const key = `${id} ${incarnation}`;
    const release = this.#releases.get(key) ?? { id, incarnation, tickets: [] };
    if (ticket !== undefined) release.tickets.push(ticket);
    this.#releases.set(key, release);
  }

  /**
   * Removes the released permits from `held`. A release of an absent or foreign permit is answered at once and changes
   * nothing (S3).
   * @returns the keys of the removed permits, for `done` after the write.
   */
  takeFrom(held: Map<string, GrantedPermit>): string[] {
    const taken: string[] = [];
    for (const [key, { id, incarnation }] of this.#releases) {
      const permit = held.get(id);
      if (permit === undefined) {
        this.#answer(key, { type: 'done' });
      } else if (permit.holder.incarnation !== incarnation) {
        this.#answer(key, foreign(this.semaphore, id));
      } else {
        held.delete(id);
        taken.push(key);
      }
    }
    return taken;
  }

  done(taken: readonly string[]): void {
    for (const key of taken) this.#answer(key, { type: 'done' });
  }

  tickets(): number[] {
    return [...this.#releases.values()].flatMap(({ tickets }) => tickets);
  }

  clear(): void {
    this.#releases.clear();
  }

  #answer(key: string, outcome: SemaphoreOutcome | HedgeError): void {
    for (const ticket of this.#releases.get(key)?.tickets ?? []) this.settle(ticket, outcome);
    this.#releases.delete(key);
  }
}
