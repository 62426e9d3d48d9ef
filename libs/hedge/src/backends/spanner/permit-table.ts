import type { Fence } from '../../backend/log.js';
import { callerKey, limitOfRowId, semaphoreKey, semaphoreRowId } from '../../backend/names.js';
import type { PermitTable, SemaphoreRow, SemaphoreWrite, SemaphoreWriteResult } from '../../backend/permits.js';
import { leaseLost } from '../../backend/refusals.js';
import { assertSemaphoreName, assertSemaphoreWrite } from '../../backend/semaphore-limits.js';
import { HedgeError } from '../../common/errors.js';
import type { Connection } from './connection.js';
import type { Tables } from './options.js';
import type { Mutation } from './protocol.js';
import { historySql, tokenSql } from './sql.js';
import { COMMIT_TIMESTAMP, rowValues } from './transaction.js';
import { timestampOf, type Row } from './values.js';

const COLUMNS = ['key', 'id', 'value', 'leader', 'timestamp'];

/** The rows of semaphores in Spanner. */
export class SpannerPermitTable implements PermitTable {
  constructor(
    private readonly connection: Connection,
    private readonly tables: Tables,
  ) {}

  async read(name: string): Promise<SemaphoreRow | undefined> {
    assertSemaphoreName(name);
    return this.connection.run('permits.read', async (attempt) => {
      const [row] = await attempt.query(this.#rows(name));
      return row && toSemaphoreRow(row);
    });
  }

  async write(write: SemaphoreWrite, fence: Fence): Promise<SemaphoreWriteResult> {
    assertSemaphoreWrite(write);
    return this.connection.run('permits.write', async (attempt) => {
      const transaction = attempt.begin();
      const [lease] = await transaction.query(tokenSql(this.tables.lockTable, fence.lease));
      const rows = await transaction.query(this.#rows(write.name));
      const [newest] = rows;
      const token = timestampOf(lease?.[0]);
      const row = newest && toSemaphoreRow(newest);
      const unchanged = (row?.timestamp ?? 0n) === write.follows;
      if (!unchanged && attempt.mayRepeat) {
        const own = newest !== undefined && token === fence.token && isEffectOf(write, newest);
        if (own) return { written: true, timestamp: timestampOf(newest[3]) };
        throw inDoubt(write.name);
      }
      if (token !== fence.token) throw leaseLost(fence, token);
      if (!unchanged) return { written: false, row };
      const others = rows.map(([id]) => id ?? '').filter((id) => id !== semaphoreRowId(write.limit));
      return { written: true, timestamp: await transaction.commit(this.#mutations(write, others)) };
    });
  }

  /** Newest first; there is one, unless someone else wrote there. */
  #rows(name: string) {
    const all = { limit: Infinity, order: 'newest-first' } as const;
    return historySql(this.tables.logTable, semaphoreKey(name), all, undefined);
  }

  #mutations({ name, limit, value, holders, leader }: SemaphoreWrite, others: readonly string[]): Mutation[] {
    const table = this.tables.logTable;
    const key = semaphoreKey(name);
    const values = [rowValues(key, semaphoreRowId(limit), value, leader, COMMIT_TIMESTAMP)];
    const gone = others.map((id) => rowValues(key, id));
    for (const holder of holders) {
      const mirror = callerKey(holder.address);
      if (holder.value === undefined) gone.push(rowValues(mirror, key));
      else values.push(rowValues(mirror, key, holder.value, leader, COMMIT_TIMESTAMP));
    }
    const write = { insertOrUpdate: { table, columns: COLUMNS, values } };
    return gone.length === 0 ? [write] : [{ delete: { table, keySet: { keys: gone } } }, write];
  }
}

/** From what `historySql` finds. */
function toSemaphoreRow([id, value, , at]: Row): SemaphoreRow {
  return { limit: limitOfRowId(id ?? ''), value: value ?? '', timestamp: timestampOf(at) };
}

/**
 * Whether an earlier try of this very call wrote it: under the caller's own token nobody else writes, and what the
 * caller itself writes at once is either another value or as good.
 */
function isEffectOf({ limit, value, leader }: SemaphoreWrite, [id, storedValue, storedLeader]: Row): boolean {
  return id === semaphoreRowId(limit) && storedValue === value && storedLeader === leader;
}

function inDoubt(name: string): HedgeError {
  return new HedgeError(
    'BACKEND_UNAVAILABLE',
    `Whether the write to semaphore "${name}" happened is not known: an answer got lost, and another write came since. Read the row, and write what follows from it.`,
    { details: { semaphore: name } },
  );
}
