import type { Instant } from '../../libs/hedge/src/common/clock.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { holdsLease, type Term } from '../../libs/hedge/src/lease/lease-contender.core.js';
import type { LeaseMarker } from '../../libs/hedge/src/database/observed-lease.js';
import type { LeaseRow, SimulatedDatabase } from './database.js';
import { LeaseHistory, type ValidTerm } from './lease-history.js';
import { violated } from './violation.js';

/** A process that holds locks, as the invariants see it. */
export interface LockPod {
  readonly self: MemberId;
  readonly alive: boolean;
  now(): Instant;
  /** The term under which one of its callers holds that lock now. */
  lockTerm(name: string): Term | undefined;
  /** Another thread of the process knows that the term is over, and notifies the event loop. */
  superseded(name: string, token: bigint): boolean;
}

/** A lock that a caller holds, and was not notified to have lost. */
export interface HeldLock {
  readonly pod: LockPod;
  readonly name: string;
  readonly token: bigint;
}

/** Checks L1, L2 and L3 of every lock over the whole group, in true time. */
export class LockOracle {
  readonly #histories = new Map<string, LeaseHistory>();
  readonly #granted = new Set<string>();
  readonly #held = new Set<HeldLock>();
  /** Locks up to these tokens were acquired in a database that was replaced since then. */
  readonly #replacedUpTo = new Map<string, bigint>();

  constructor(
    private readonly timing: { readonly leaseMs: number; readonly marginMs: number },
    private readonly database: SimulatedDatabase,
  ) {}

  history(name: string): LeaseHistory {
    const known = this.#histories.get(name);
    if (known !== undefined) return known;
    const history = new LeaseHistory(`lock ${name}`, this.database.kind === 'server');
    this.#histories.set(name, history);
    return history;
  }

  /** As `LeaseHistory.acquired`. */
  acquired(name: string, row: LeaseRow, knew: LeaseMarker): void {
    const valid = [...this.#held].filter((lock) => lock.name === name && this.#isValid(lock));
    this.history(name).acquired(row, knew, valid.map(termOf));
  }

  replaced(): void {
    for (const [name, { newest }] of this.#histories) this.#replacedUpTo.set(name, newest);
  }

  granted(pod: LockPod, name: string, token: bigint): HeldLock {
    const lock = { pod, name, token };
    const { incarnation } = pod.self;
    const key = `${name} ${token}`;
    if (!this.history(name).owns(termOf(lock))) violated('L1', `${incarnation} has lock ${key}, which is not its own`);
    if (this.#granted.has(`${key} ${incarnation}`)) violated('L1', `lock ${key} was given to two callers`);
    this.#granted.add(`${key} ${incarnation}`);
    this.#held.add(lock);
    return lock;
  }

  /** The lock was released, or its caller was notified of the loss. */
  ended(lock: HeldLock): void {
    this.#held.delete(lock);
  }

  /** To call after every step. */
  check(): void {
    const valid: HeldLock[] = [];
    for (const lock of this.#held) {
      const { pod, name, token } = lock;
      if (!pod.alive) continue;
      const { incarnation } = pod.self;
      if (pod.lockTerm(name)?.token !== token && !pod.superseded(name, token))
        violated('L3', `${incarnation} was not notified that it lost lock ${name} ${token}`);
      if (!this.#isValid(lock)) continue;
      for (const other of valid) {
        if (other.name === name && !this.history(name).mayOverlap(termOf(other), termOf(lock)))
          violated('L1', `${other.pod.self.incarnation} and ${incarnation} hold lock ${name} at the same time`);
      }
      valid.push(lock);
      this.#checkValidity(lock);
    }
  }

  #isValid({ pod, name, token }: HeldLock): boolean {
    const term = pod.alive ? pod.lockTerm(name) : undefined;
    return term?.token === token && holdsLease(term, this.timing, pod.now());
  }

  /** L2, seen from the database, as in `LeadershipOracle`. */
  #checkValidity(lock: HeldLock): void {
    const { pod, name, token } = lock;
    const { incarnation } = pod.self;
    if (token <= (this.#replacedUpTo.get(name) ?? 0n) || this.history(name).isLost(termOf(lock))) return;
    const row = this.database.row(name);
    const own = row.claim?.holder.incarnation === incarnation && row.token >= token;
    if (!own) violated('L2', `${incarnation} considers lock ${name} ${token} valid, the row has ${row.token}`);
    if (this.database.kind === 'shared-clock' && this.database.expiresInMs(row) === 0) {
      violated('L2', `${incarnation} considers lock ${name} ${token} valid, which others could acquire`);
    }
  }
}

function termOf({ pod, token }: HeldLock): ValidTerm {
  return { incarnation: pod.self.incarnation, token };
}
