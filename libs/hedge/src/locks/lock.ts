import type { HedgeError } from '../common/errors.js';
import type { Held } from '../common/held.js';

/**
 * A lock that this process holds, until it is released or lost. It may be destructured.
 *
 * @example
 * await using lock = await locks.acquire('invoices'); // or: finally { await lock.release() }
 * await writeInvoices(lock.fencingToken, lock.signal);
 */
export interface Lock extends Held {
  readonly name: string;
  /** Rises with each holding of this name, on every pod, and is never used again. */
  readonly fencingToken: bigint;
  /** Aborts when the lock is lost, by LEASE_LOST, or when this pod closes, by SHUTTING_DOWN; not on `release`. */
  readonly signal: AbortSignal;
  /**
   * Whether this process still holds the lock: false before the database would let another in. Local, and judged
   * at each call, so ask it at every use.
   */
  readonly isValid: () => boolean;
  /**
   * Releases the lock and notifies those who wait. Resolves when that is done; never rejects: if the database does
   * not answer, the lease expires. Calling it again, or after a loss, does nothing.
   */
  readonly release: () => Promise<void>;
  /** For logs: the token as digits, which JSON has no number for. */
  toJSON(): object;
}

export class HeldLock implements Lock {
  readonly signal: AbortSignal;
  readonly isValid: () => boolean;
  readonly release: () => Promise<void>;

  constructor(
    readonly name: string,
    readonly fencingToken: bigint,
    { signal, isValid, release }: Pick<Lock, 'signal' | 'isValid' | 'release'>,
  ) {
    this.signal = signal;
    this.isValid = isValid;
    this.release = release;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  toJSON(): object {
    return { name: this.name, fencingToken: this.fencingToken.toString(), valid: this.isValid() };
  }
}

/** Who wants a lock, and is told once what became of that. */
export interface LockWaiter {
  granted(lock: Lock): void;
  /** Only to one that would not wait: another holds it, or came first. */
  notFree(): void;
  failed(error: HedgeError): void;
}
