import type { Fence } from '../log-table.js';
import { semaphoreKey, semaphoreRows } from '../row-names.js';
import type { PermitTable, SemaphoreRow, SemaphoreWrite, SemaphoreWriteResult } from '../permit-table.js';
import { assertSemaphoreName, assertSemaphoreWrite } from '../checks.js';
import type { Connection } from './client/connection.js';
import type { Tables } from './options.js';
import type { Mutation } from './client/protocol.js';
import { decideWrite, toFound, toSemaphore, toSemaphoreRow } from './semaphore-write.js';
import { fencedRowsSql, historySql } from './sql.js';
import { COMMIT_TIMESTAMP, rowValues } from './client/transaction.js';

const COLUMNS = ['key', 'id', 'value', 'leader', 'timestamp'];

/** The rows of semaphores in Spanner. */
export class SpannerPermitTable implements PermitTable {
  constructor(
    private readonly connection: Connection,
    private readonly tables: Tables,
  ) {}

  async read(name: string): Promise<SemaphoreRow | undefined> {
    assertSemaphoreName(name);
    const newest = historySql(this.tables.logTable, semaphoreKey(name), { limit: 1, order: 'newest-first' }, undefined);
    return this.connection.run('permits.read', async (attempt) => {
      const [row] = await attempt.query(newest);
      return row && toSemaphoreRow(toSemaphore(row));
    });
  }

  async write(write: SemaphoreWrite, fence: Fence): Promise<SemaphoreWriteResult> {
    assertSemaphoreWrite(write);
    const statement = fencedRowsSql(this.tables, fence.lease, semaphoreKey(write.name));
    return this.connection.run('permits.write', async (attempt) => {
      const transaction = attempt.begin();
      const found = toFound(await transaction.query(statement));
      const decision = decideWrite(write, fence, found, attempt.mayRepeat);
      if (decision !== 'commit') return decision;
      return { written: true, timestamp: await transaction.commit(this.#mutations(write, found.ids)) };
    });
  }

  /** @param ids the ids of all existing rows. */
  #mutations(write: SemaphoreWrite, ids: readonly string[]): Mutation[] {
    const table = this.tables.logTable;
    const { row, mirrors } = semaphoreRows(write);
    const { key, id, leader } = row;
    const values = [rowValues(key, id, row.value, leader, COMMIT_TIMESTAMP)];
    const gone = ids.filter((other) => other !== id).map((other) => rowValues(key, other));
    for (const mirror of mirrors) {
      if (mirror.value === undefined) gone.push(rowValues(mirror.key, key));
      else values.push(rowValues(mirror.key, key, mirror.value, leader, COMMIT_TIMESTAMP));
    }
    const stored: Mutation = { insertOrUpdate: { table, columns: COLUMNS, values } };
    return gone.length === 0 ? [stored] : [{ delete: { table, keySet: { keys: gone } } }, stored];
  }
}
