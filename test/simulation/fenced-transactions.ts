import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import type { SimulatedDatabase } from './database.js';
import type { SimulatedTransaction } from './transactions.js';
import type { Random } from './random.js';
import { violated } from './violation.js';
import type { World } from './world.js';

/** A term, a lock or a permit that a process has acquired, also after it was lost. */
export interface Holding {
  readonly what: string;
  readonly token: bigint;
  readonly by: MemberId;
  /** The longest idle time of a fenced transaction: how long the holding lasts without renewal. */
  readonly idleMs: number;
  /** As its process sees it. */
  isValid(): boolean;
  /** As `UserTransactions`: false when the holder was replaced. */
  fence(transaction: SimulatedTransaction): boolean;
  /** Whether no later acquisition was committed, and it was not freed for one. */
  isLatest(): boolean;
}

/** The remembered holdings of a process: the last ones are those that matter. */
const REMEMBERED = 6;

/** The transactions of users under leases and permits. Checks F1 at each commit. */
export class FencedTransactions {
  readonly #holdings = new Map<string, Holding[]>();
  readonly #open = new Map<SimulatedTransaction, string>();
  /** The token of the last commit, of each lease. */
  readonly #committed = new Map<string, bigint>();

  constructor(
    private readonly world: World,
    private readonly random: Random,
    private readonly leaseMs: number,
  ) {}

  /** A process learns that it holds the lease of that name. */
  holds(
    what: string,
    by: MemberId,
    { database, name, token }: { database: SimulatedDatabase; name: string; token: bigint },
    isValid: () => boolean,
  ): void {
    this.acquired({
      what,
      by,
      token,
      idleMs: this.leaseMs,
      isValid,
      fence: (transaction) => database.fence(name, transaction, token),
      isLatest: () => database.row(name).token === token,
    });
  }

  /** The database has lost its last commits, and so may have lost the last acquisitions and transactions. */
  wentBack(): void {
    this.#committed.clear();
  }

  acquired(holding: Holding): void {
    const { incarnation } = holding.by;
    this.#holdings.set(incarnation, [...(this.#holdings.get(incarnation) ?? []), holding].slice(-REMEMBERED));
  }

  holdingsOf({ incarnation }: MemberId): readonly Holding[] {
    return this.#holdings.get(incarnation) ?? [];
  }

  begun(transaction: SimulatedTransaction, { incarnation }: MemberId): void {
    this.#open.set(transaction, incarnation);
    transaction.onEnd(() => this.#open.delete(transaction));
  }

  /** Some sessions end with their process. Of the others the server hears nothing: the machine lost power. */
  died({ incarnation }: MemberId): void {
    for (const [transaction, owner] of this.#open) {
      if (owner === incarnation && this.random.chance(0.5)) this.disconnected(transaction);
    }
  }

  /** The server notices after some time that the client has closed the connection. */
  disconnected(transaction: SimulatedTransaction): void {
    this.world.after(this.random.skewed(1, 2_000), () => transaction.abort());
  }

  /** A transaction of that holder has been committed. */
  committed({ what, token, by, isLatest }: Holding): void {
    this.world.count(`transactions: committed, ${what.split(' ')[0]}`);
    this.world.note(by.incarnation, () => `commits a transaction under ${what} ${token}`);
    if (!isLatest()) violated('F1', `${by.incarnation} committed under ${what} ${token} after a later acquisition`);
    const last = this.#committed.get(what) ?? 0n;
    if (token < last) violated('F1', `${by.incarnation} committed under ${what} ${token} after a commit under ${last}`);
    this.#committed.set(what, token);
  }
}
