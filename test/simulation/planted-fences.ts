import type { AcquireConditions } from '../../libs/hedge/src/database/lease-observer.js';
import type { LeaseMarker } from '../../libs/hedge/src/database/observed-lease.js';
import { type LeaseClaim, SimulatedDatabase } from './database.js';
import { SimulatedSemaphoreRows } from './semaphore-rows.js';
import type { PlantedBug } from './search.js';
import { SOUND_PARTS } from './simulate.js';
import { LockWait, SimulatedTransaction } from './transactions.js';

/** Reads the token, and takes no lock. */
class ReadsTheToken extends SimulatedDatabase {
  override fence(name: string, _transaction: SimulatedTransaction, token: bigint): boolean {
    return this.row(name).token === token;
  }
}

/** Locks the row of the lease, whatever its token is. */
class LocksAnyToken extends SimulatedDatabase {
  override fence(name: string, transaction: SimulatedTransaction): boolean {
    return super.fence(name, transaction, this.row(name).token);
  }
}

/** Frees the lock of the row shortly after the statement, as a statement outside of the transaction does. */
class FreesBeforeTheCommit extends SimulatedDatabase {
  override fence(name: string, transaction: SimulatedTransaction, token: bigint): boolean {
    this.world.after(1, () => this.unfence(transaction));
    return super.fence(name, transaction, token);
  }
}

/** An acquisition does not wait: the new token is no part of a key. */
export class AcquiresAtOnce extends SimulatedDatabase {
  protected override awaitFences(): void {}
}

/** An acquisition that waited for too long goes on instead of failing. */
class AcquiresAfterTheTimeout extends SimulatedDatabase {
  readonly #waited = new Map<string, number>();

  override takeLease(name: string, claim: LeaseClaim, conditions: AcquireConditions, knew: LeaseMarker): boolean {
    const taken = super.takeLease(name, claim, conditions, knew);
    this.#waited.delete(name);
    return taken;
  }

  protected override awaitFences(name: string): void {
    try {
      super.awaitFences(name);
    } catch (error) {
      const waited = (this.#waited.get(name) ?? 0) + 1;
      this.#waited.set(name, waited);
      if (!(error instanceof LockWait) || waited <= 10) throw error;
    }
  }
}

/** Frees a permit although an open transaction is fenced by it. */
class FreesFencedPermits extends SimulatedSemaphoreRows {
  protected override awaitFences(): void {}
}

/** Leaves the row of a permit when the permit is freed. */
class LeavesPermitRows extends SimulatedSemaphoreRows {
  protected override deletePermit(): void {}
}

/** The server never ends a session that stands idle. */
class StandsIdle extends SimulatedTransaction {
  protected override idled(): void {}
}

/** A transaction that stands idle loses its locks, and can still commit. */
class LosesItsLocks extends SimulatedTransaction {
  protected override idled(): void {
    this.free();
  }
}

/** Bugs of fenced transactions, each with the invariants that must find it. */
export const PLANTED_FENCES: Readonly<Record<string, PlantedBug>> = {
  'a transaction without a fence': {
    parts: { ...SOUND_PARTS, fence: () => true },
    found: ['F1'],
  },
  'a check of the holder instead of a fence': {
    parts: { ...SOUND_PARTS, fence: (_transaction, holding) => holding.isValid() },
    found: ['F1'],
  },
  'a fence that reads the token without a lock': {
    parts: { ...SOUND_PARTS, database: (...made) => new ReadsTheToken(...made) },
    found: ['F1'],
  },
  'a fence that does not compare the token': {
    parts: { ...SOUND_PARTS, database: (...made) => new LocksAnyToken(...made) },
    found: ['F1'],
  },
  'a fence whose lock ends before the commit': {
    parts: { ...SOUND_PARTS, database: (...made) => new FreesBeforeTheCommit(...made) },
    found: ['F1'],
  },
  'an acquisition that does not wait for fences': {
    parts: { ...SOUND_PARTS, database: (...made) => new AcquiresAtOnce(...made) },
    found: ['F1'],
  },
  'an acquisition that goes on after its lock timeout': {
    parts: { ...SOUND_PARTS, database: (...made) => new AcquiresAfterTheTimeout(...made) },
    found: ['F1'],
  },
  'a permit freed while a transaction is fenced by it': {
    parts: { ...SOUND_PARTS, semaphoreRows: (database) => new FreesFencedPermits(database) },
    found: ['F1'],
  },
  'a permit freed without its row': {
    parts: { ...SOUND_PARTS, semaphoreRows: (database) => new LeavesPermitRows(database) },
    found: ['F1'],
  },
  'an idle transaction that loses its locks and can commit': {
    parts: { ...SOUND_PARTS, transaction: (...made) => new LosesItsLocks(...made) },
    found: ['F1'],
  },
  'a fenced transaction that may stand idle for ever': {
    parts: { ...SOUND_PARTS, transaction: (...made) => new StandsIdle(...made) },
    found: ['L4'],
  },
};
