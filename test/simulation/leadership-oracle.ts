import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { isLater, type View } from '../../libs/hedge/src/membership/view.js';
import type { Term } from '../../libs/hedge/src/lease/lease-contender.core.js';
import type { LeaseMarker } from '../../libs/hedge/src/database/observed-lease.js';
import type { LeaseRow, SimulatedDatabase } from './database.js';
import { LeaseHistory, type ValidTerm } from './lease-history.js';
import { violated } from './violation.js';

/** A running process, as the invariants see it. */
export interface Believer {
  readonly self: MemberId;
  readonly term: Term | undefined;
  /** The result of `isLeader()` now. */
  readonly believes: boolean;
}

/** Checks L1, L2, L3 and M1 over the whole group, in true time. */
export class LeadershipOracle {
  readonly history: LeaseHistory;
  /** The tokens of the terms that ended, by incarnation. */
  readonly #ended = new Map<string, Set<bigint>>();
  readonly #views = new Map<string, string>();
  /** Terms up to this one began in a database that was replaced since then. */
  #replacedUpTo = 0n;

  constructor(
    private readonly database: SimulatedDatabase,
    private readonly believers: () => Iterable<Believer>,
  ) {
    this.history = new LeaseHistory('the lease', database.kind === 'server');
  }

  /** As `LeaseHistory.acquired`. */
  acquired(row: LeaseRow, knew: LeaseMarker): boolean {
    return this.history.acquired(row, knew, this.#valid());
  }

  /** A term of the replaced database stays valid until it expires: the remaining guarantee is L1. */
  replaced(): void {
    this.#replacedUpTo = this.history.newest;
  }

  elected({ incarnation }: MemberId, token: bigint): void {
    if (!this.history.owns({ incarnation, token })) violated('L1', `${incarnation} leads with a token not its own`);
    if (this.#hasEnded(incarnation, token)) violated('L3', `${incarnation} leads again with token ${token}`);
  }

  deposed({ incarnation }: MemberId, token: bigint): void {
    this.#ended.set(incarnation, (this.#ended.get(incarnation) ?? new Set()).add(token));
  }

  #hasEnded(incarnation: string, token: bigint): boolean {
    return this.#ended.get(incarnation)?.has(token) === true;
  }

  /** A member has accepted a view. */
  accepted(self: MemberId, view: View, before: View | undefined): void {
    const name = `${view.epoch}/${view.version}`;
    if (before !== undefined && !isLater(view, before)) {
      violated('M1', `${self.incarnation} went from view ${before.epoch}/${before.version} to ${name}`);
    }
    if (!this.history.owns({ incarnation: view.leader.incarnation, token: view.epoch })) {
      violated(
        'M1',
        `${self.incarnation} accepted view ${name} of ${view.leader.incarnation}, who never had that term`,
      );
    }
    const content = JSON.stringify([view.settled, view.members]);
    const known = this.#views.get(name);
    if (known === undefined) this.#views.set(name, content);
    else if (known !== content) violated('M1', `there are two views ${name}`);
  }

  /** To call after every step. */
  check(): void {
    for (const { self, term } of this.believers()) {
      if (term !== undefined && this.#hasEnded(self.incarnation, term.token))
        violated('L3', `${self.incarnation} holds token ${term.token} again after it stepped down`);
    }
    const valid = [...this.#valid()];
    for (const [index, term] of valid.entries()) {
      const other = valid.slice(index + 1).find((one) => !this.history.mayOverlap(one, term));
      if (other !== undefined) violated('L1', `${term.incarnation} and ${other.incarnation} lead at the same time`);
      this.#checkValidity(term);
    }
  }

  *#valid(): Iterable<ValidTerm> {
    for (const { self, term, believes } of this.believers()) {
      if (term !== undefined && believes) yield { incarnation: self.incarnation, token: term.token };
    }
  }

  /**
   * L2, seen from the database: a valid holder has the row, and no other could acquire it. A late acquisition
   * of the same process may have given the row a newer token.
   */
  #checkValidity(term: ValidTerm): void {
    const { incarnation, token } = term;
    if (token <= this.#replacedUpTo || this.history.isLost(term)) return;
    const { lease: row } = this.database;
    const own = row.claim?.holder.incarnation === incarnation && row.token >= token;
    if (!own) violated('L2', `${incarnation} believes in token ${token}, the row has ${row.token}`);
    if (this.database.kind === 'shared-clock' && this.database.expiresInMs(row) === 0) {
      violated('L2', `${incarnation} believes in token ${token}, which the database would give away`);
    }
  }
}
