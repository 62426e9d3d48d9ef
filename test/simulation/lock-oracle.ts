import type { Instant } from '../../libs/hedge/src/common/clock.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { holdsLease, type Term } from '../../libs/hedge/src/lease/lease-contender.core.js';
import type { LeaseRow, SimulatedDatabase } from './database.js';
import { violated } from './violation.js';

/** A process that holds locks, as the invariants see it. */
export interface LockPod {
  readonly self: MemberId;
  readonly alive: boolean;
  now(): Instant;
  /** The term under which one of its callers holds that lock now. */
  lockTerm(name: string): Term | undefined;
}

/** A lock that a caller holds, and was not notified to have lost. */
export interface HeldLock {
  readonly pod: LockPod;
  readonly name: string;
  readonly token: bigint;
}

/** Checks L1, L2 and L3 of every lock over the whole group, in true time. */
export class LockOracle {
  readonly #rows = new Map<string, SimulatedDatabase>();
  readonly #newest = new Map<string, bigint>();
  readonly #owners = new Map<string, string>();
  readonly #granted = new Set<string>();
  readonly #held = new Set<HeldLock>();

  constructor(
    private readonly timing: { readonly leaseMs: number; readonly marginMs: number },
    private readonly makeRow: () => SimulatedDatabase,
  ) {}

  /** The lease row of a lock. */
  row(name: string): SimulatedDatabase {
    const known = this.#rows.get(name);
    if (known !== undefined) return known;
    const row = this.makeRow();
    row.observer = {
      acquired: (taken) => this.#acquired(name, taken),
      written: () => undefined,
      leaseLost: () => undefined,
    };
    this.#rows.set(name, row);
    return row;
  }

  rows(): Iterable<SimulatedDatabase> {
    return this.#rows.values();
  }

  granted(pod: LockPod, name: string, token: bigint): HeldLock {
    const lock = { pod, name, token };
    const { incarnation } = pod.self;
    const key = `${name} ${token}`;
    if (this.#owners.get(key) !== incarnation) violated('L1', `${incarnation} has lock ${key}, which is not its own`);
    if (this.#granted.has(key)) violated('L1', `lock ${key} was given to two callers`);
    this.#granted.add(key);
    this.#held.add(lock);
    return lock;
  }

  /** The lock was released, or its caller was notified of the loss. */
  ended(lock: HeldLock): void {
    this.#held.delete(lock);
  }

  /** To call after every step. */
  check(): void {
    const valid = new Map<string, string>();
    for (const { pod, name, token } of this.#held) {
      if (!pod.alive) continue;
      const { incarnation } = pod.self;
      const term = pod.lockTerm(name);
      if (term?.token !== token) violated('L3', `${incarnation} was not notified that it lost lock ${name} ${token}`);
      if (!this.#isValid(pod, term)) continue;
      const other = valid.get(name);
      if (other !== undefined) violated('L1', `${other} and ${incarnation} hold lock ${name} at the same time`);
      valid.set(name, incarnation);
      this.#checkValidity(incarnation, name, term);
    }
  }

  /** The database let a process acquire a lock. */
  #acquired(name: string, { token, claim }: LeaseRow): void {
    const holder = claim?.holder.incarnation ?? '';
    if (token <= (this.#newest.get(name) ?? 0n)) violated('L1', `token ${token} of lock ${name} does not rise`);
    this.#newest.set(name, token);
    this.#owners.set(`${name} ${token}`, holder);
    for (const { pod, ...held } of this.#held) {
      const { incarnation } = pod.self;
      if (held.name !== name || incarnation === holder || !pod.alive) continue;
      const term = pod.lockTerm(name);
      if (term?.token === held.token && this.#isValid(pod, term)) {
        violated('L1', `${holder} may have lock ${name} while ${incarnation} still considers it valid`);
      }
    }
  }

  #isValid(pod: LockPod, term: Term): boolean {
    return holdsLease(term, this.timing, pod.now());
  }

  /** L2, seen from the database, as in `LeadershipOracle`. */
  #checkValidity(incarnation: string, name: string, { token }: Term): void {
    const database = this.row(name);
    const { lease } = database;
    const own = lease.claim?.holder.incarnation === incarnation && lease.token >= token;
    if (!own) violated('L2', `${incarnation} considers lock ${name} ${token} valid, the row has ${lease.token}`);
    if (database.kind === 'shared-clock' && database.expiresInMs(lease) === 0) {
      violated('L2', `${incarnation} considers lock ${name} ${token} valid, which others could acquire`);
    }
  }
}
