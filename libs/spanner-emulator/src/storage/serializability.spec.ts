import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { SpannerError, Code } from '../common/status.js';
import { runDml } from '../query/dml.js';
import { prepareSelect } from '../query/select.js';
import type { Select } from '../sql/ast.js';
import { parseDdl } from '../sql/ddl-parser.js';
import { parseStatement } from '../sql/parser.js';
import { Database } from './database.js';
import { Snapshot } from './snapshot.js';

const DDL = [
  'CREATE TABLE t (k INT64 NOT NULL, a INT64, b INT64) PRIMARY KEY (k)',
  'CREATE INDEX by_a ON t (a) STORING (b)',
];

const newDatabase = (shareCommitTimestamps = false): Database => {
  const database = new Database('test', {
    clock: () => 1_000,
    idleTransactionMs: 10_000,
    versionRetentionMs: 3_600_000,
    shareCommitTimestamps: () => shareCommitTimestamps,
    onRowScanned: () => {},
  });
  for (const ddl of DDL) database.applyDdl(parseDdl(ddl));
  return database;
};

const contextOf = (database: Database, sql: string) => ({
  sql,
  parameters: new Map(),
  schema: database.schema,
  now: database.now(),
  pending: () => undefined,
});

const key = fc.nat({ max: 3 });
const value = fc.nat({ max: 5 });
/** Statements of every kind that reads or writes: points, ranges, an index, single columns, whole rows. */
const statement = fc.oneof(
  key.map((k) => `SELECT * FROM t WHERE k = ${k}`),
  key.map((k) => `SELECT COUNT(*), MAX(a) FROM t WHERE k >= ${k}`),
  value.map((a) => `SELECT k, b FROM t@{FORCE_INDEX=by_a} WHERE a >= ${a} ORDER BY k`),
  fc.tuple(key, value).map(([k, a]) => `INSERT OR UPDATE t (k, a, b) VALUES (${k}, ${a}, ${a})`),
  fc.tuple(key, value).map(([k, a]) => `UPDATE t SET a = ${a} WHERE k = ${k}`),
  key.map((k) => `UPDATE t SET b = b + 1 WHERE k = ${k}`),
  value.map((a) => `UPDATE t SET a = a + 1 WHERE a < ${a}`),
  key.map((k) => `DELETE t WHERE k = ${k}`),
);

interface Committed {
  readonly at: bigint;
  readonly steps: { readonly sql: string; readonly result: unknown }[];
}

/** Runs one statement in a transaction of the database, and returns the result for its client. */
const execute = (database: Database, transaction: ReturnType<Database['begin']>, sql: string): unknown =>
  transaction.run((work) => {
    const parsed = parseStatement(sql);
    if (parsed.kind === 'select') return prepareSelect(parsed, contextOf(database, sql)).run(work);
    return runDml(parsed, contextOf(database, sql), work).count;
  });

/** A client: runs its statements in one transaction, and retries it while it is aborted. */
const client = async (
  database: Database,
  statements: readonly string[],
  pauses: readonly number[],
): Promise<Committed> => {
  let aborted: ReturnType<Database['begin']> | undefined;
  for (;;) {
    const transaction = database.begin(aborted);
    const steps: Committed['steps'] = [];
    try {
      for (const [i, sql] of statements.entries()) {
        for (let pause = pauses[i % pauses.length]!; pause > 0; pause--)
          await new Promise((done) => setImmediate(done));
        steps.push({ sql, result: await execute(database, transaction, sql) });
      }
      return { at: await transaction.commit(() => {}), steps };
    } catch (error) {
      if (!(error instanceof SpannerError) || error.code !== Code.ABORTED) throw error;
      aborted = transaction;
    }
  }
};

const dump = (database: Database, at: bigint, index: string): unknown => {
  const sql = `SELECT k, a, b FROM t@{FORCE_INDEX=${index}} ORDER BY k`;
  return prepareSelect(parseStatement(sql) as Select, contextOf(database, sql)).run(new Snapshot(at));
};

describe('concurrent transactions', () => {
  const clients = fc.array(
    fc.record({
      statements: fc.array(statement, { minLength: 1, maxLength: 4 }),
      pauses: fc.array(fc.nat({ max: 2 }), { minLength: 1, maxLength: 4 }),
    }),
    { minLength: 2, maxLength: 6 },
  );

  it('have the same results as in the order of their commit timestamps, one after another', async () => {
    await fc.assert(
      fc.asyncProperty(clients, async (all) => {
        const database = newDatabase();
        const history = await Promise.all(all.map(({ statements, pauses }) => client(database, statements, pauses)));
        history.sort((a, b) => (a.at < b.at ? -1 : 1));
        const serial = newDatabase();
        for (const { at, steps } of history) {
          const transaction = serial.begin();
          for (const { sql, result } of steps)
            expect([sql, await execute(serial, transaction, sql)]).toEqual([sql, result]);
          const serialAt = await transaction.commit(() => {});
          // Every visible version equals the serial one, by the key and by the index.
          for (const index of ['_BASE_TABLE', 'by_a']) {
            expect(dump(database, at, index)).toEqual(dump(serial, serialAt, '_BASE_TABLE'));
          }
        }
        expect(new Set(history.map(({ at }) => at)).size).toBe(history.length);
      }),
      { numRuns: 300 },
    );
  });

  it('can share commit timestamps on request, and still have serial results', async () => {
    let shared = 0;
    await fc.assert(
      fc.asyncProperty(clients, async (all) => {
        const database = newDatabase(true);
        const history = await Promise.all(all.map(({ statements, pauses }) => client(database, statements, pauses)));
        shared += history.length - new Set(history.map(({ at }) => at)).size;
        // Promise order is not commit order. Transactions with the same timestamp are independent, so any order is correct.
        history.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
        const serial = newDatabase();
        let serialAt = 0n;
        for (const { steps } of history) {
          const transaction = serial.begin();
          for (const { sql } of steps) await execute(serial, transaction, sql);
          serialAt = await transaction.commit(() => {});
        }
        expect(dump(database, history.at(-1)!.at, 'by_a')).toEqual(dump(serial, serialAt, '_BASE_TABLE'));
      }),
      { numRuns: 300 },
    );
    expect(shared).toBeGreaterThan(0);
  });
});
