import type { Fence } from '../log-table.js';
import { limitOfRowId, semaphoreKey, semaphoreRows } from '../row-names.js';
import type { PermitTable, SemaphoreRow, SemaphoreWrite, SemaphoreWriteResult } from '../permit-table.js';
import { assertSemaphoreName, assertSemaphoreWrite, leaseLost } from '../checks.js';
import type { Calls } from './client/calls.js';
import type { Row } from './client/client.js';
import type { PostgresLeaseTable } from './lease-table.js';
import type { Tables } from './options.js';
import { latestSql, namesOf, replaceSql, semaphoreSql, type Names } from './sql.js';

/** The rows of semaphores in PostgreSQL. */
export class PostgresPermitTable implements PermitTable {
  readonly #names: Names;

  /** @param leases which notice a database that went back. */
  constructor(
    private readonly calls: Calls,
    tables: Tables,
    private readonly leases: Pick<PostgresLeaseTable, 'permitsUnseenForMs'>,
  ) {
    this.#names = namesOf(tables);
  }

  unseenForMs(permitMs: number): number {
    return this.leases.permitsUnseenForMs(permitMs);
  }

  async read(name: string): Promise<SemaphoreRow | undefined> {
    assertSemaphoreName(name);
    const [row] = await this.calls.query('permits.read', latestSql(this.#names, semaphoreKey(name)));
    return toRow(row);
  }

  async write(write: SemaphoreWrite, fence: Fence): Promise<SemaphoreWriteResult> {
    assertSemaphoreWrite(write);
    const { row, mirrors } = semaphoreRows(write);
    return this.calls.run('permits.write', async (query) => {
      const [written] = await query(replaceSql(this.#names, row, write.follows, mirrors, fence));
      if (written !== undefined) return { written: true, timestamp: BigInt(written['timestamp'] ?? 0) };
      const [found] = await query(semaphoreSql(this.#names, row.key, fence.lease));
      const token = BigInt(found?.['token'] ?? 0);
      if (token !== fence.token) throw leaseLost(fence, token);
      return { written: false, row: toRow(found) };
    });
  }
}

function toRow(row: Row | undefined): SemaphoreRow | undefined {
  const id = row?.['id'];
  if (typeof id !== 'string') return undefined;
  return { limit: limitOfRowId(id), value: row?.['value'] ?? '', timestamp: BigInt(row?.['timestamp'] ?? 0) };
}
