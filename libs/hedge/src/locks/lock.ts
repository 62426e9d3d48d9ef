import type { HedgeError } from '../common/errors.js';

/**
 * A lock that this process holds, until it is released or lost.
 *
 * @example
 * await using lock = await locks.acquire('invoices'); // or: finally { await lock.release() }
 * await writeInvoices(lock.fencingToken, lock.signal);
 */
export class Lock {
  /** Aborts when the lock is lost, by LEASE_LOST, or when this pod closes, by SHUTTING_DOWN; not on `release`. */
  readonly signal: AbortSignal;
  readonly #isValid: () => boolean;
  readonly #giveBack: () => Promise<void>;

  constructor(
    readonly name: string,
    /** Rises with each holding of this name, whoever holds it, and is never used again. */
    readonly fencingToken: bigint,
    parts: { signal: AbortSignal; isValid: () => boolean; giveBack: () => Promise<void> },
  ) {
    this.signal = parts.signal;
    this.#isValid = parts.isValid;
    this.#giveBack = parts.giveBack;
  }

  /**
   * Whether this process still holds the lock: false before the database would let another in. Local, and judged
   * at each call, so ask it at every use. A property, so that it can be taken out of the lock.
   */
  readonly isValid = (): boolean => this.#isValid();

  /**
   * Gives the lock back and tells those who wait. Resolves when that is done; never rejects: should the database
   * not answer, the lease runs out by itself. Again, or after a loss, it does nothing.
   */
  readonly release = (): Promise<void> => this.#giveBack();

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  /** For logs: the token as digits, which JSON has no number for. */
  toJSON(): object {
    return { name: this.name, fencingToken: this.fencingToken.toString(), valid: this.isValid() };
  }
}

/** Who wants a lock, and is told once what became of that. */
export interface LockWaiter {
  granted(lock: Lock): void;
  /** Only to one that would not wait: another holds it, or came first. */
  taken(): void;
  failed(error: HedgeError): void;
}
