import { abortInFreshContext } from '../../common/async/async-context.js';
import type { HedgeError } from '../../common/errors.js';
import { guardedController } from '../../common/async/guarded-signal.js';
import type { Held } from '../../common/held.js';
import { fencedTransactions, type FencedTransactions } from '../../database/fenced-transactions.js';
import type { UserTransactions } from '../../database/user-transactions.js';

/**
 * Permits of a semaphore, held by this pod until they are released or lost. The object may be destructured.
 *
 * At every instant, the number of valid permits in the group is at most the semaphore's limit (S1). Permits are renewed
 * automatically. When renewals fail for too long, permits are lost before another caller can acquire them.
 *
 * @example
 * await using permit = await reports.acquire();
 * await writeReport({ signal: permit.signal }); // released at the end of the block
 */
export interface Permit extends Held, FencedTransactions {
  /** UUID. */
  readonly id: string;
  /** The name of the semaphore. */
  readonly name: string;
  /** The number of permits. */
  readonly permits: number;
  /**
   * The commit time, in nanoseconds, of the write that granted the permits: never less than that of an earlier grant,
   * and greater than that of any earlier holder of the same permits. With limit 1, pass it to each store that the work
   * writes to, and let the store reject a smaller one: that stops a holder that stalled and has not noticed the loss
   * yet. With a higher limit, several holders with different tokens are valid at once, so a smaller token is no reason
   * to reject; call `isValid()` instead.
   */
  readonly fencingToken: bigint;
  /** Aborts when the permits are lost: the pod stops, or they were not renewed in time. Not on `release()`. */
  readonly signal: AbortSignal;
  /** Whether the permits are held now. Checked locally at every call, by the clock that advanced further. Never true again after false. */
  readonly isValid: () => boolean;
  /**
   * Releases the permits. A second call, or a call after a loss, does nothing. Resolves when the release is written to
   * the database, or when the permits have expired. Never rejects.
   */
  readonly release: () => Promise<void>;
  /** For logs: the token as digits, which JSON has no number for. */
  toJSON(): object;
}

/** The part of `SemaphoreClient` that a permit needs. */
export interface PermitOwner {
  holds(id: string): boolean;
  release(permit: PermitHandle): Promise<void>;
  readonly transactions: UserTransactions | undefined;
}

export interface PermitHandleInit {
  readonly id: string;
  readonly name: string;
  readonly permits: number;
  readonly fencingToken: bigint;
}

export class PermitHandle implements Permit {
  readonly id: string;
  readonly name: string;
  readonly permits: number;
  readonly fencingToken: bigint;
  readonly fence: Permit['fence'];
  readonly transaction: Permit['transaction'];
  #scope: AbortController | undefined;
  #lost: HedgeError | undefined;
  #released: Promise<void> | undefined;

  constructor(
    private readonly owner: PermitOwner,
    { id, name, permits, fencingToken }: PermitHandleInit,
  ) {
    this.id = id;
    this.name = name;
    this.permits = permits;
    this.fencingToken = fencingToken;
    const { fence, transaction } = fencedTransactions({
      what: `The permit of semaphore "${name}"`,
      transactions: owner.transactions,
      isHeld: this.isValid,
      fence: (used, tx) => used.fencePermit(tx, { semaphore: name, id, token: fencingToken }),
    });
    this.fence = fence;
    this.transaction = transaction;
  }

  /** Created on first use: an unused signal costs nothing. */
  get signal(): AbortSignal {
    if (this.#scope === undefined) {
      this.#scope = guardedController();
      if (this.#lost !== undefined) this.#scope.abort(this.#lost);
    }
    return this.#scope.signal;
  }

  readonly isValid = (): boolean =>
    this.#lost === undefined && this.#released === undefined && this.owner.holds(this.id);

  readonly release = (): Promise<void> => {
    this.#released ??= this.owner.release(this);
    return this.#released;
  };

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  toJSON(): object {
    const { id, name, permits, fencingToken } = this;
    return { id, name, permits, fencingToken: fencingToken.toString(), valid: this.isValid() };
  }

  lose(reason: HedgeError): void {
    this.#lost ??= reason;
    if (this.#scope !== undefined) abortInFreshContext(this.#scope, reason);
  }
}
