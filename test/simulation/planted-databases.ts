import type { AcquireConditions, LeaseRow as ReadRow } from '../../libs/hedge/src/database/lease-observer.js';
import { LeaseObserver } from '../../libs/hedge/src/database/lease-observer.js';
import type { HeldLease, RenewResult } from '../../libs/hedge/src/database/lease-table.js';
import type { LeaseMarker } from '../../libs/hedge/src/database/observed-lease.js';
import type { Instant } from '../../libs/hedge/src/common/clock.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { type LeaseClaim, type LeaseRow, SimulatedDatabase } from './database.js';
import { SimulatedDriver } from './driver.js';
import type { PlantedBug } from './search.js';
import { SOUND_PARTS } from './simulate.js';

/** Renews any row: Go's spindle checks neither token nor holder. */
class RenewsWithoutToken extends SimulatedDatabase {
  override renewLease(name: string, claim: LeaseClaim): boolean {
    const row = this.row(name);
    this.write(name, { ...row, renewals: row.renewals + 1n, claim, heartbeat: this.clock() });
    return true;
  }
}

/** Takes over in two transactions, as Go's spindle: a process that makes only the first one blocks the row. */
class TakesOverInTwoSteps extends SimulatedDatabase {
  readonly #announced = new Map<string, string>();

  override takeLease(name: string, claim: LeaseClaim, conditions: AcquireConditions, knew: LeaseMarker): boolean {
    const row = this.row(name);
    const { incarnation } = claim.holder;
    if (!this.#announced.has(name) && super.mayTake(row, claim.holder, conditions)) {
      this.#announced.set(name, incarnation);
      return false;
    }
    if (this.#announced.get(name) !== incarnation) return false;
    this.#announced.delete(name);
    return super.takeLease(name, claim, { ...conditions, expired: row }, knew);
  }
}

/** Decides on expiry by a read before the transaction, and does not check again inside. */
class DecidesOutsideTheTransaction extends SimulatedDatabase {
  protected override mayTake(row: LeaseRow, holder: MemberId, conditions: AcquireConditions): boolean {
    return super.mayTake(row, holder, conditions) || conditions.expired !== undefined;
  }
}

/** A late acquisition takes the row that a later one of the same process has acquired. */
class TakesItsOwnRow extends SimulatedDatabase {
  protected override mayTake(row: LeaseRow, holder: MemberId, conditions: AcquireConditions): boolean {
    const own = row.claim?.holder.incarnation === holder.incarnation && row.token >= conditions.known;
    return own || super.mayTake(row, holder, conditions);
  }
}

/** Makes a token from the wall clock alone. */
class TokensFromTheWallClock extends SimulatedDatabase {
  protected override timestamp(): bigint {
    return super.timestamp(0n);
  }
}

/** Acquires the lease of a new database at once, while the lease of the holder in the old one is valid. */
class TakesReplacedDatabases extends LeaseObserver {
  override replaced(): void {
    // Notices nothing.
  }
}

/** Tells the age of each row by its own clock, also when another machine wrote the row. */
class TrustsOtherClocks extends SimulatedDriver {
  protected override sharesClock(): boolean {
    return true;
  }
}

/** Forgets the tokens that it has read or heard. */
class ForgetsKnownTokens extends LeaseObserver {
  override known(): bigint {
    return 0n;
  }

  override mayAcquire(name: string, leaseMs: number, now: Instant): AcquireConditions | undefined {
    const conditions = super.mayAcquire(name, leaseMs, now);
    return conditions && { ...conditions, known: 0n };
  }
}

/** Acquires at once although the database went back. */
class IgnoresTheQuietTime extends LeaseObserver {
  override mayAcquire(name: string, leaseMs: number, now: Instant): AcquireConditions | undefined {
    const conditions = super.mayAcquire(name, leaseMs, now);
    if (conditions !== undefined) return conditions;
    const later = super.mayAcquire(name, leaseMs, muchLater(now));
    return later && { ...later, expired: undefined };
  }

  override acquired(name: string, token: bigint, leaseMs: number, now: Instant): boolean {
    return super.acquired(name, token, leaseMs, muchLater(now));
  }
}

/** Goes on although it knows of a later acquisition, which the database has lost. */
class AcceptsSupersededRenewals extends LeaseObserver {
  override renewed(lease: HeldLease, done: boolean, row: ReadRow, known: bigint, now: Instant): RenewResult {
    const result = super.renewed(lease, done, row, known, now);
    return done ? { renewed: true } : result;
  }
}

/** Knows only the tokens that it has read. */
class IgnoresPeers extends LeaseObserver {
  override heard(): void {
    // Learns nothing.
  }
}

function muchLater({ mono, wall }: Instant): Instant {
  return { mono: mono + 1e9, wall: wall + 1e9 };
}

/** Bugs of databases and their drivers, each with the invariants that must find it. */
export const PLANTED_DATABASES: Readonly<Record<string, PlantedBug>> = {
  'renewal without token check': {
    parts: { ...SOUND_PARTS, database: (...made) => new RenewsWithoutToken(...made) },
    found: ['L1', 'L2'],
    conditions: { fault: 'pod cut off from the database' },
  },
  'take-over in two transactions': {
    parts: { ...SOUND_PARTS, database: (...made) => new TakesOverInTwoSteps(...made) },
    found: ['L4'],
  },
  'take-over decided outside the transaction': {
    parts: { ...SOUND_PARTS, database: (...made) => new DecidesOutsideTheTransaction(...made) },
    found: ['L1', 'L2'],
  },
  'a lease that a late acquisition takes from its own process': {
    parts: { ...SOUND_PARTS, database: (...made) => new TakesItsOwnRow(...made) },
    found: ['superseded'],
    conditions: { database: 'server', fault: 'database outage', calls: { late: 0.2 } },
  },
  'tokens from a wall clock that may go back': {
    parts: { ...SOUND_PARTS, database: (...made) => new TokensFromTheWallClock(...made) },
    found: ['L1', 'K2', 'M1'],
  },
  'the lease of a new database acquired at once': {
    parts: { ...SOUND_PARTS, observer: () => new TakesReplacedDatabases() },
    found: ['L1'],
    conditions: { database: 'file', fault: 'database replaced' },
  },
  'the age of a row by the clock of another machine': {
    parts: { ...SOUND_PARTS, driver: (...made) => new TrustsOtherClocks(...made) },
    found: ['L1', 'L2'],
    conditions: { database: 'file', fault: 'sleep' },
  },
  'known tokens forgotten when the database went back': {
    parts: { ...SOUND_PARTS, observer: () => new ForgetsKnownTokens() },
    found: ['L1'],
    conditions: { database: 'server', fault: 'database went back to before a hand-over' },
  },
  'the lease acquired at once when the database went back': {
    parts: { ...SOUND_PARTS, observer: () => new IgnoresTheQuietTime() },
    found: ['L1'],
    conditions: { database: 'server', fault: 'database went back to before a hand-over' },
  },
  'a renewal accepted although a later token is known': {
    parts: { ...SOUND_PARTS, observer: () => new AcceptsSupersededRenewals() },
    found: ['L1'],
    conditions: { database: 'server', fault: 'database went back' },
  },
  'tokens that peers name ignored': {
    parts: { ...SOUND_PARTS, observer: () => new IgnoresPeers() },
    found: ['L1'],
    conditions: { database: 'server', fault: 'database went back to before a hand-over' },
  },
};
