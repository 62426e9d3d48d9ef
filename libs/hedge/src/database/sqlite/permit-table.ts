import type { Fence } from '../log-table.js';
import { limitOfRowId, semaphoreKey, semaphoreRows } from '../row-names.js';
import type { PermitTable, SemaphoreRow, SemaphoreWrite, SemaphoreWriteResult } from '../permit-table.js';
import { leaseLost, assertSemaphoreName, assertSemaphoreWrite } from '../checks.js';
import type { SqliteLeaseTable } from './lease-table.js';
import type { StoredVersion } from './protocol.js';
import type { SqliteCalls } from './threads.js';

/** The rows of semaphores in SQLite. */
export class SqlitePermitTable implements PermitTable {
  /** @param leases the lease table, which tracks a replaced file. */
  constructor(
    private readonly thread: SqliteCalls,
    private readonly leases: Pick<SqliteLeaseTable, 'permitsUnseenForMs'>,
  ) {}

  unseenForMs(permitMs: number): number {
    return this.leases.permitsUnseenForMs(permitMs);
  }

  async read(name: string): Promise<SemaphoreRow | undefined> {
    assertSemaphoreName(name);
    return toRow(await this.thread.call('latest', semaphoreKey(name)));
  }

  async write(write: SemaphoreWrite, fence: Fence): Promise<SemaphoreWriteResult> {
    assertSemaphoreWrite(write);
    const { row, mirrors } = semaphoreRows(write);
    const result = await this.thread.call('replace', row, write.follows, mirrors, { ...fence });
    if ('foundToken' in result) throw leaseLost(fence, result.foundToken);
    return 'timestamp' in result
      ? { written: true, timestamp: result.timestamp }
      : { written: false, row: toRow(result.found) };
  }
}

function toRow(version: StoredVersion | undefined): SemaphoreRow | undefined {
  if (version === undefined) return undefined;
  const [id, value, , timestamp] = version;
  return { limit: limitOfRowId(id), value, timestamp };
}
