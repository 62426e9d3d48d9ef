import { abortInFreshContext } from '../../common/async/async-context.js';
import type { HedgeError } from '../../common/errors.js';
import { guardedController } from '../../common/async/guarded-signal.js';
import type { Held } from '../../common/held.js';

/**
 * Permits of a semaphore, held by this pod until released or lost.
 *
 * At every instant, the permits that are valid anywhere are at most the semaphore's limit (S1). They are renewed by
 * themselves; when that fails for too long, they are lost before anybody else can get them. It may be destructured.
 *
 * @example
 * await using permit = await reports.acquire();
 * await writeReport({ signal: permit.signal }); // released at the end of the block
 */
export interface Permit extends Held {
  /** UUID. */
  readonly id: string;
  /** Of the semaphore. */
  readonly name: string;
  /** How many permits these are. */
  readonly permits: number;
  /**
   * Commit time in nanoseconds of the write that granted them: never less than that of an earlier grant, and more
   * than that of any earlier holder of the same permits. With limit 1, pass it to what the work writes to, and let that
   * refuse a smaller one: that stops a holder that stood still and does not know it yet. With a higher limit several
   * holders with different tokens are valid at once, so a smaller token is no reason to refuse; ask `isValid()`.
   */
  readonly fencingToken: bigint;
  /** Aborts when they are lost: released by force when the pod stops, or not renewed in time. Not at `release()`. */
  readonly signal: AbortSignal;
  /** Whether they are held now. Judged at every call, locally, by whichever clock ran further. Once false, for ever. */
  readonly isValid: () => boolean;
  /**
   * Gives them back. Again, or when they are lost, it changes nothing. Resolves when the database has it, or when
   * their time is over in any case; never rejects.
   */
  readonly release: () => Promise<void>;
  /** For logs: the token as digits, which JSON has no number for. */
  toJSON(): object;
}

/** What a permit needs of the holder that made it. */
export interface PermitOwner {
  holds(id: string): boolean;
  release(permit: PermitHandle): Promise<void>;
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
  }

  /** Made on first use: who does not look at it pays nothing. */
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
