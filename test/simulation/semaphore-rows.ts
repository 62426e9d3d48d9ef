import type { SemaphoreRow, SemaphoreWrite, SemaphoreWriteResult } from '../../libs/hedge/src/database/permit-table.js';
import { leaseLost } from '../../libs/hedge/src/database/checks.js';
import type { HedgeError } from '../../libs/hedge/src/common/errors.js';
import type { SimulatedDatabase } from './database.js';

/** The rows of semaphores, as `PermitTable` guarantees them. Each call takes effect at one instant. */
export class SimulatedSemaphoreRows {
  readonly #rows = new Map<string, SemaphoreRow>();

  constructor(private readonly database: SimulatedDatabase) {}

  /** Replaces the database by one without permits. */
  lose(): void {
    this.#rows.clear();
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
    const timestamp = this.database.commitTime();
    this.#rows.set(write.name, { limit: write.limit, value: write.value, timestamp });
    return { written: true, timestamp };
  }

  protected mayReplace(row: SemaphoreRow | undefined, { follows }: SemaphoreWrite): boolean {
    return (row?.timestamp ?? 0n) === follows;
  }
}
