import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { isLater, type View } from '../../libs/hedge/src/membership/view.js';
import type { Term } from '../../libs/hedge/src/lease/lease-contender.core.js';
import type { LeaseRow, SimulatedDatabase } from './database.js';
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
  readonly #owners = new Map<bigint, string>();
  readonly #ended = new Set<bigint>();
  readonly #views = new Map<string, string>();
  #newest = 0n;
  /** Terms up to this one began in a database that was replaced since then. */
  #lostUpTo = 0n;

  constructor(
    private readonly database: SimulatedDatabase,
    private readonly believers: () => Iterable<Believer>,
  ) {}

  /** The database let a process acquire the lease. */
  acquired({ token, claim }: LeaseRow): void {
    const holder = claim?.holder.incarnation ?? '';
    if (token <= this.#newest) violated('L1', `token ${token} is not above ${this.#newest}`);
    this.#newest = token;
    this.#owners.set(token, holder);
    for (const { self, believes } of this.believers()) {
      if (believes && self.incarnation !== holder) {
        violated('L1', `${holder} may lead while ${self.incarnation} still believes that it does`);
      }
    }
  }

  /** A term of the replaced database stays valid until it expires: the remaining guarantee is L1. */
  leaseLost(): void {
    this.#lostUpTo = this.#newest;
  }

  elected(self: MemberId, token: bigint): void {
    if (this.#owners.get(token) !== self.incarnation)
      violated('L1', `${self.incarnation} leads with a token not its own`);
    if (this.#ended.has(token)) violated('L3', `${self.incarnation} leads again with token ${token}`);
  }

  deposed(token: bigint): void {
    this.#ended.add(token);
  }

  /** A member has accepted a view. */
  accepted(self: MemberId, view: View, before: View | undefined): void {
    const name = `${view.epoch}/${view.version}`;
    if (before !== undefined && !isLater(view, before)) {
      violated('M1', `${self.incarnation} went from view ${before.epoch}/${before.version} to ${name}`);
    }
    if (this.#owners.get(view.epoch) !== view.leader.incarnation) {
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
    let holder: string | undefined;
    for (const { self, term, believes } of this.believers()) {
      if (term === undefined) continue;
      if (this.#ended.has(term.token))
        violated('L3', `${self.incarnation} holds token ${term.token} again after it stepped down`);
      if (!believes) continue;
      if (holder !== undefined) violated('L1', `${holder} and ${self.incarnation} lead at the same time`);
      holder = self.incarnation;
      this.#checkValidity(self, term);
    }
  }

  /**
   * L2, seen from the database: a valid holder has the row, and no other could acquire it. A late acquisition
   * of the same process may have given the row a newer token.
   */
  #checkValidity({ incarnation }: MemberId, { token }: Term): void {
    if (token <= this.#lostUpTo) return;
    const { lease: row } = this.database;
    const own = row.claim?.holder.incarnation === incarnation && row.token >= token;
    if (!own) violated('L2', `${incarnation} believes in token ${token}, the row has ${row.token}`);
    if (this.database.kind === 'shared-clock' && this.database.expiresInMs(row) === 0) {
      violated('L2', `${incarnation} believes in token ${token}, which the database would give away`);
    }
  }
}
