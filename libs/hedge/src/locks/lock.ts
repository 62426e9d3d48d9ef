import type { HedgeError } from '../common/errors.js';
import type { Held } from '../common/held.js';
import type { FencedTransactions } from '../database/fenced-transactions.js';

/**
 * A lock that this process holds, until it is released or lost. It may be destructured.
 *
 * @example
 * await using lock = await locks.acquire('invoices'); // or: finally { await lock.release() }
 * await writeInvoices(lock.fencingToken, lock.signal);
 */
export interface Lock extends Held, FencedTransactions {
  readonly name: string;
  /** Rises with each acquisition of this name, on any pod, and is never reused. */
  readonly fencingToken: bigint;
  /** Aborts with LEASE_LOST when the lock is lost and with SHUTTING_DOWN when this pod closes; not on `release`. */
  readonly signal: AbortSignal;
  /**
   * Whether this process still holds the lock: false before the database lets another pod acquire it. The check is local
   * and made at each call, so call it at every use.
   */
  readonly isValid: () => boolean;
  /**
   * Releases the lock and notifies waiting pods. Resolves when that is done. Never rejects: if the database does not
   * answer, the lease expires. A second call, or a call after a loss, does nothing.
   */
  readonly release: () => Promise<void>;
  /** For logs: the token as digits, which JSON has no number for. */
  toJSON(): object;
}

export class HeldLock implements Lock {
  readonly signal: AbortSignal;
  readonly isValid: () => boolean;
  readonly release: () => Promise<void>;
  readonly fence: Lock['fence'];
  readonly transaction: Lock['transaction'];

  constructor(
    readonly name: string,
    readonly fencingToken: bigint,
    {
      signal,
      isValid,
      release,
      fence,
      transaction,
    }: Pick<Lock, 'signal' | 'isValid' | 'release' | 'fence' | 'transaction'>,
  ) {
    this.signal = signal;
    this.isValid = isValid;
    this.release = release;
    this.fence = fence;
    this.transaction = transaction;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  toJSON(): object {
    return { name: this.name, fencingToken: this.fencingToken.toString(), valid: this.isValid() };
  }
}

/** A caller that wants a lock. It is notified of the outcome exactly once. */
export interface LockWaiter {
  granted(lock: Lock): void;
  /** Only for a caller that does not wait: another holds the lock, or waits for it. */
  notFree(): void;
  failed(error: HedgeError): void;
}
