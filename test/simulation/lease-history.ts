import type { LeaseMarker } from '../../libs/hedge/src/database/observed-lease.js';
import { isLaterMarker, type LeaseRow } from './database.js';
import { violated } from './violation.js';

/** A process that relies on a lease. */
export interface ValidTerm {
  readonly incarnation: string;
  readonly token: bigint;
}

/**
 * The terms of one lease, as the database gave them, and the terms that it lost: L1 in true time.
 *
 * A term whose acquisition or last renewals are lost stays valid until it expires or its holder asks the database. A
 * process that has read or heard nothing of the lost commits cannot know that, and may acquire the lease meanwhile. This is
 * the documented exception, and the only one.
 */
export class LeaseHistory {
  #newest = 0n;
  readonly #owners = new Map<bigint, Set<string>>();
  /** The last marker of each term that the database kept, of the terms with lost commits. */
  readonly #lost = new Map<string, LeaseMarker>();
  /** The terms that began beside a lost one, of which their process could not know. */
  readonly #unaware = new Set<string>();
  readonly #unawareTokens = new Set<bigint>();
  /** The terms that began before the last loss. */
  #before = new Set<string>();
  #losses = 0;

  /**
   * @param what names the lease in messages.
   * @param keepsOwn whether no late acquisition of the holder itself may supersede its term.
   */
  constructor(
    private readonly what: string,
    private readonly keepsOwn: boolean,
  ) {}

  /** The highest token that the database has given and not lost. */
  get newest(): bigint {
    return this.#newest;
  }

  /**
   * The database let a process acquire the lease.
   * @param knew the highest marker that this process knew when it asked.
   * @param valid the processes that rely on the lease now.
   * @returns whether it began beside a lost term.
   */
  acquired({ token, claim }: LeaseRow, knew: LeaseMarker, valid: Iterable<ValidTerm>): boolean {
    const incarnation = claim?.holder.incarnation ?? '';
    const { what } = this;
    if (token <= this.#newest) violated('L1', `token ${token} of ${what} is not above ${this.#newest}`);
    if (token <= knew.token) violated('L1', `${incarnation} has ${what} ${token}, and knew of ${knew.token}`);
    this.#newest = token;
    this.#owners.set(token, (this.#owners.get(token) ?? new Set()).add(incarnation));
    // A term that began beside a lost one looks like any other: who has read it knows nothing of the lost term.
    const misled = this.#unawareTokens.has(knew.token);
    const isExcused = (kept: LeaseMarker | undefined): boolean =>
      kept !== undefined && (misled || !isLaterMarker(knew, kept));
    for (const other of valid) {
      const kept = this.#lost.get(keyOf(other));
      if (other.incarnation === incarnation) {
        if (this.keepsOwn && kept === undefined)
          violated('superseded', `a late call gave ${incarnation} ${what} ${token}`);
        continue;
      }
      if (!isExcused(kept)) {
        violated('L1', `${incarnation} may have ${what} ${token} while ${other.incarnation} still relies on it`);
      }
    }
    // Also beside a lost acquisition whose answer is still on its way.
    if ([...this.#lost.values()].some(isExcused)) {
      this.#unaware.add(keyOf({ incarnation, token }));
      this.#unawareTokens.add(token);
    }
    return this.#unaware.has(keyOf({ incarnation, token }));
  }

  /** The holder has renewed the term after a loss. So the row shows again how long it may rely on it. */
  renewed({ token, claim }: LeaseRow): void {
    this.#lost.delete(keyOf({ incarnation: claim?.holder.incarnation ?? '', token }));
  }

  /** The database has lost its last commits. */
  wentBack(before: LeaseRow, after: LeaseRow): void {
    this.#newest = after.token;
    this.#losses += 1;
    this.#before = new Set(
      [...this.#owners].flatMap(([token, incarnations]) =>
        [...incarnations].map((incarnation) => keyOf({ incarnation, token })),
      ),
    );
    for (const [token, incarnations] of this.#owners) {
      const kept = { token, renewals: token === after.token ? after.renewals : -1n };
      if (token < after.token || !isLaterMarker(before, kept)) continue;
      for (const incarnation of incarnations) {
        const key = keyOf({ incarnation, token });
        const known = this.#lost.get(key);
        if (known === undefined || isLaterMarker(known, kept)) this.#lost.set(key, kept);
      }
    }
  }

  owns(term: ValidTerm): boolean {
    return this.#owners.get(term.token)?.has(term.incarnation) === true;
  }

  /** Whether the term began after the database has lost commits. */
  beganAfterLoss(term: ValidTerm): boolean {
    return this.#losses > 0 && !this.#before.has(keyOf(term));
  }

  /** Whether commits of that term are lost: then the row may have another holder. */
  isLost(term: ValidTerm): boolean {
    return this.#lost.size > 0 && this.#lost.has(keyOf(term));
  }

  /** Whether the acquisition with that token is lost. */
  hasLost(token: bigint): boolean {
    const incarnations = [...(this.#owners.get(token) ?? [])];
    return token > 0n && incarnations.some((incarnation) => this.isLost({ incarnation, token }));
  }

  /** Whether both processes may rely on the lease at once. */
  mayOverlap(a: ValidTerm, b: ValidTerm): boolean {
    const excused = (term: ValidTerm): boolean => this.isLost(term) || this.#unaware.has(keyOf(term));
    return excused(a) && excused(b) && (this.isLost(a) || this.isLost(b));
  }
}

function keyOf({ incarnation, token }: ValidTerm): string {
  return `${token} ${incarnation}`;
}
