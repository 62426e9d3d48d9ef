import type { SemaphoreRow, SemaphoreWrite, SemaphoreWriteResult } from '../../libs/hedge/src/database/permit-table.js';
import { leaseLost } from '../../libs/hedge/src/database/checks.js';
import type { HedgeError } from '../../libs/hedge/src/common/errors.js';
import type { SimulatedDatabase } from './database.js';
import { LockWait, type SimulatedTransaction } from './transactions.js';

/** The driver repeats a write that finds the row of a freed permit locked, for the time of one call at most. */
const REPEATED_MS = 500;

/** The rows of semaphores, as `PermitTable` guarantees them. Each call takes effect at one instant. */
export class SimulatedSemaphoreRows {
  readonly #rows = new Map<string, SemaphoreRow>();
  /** The tokens in the permit rows, by the id of the permit. */
  readonly #permits = new Map<string, bigint>();
  /** Transactions of users that keep a permit row until they end. */
  readonly #fences = new Map<SimulatedTransaction, string>();

  /** Called for each row that the database lost, newest first. */
  lost: (name: string, row: SemaphoreRow, before: SemaphoreRow | undefined) => void = () => undefined;

  constructor(private readonly database: SimulatedDatabase) {}

  /** Replaces the database by one without permits. */
  lose(): void {
    this.abortFenced();
    this.#rows.clear();
    this.#permits.clear();
  }

  /** The connections of fenced transactions end. */
  abortFenced(): void {
    for (const transaction of this.#fences.keys()) transaction.abort();
  }

  read(name: string): SemaphoreRow | undefined {
    return this.#rows.get(name);
  }

  /** Fenced by the token of the group's lease. */
  write(write: SemaphoreWrite, token: bigint): SemaphoreWriteResult | HedgeError {
    const { token: found } = this.database.lease;
    if (found !== token) return leaseLost({ lease: 'simulated', token }, found);
    const row = this.#rows.get(write.name);
    if (!this.mayReplace(row, write)) return { written: false, row };
    const { permits = [] } = write;
    for (const { id, permitMs } of permits) if (permitMs === undefined) this.awaitFences(id);
    const timestamp = this.database.commitTime();
    for (const { id, permitMs } of permits) {
      const token = this.#permits.get(id);
      if (permitMs === undefined) this.deletePermit(id);
      else this.#permits.set(id, timestamp);
      this.database.commit(() => {
        if (token === undefined) this.#permits.delete(id);
        else this.#permits.set(id, token);
      });
    }
    const written = { limit: write.limit, value: write.value, timestamp };
    this.#rows.set(write.name, written);
    this.database.commit(() => {
      if (row === undefined) this.#rows.delete(write.name);
      else this.#rows.set(write.name, row);
      this.lost(write.name, written, row);
    });
    return { written: true, timestamp };
  }

  /** As `UserTransactions.fencePermit`. */
  fence(transaction: SimulatedTransaction, id: string, token: bigint): boolean {
    if (this.#permits.get(id) !== token) return false;
    this.#fences.set(transaction, id);
    transaction.onEnd(() => this.#fences.delete(transaction));
    return true;
  }

  protected awaitFences(id: string): void {
    if ([...this.#fences.values()].includes(id)) throw new LockWait(REPEATED_MS);
  }

  protected deletePermit(id: string): void {
    this.#permits.delete(id);
  }

  protected mayReplace(row: SemaphoreRow | undefined, { follows }: SemaphoreWrite): boolean {
    return (row?.timestamp ?? 0n) === follows;
  }
}
