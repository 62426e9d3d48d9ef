import type { PermitClaim } from './semaphore-queue.messages.js';

export interface Waiter {
  readonly ticket: number;
  readonly claim: PermitClaim;
  /** When it began to wait, on this leader's clock. This is its place in the queue. */
  readonly since: number;
  heardAt: number;
  /** Its limit was the agreed one: a later `resize` does not reject it. */
  agreed: boolean;
}

/** The callers that wait for permits of one semaphore: the longest wait first; among equal waits, in order of arrival. */
export class WaitQueue implements Iterable<Waiter> {
  /** Replaced at each change, so that a waiter may leave during an iteration. */
  #waiters: readonly Waiter[] = [];

  get size(): number {
    return this.#waiters.length;
  }

  get first(): Waiter | undefined {
    return this.#waiters[0];
  }

  [Symbol.iterator](): Iterator<Waiter> {
    return this.#waiters[Symbol.iterator]();
  }

  has(waiter: Waiter): boolean {
    return this.#waiters.includes(waiter);
  }

  withTicket(ticket: number): Waiter | undefined {
    return this.#waiters.find((waiter) => waiter.ticket === ticket);
  }

  withId(id: string): Waiter | undefined {
    return this.#waiters.find(({ claim }) => claim.id === id);
  }

  ids(): Set<string> {
    return new Set(this.#waiters.map(({ claim }) => claim.id));
  }

  add(waiter: Waiter): void {
    const place = this.#waiters.findIndex(({ since }) => since > waiter.since);
    const before = place === -1 ? this.#waiters.length : place;
    this.#waiters = [...this.#waiters.slice(0, before), waiter, ...this.#waiters.slice(before)];
  }

  remove(waiter: Waiter): void {
    this.#waiters = this.#waiters.filter((other) => other !== waiter);
  }

  clear(): void {
    this.#waiters = [];
  }
}
