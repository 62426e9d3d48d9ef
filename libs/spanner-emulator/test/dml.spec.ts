import type { Transaction } from '@google-cloud/spanner';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { openTarget, query, type Target } from './target.js';

describe('DML', () => {
  let target: Target;

  beforeAll(async () => {
    target = await openTarget();
    await target.database.updateSchema('CREATE INDEX by_value ON logtable (value)').then(([done]) => done.promise());
  });
  afterAll(() => target.close());

  beforeEach(async () => {
    await transact(async (transaction) => {
      await transaction.runUpdate('DELETE FROM logtable WHERE TRUE');
      await transaction.runUpdate('DELETE types WHERE TRUE');
    });
  });

  const transact = <T>(run: (transaction: Transaction) => Promise<T>): Promise<T> =>
    target.database.runTransactionAsync(async (transaction) => {
      try {
        const result = await run(transaction);
        await transaction.commit();
        return result;
      } catch (error) {
        await transaction.rollback().catch(() => {});
        throw error;
      }
    });

  const update = (sql: string, params = {}): Promise<number> =>
    transact(async (transaction) => (await transaction.runUpdate({ sql, params }))[0]);

  const log = (): Promise<Record<string, unknown>[]> =>
    query(target.database, 'SELECT key, id, value FROM logtable ORDER BY key, id');

  it('INSERT accepts INTO or not, several rows, and columns in any order', async () => {
    expect(await update("INSERT INTO logtable (id, key) VALUES ('1', 'a'), ('2', 'a')")).toBe(2);
    expect(await update('insert LOGTABLE (KEY, ID, value) values (@k, @i, @v)', { k: 'b', i: '1', v: 'x' })).toBe(1);
    expect(await log()).toEqual([
      { key: 'a', id: '1', value: null },
      { key: 'a', id: '2', value: null },
      { key: 'b', id: '1', value: 'x' },
    ]);
  });

  it('INSERT of a row that exists is ALREADY_EXISTS and changes nothing', async () => {
    await update("INSERT logtable (key, id, value) VALUES ('a', '1', 'old')");
    const again = update("INSERT logtable (key, id, value) VALUES ('a', '0', 'new'), ('a', '1', 'new')");
    await expect(again).rejects.toMatchObject({ code: 6, message: expect.stringMatching(/already exists/) });
    expect(await log()).toEqual([{ key: 'a', id: '1', value: 'old' }]);
  });

  it('a statement that fails has no effect, and the transaction stays usable', async () => {
    await update('INSERT types (k, n) VALUES (1, 1), (2, 0), (3, 1)');
    await transact(async (transaction) => {
      await transaction.runUpdate("INSERT logtable (key, id) VALUES ('a', '1')");
      const failing = transaction.runUpdate('UPDATE types SET n = MOD(10, n) WHERE TRUE');
      await expect(failing).rejects.toMatchObject({ code: 11 });
      await transaction.runUpdate("INSERT logtable (key, id) VALUES ('c', '1')");
    });
    expect((await log()).map(({ key }) => key)).toEqual(['a', 'c']);
    expect(await query(target.database, 'SELECT n FROM types ORDER BY k')).toEqual([{ n: 1 }, { n: 0 }, { n: 1 }]);
  });

  it('INSERT OR UPDATE keeps the columns that it does not name', async () => {
    await update("INSERT logtable (key, id, value, leader) VALUES ('a', '1', 'old', 'me')");
    await update("INSERT OR UPDATE INTO logtable (key, id, value) VALUES ('a', '1', 'new'), ('a', '2', 'new')");
    expect(await query(target.database, 'SELECT id, value, leader FROM logtable ORDER BY id')).toEqual([
      { id: '1', value: 'new', leader: 'me' },
      { id: '2', value: 'new', leader: null },
    ]);
  });

  it('INSERT OR IGNORE counts the rows that it inserted', async () => {
    await update("INSERT logtable (key, id, value) VALUES ('a', '1', 'old')");
    expect(await update("INSERT OR IGNORE logtable (key, id, value) VALUES ('a', '1', 'new'), ('a', '2', 'new')")).toBe(
      1,
    );
    expect((await log()).map(({ value }) => value)).toEqual(['old', 'new']);
  });

  it('INSERT … SELECT copies rows, with parameters for columns', async () => {
    await update("INSERT logtable (key, id, value) VALUES ('a', '1', 'x'), ('a', '2', 'y')");
    const sql = `INSERT INTO logtable (key, id, value, timestamp)
                 SELECT 'copy', id, @p, @t FROM logtable WHERE value = 'x'`;
    expect(await update(sql, { p: 'z', t: '2020-01-01T00:00:00Z' })).toBe(1);
    expect(await query(target.database, 'SELECT key, id, value FROM logtable WHERE timestamp IS NOT NULL')).toEqual([
      { key: 'copy', id: '1', value: 'z' },
    ]);
  });

  it('INSERT OR UPDATE needs every NOT NULL column, also where the row exists', async () => {
    await update("INSERT types (k, n, s) VALUES (1, 1, 'old')");
    const without = update("INSERT OR UPDATE types (k, s) VALUES (1, 'new')");
    await expect(without).rejects.toMatchObject({ code: 9, message: expect.stringMatching(/NOT NULL column: n/) });
    expect(await query(target.database, 'SELECT n, s FROM types')).toEqual([{ n: 1, s: 'old' }]);
  });

  it('UPDATE selects rows by key or condition, and computes from the old values', async () => {
    await update("INSERT types (k, n, s) VALUES (1, 10, 'a'), (2, 20, 'a'), (3, 30, 'b')");
    expect(await update('UPDATE types SET n = n + 1, s = CONCAT(s, "!") WHERE k = 1')).toBe(1);
    expect(await update("UPDATE types AS t SET t.n = t.n * 2 WHERE t.s = 'a' OR t.s = 'b'")).toBe(2);
    expect(await update('UPDATE types SET n = 0 WHERE k = 99')).toBe(0);
    expect(await query(target.database, 'SELECT k, n, s FROM types ORDER BY k')).toEqual([
      { k: 1, n: 11, s: 'a!' },
      { k: 2, n: 40, s: 'a' },
      { k: 3, n: 60, s: 'b' },
    ]);
  });

  it('DELETE accepts FROM or not', async () => {
    await update("INSERT logtable (key, id) VALUES ('a', '1'), ('a', '2'), ('ab', '1'), ('b', '1')");
    expect(await update("DELETE FROM logtable WHERE key = 'a' AND id = '1'")).toBe(1);
    expect(await update("DELETE logtable WHERE STARTS_WITH(key, 'a')")).toBe(2);
    expect(await update("DELETE logtable WHERE key IN ('b','c')")).toBe(1);
    expect(await log()).toEqual([]);
  });

  it('indexes stay consistent, also inside the transaction', async () => {
    await transact(async (transaction) => {
      const found = async (value: string) => {
        const sql = 'SELECT id FROM logtable@{FORCE_INDEX=by_value} WHERE value = @value ORDER BY id';
        return (await query(transaction, sql, { value })).map(({ id }) => id);
      };
      await transaction.runUpdate("INSERT logtable (key, id, value) VALUES ('a', '1', 'x'), ('a', '2', 'x')");
      expect(await found('x')).toEqual(['1', '2']);
      await transaction.runUpdate("UPDATE logtable SET value = 'y' WHERE id = '2'");
      await transaction.runUpdate("DELETE logtable WHERE id = '1'");
      expect(await found('x')).toEqual([]);
      expect(await found('y')).toEqual(['2']);
    });
    const sql = "SELECT id FROM logtable@{FORCE_INDEX=by_value} WHERE value = 'y'";
    expect(await query(target.database, sql)).toEqual([{ id: '2' }]);
  });

  it('THEN RETURN returns the rows after the change, and deleted rows as they were', async () => {
    await transact(async (transaction) => {
      const insert = "INSERT logtable (key, id, value) VALUES ('a', '1', 'x') THEN RETURN key, CONCAT(value, '!') AS v";
      expect(await query(transaction, insert)).toEqual([{ key: 'a', v: 'x!' }]);
      const change = "UPDATE logtable SET value = 'y' WHERE key = 'a' THEN RETURN *";
      expect(await query(transaction, change)).toMatchObject([{ key: 'a', id: '1', value: 'y' }]);
      const upsert =
        "INSERT OR UPDATE logtable (key, id) VALUES ('a', '1'), ('a', '2') THEN RETURN WITH ACTION AS did id";
      expect(await query(transaction, upsert)).toEqual([
        { id: '1', did: 'UPDATE' },
        { id: '2', did: 'INSERT' },
      ]);
      const remove = "DELETE logtable WHERE id = '1' THEN RETURN value";
      expect(await query(transaction, remove)).toEqual([{ value: 'y' }]);
    });
  });

  it.each([
    ['a NULL key of NOT NULL', 'INSERT types (k, n) VALUES (NULL, 1)', 9, /NULL/],
    ['a NULL in a NOT NULL column', 'INSERT types (k, n) VALUES (1, NULL)', 9, /NULL/],
    ['a missing NOT NULL column', 'INSERT types (k) VALUES (1)', 9, /n/],
    ['a string that is too long', "INSERT types (k, n, s) VALUES (1, 1, '12345678901')", 9, /maximum size limit/],
    ['bytes that are too long', "INSERT types (k, n, b) VALUES (1, 1, b'12345678901')", 9, /maximum size limit/],
    ['a value of another type', "INSERT types (k, n) VALUES (1, 'x')", 3, /INT64/],
    ['a wrong number of values', 'INSERT types (k, n) VALUES (1)', 3, /column count/],
    ['an unknown column', 'INSERT types (k, x) VALUES (1, 1)', 3, /x/],
    ['an unknown table', 'INSERT nothing (k) VALUES (1)', 3, /Table not found: nothing/],
    ['an assignment to a key', 'UPDATE types SET k = 2 WHERE k = 1', 3, /primary key/],
    ['UPDATE without WHERE', 'UPDATE types SET n = 2', 3, /WHERE/],
    ['DELETE without WHERE', 'DELETE FROM types', 3, /WHERE/],
    ['the same row twice in INSERT OR UPDATE', 'INSERT OR UPDATE types (k, n) VALUES (1, 1), (1, 2)', 3, /second time/],
    [
      'a commit timestamp in another column',
      'INSERT types (k, n, t) VALUES (1, 1, PENDING_COMMIT_TIMESTAMP())',
      9,
      /allow_commit_timestamp/,
    ],
    [
      'PENDING_COMMIT_TIMESTAMP in an expression',
      'UPDATE logtable SET timestamp = COALESCE(timestamp, PENDING_COMMIT_TIMESTAMP()) WHERE TRUE',
      3,
      /PENDING_COMMIT_TIMESTAMP/,
    ],
    [
      'PENDING_COMMIT_TIMESTAMP in INSERT … SELECT',
      "INSERT logtable (key, id, timestamp) SELECT 'a', 'b', PENDING_COMMIT_TIMESTAMP()",
      3,
      /PENDING_COMMIT_TIMESTAMP/,
    ],
    [
      'a commit timestamp of the future',
      "INSERT logtable (key, id, timestamp) VALUES ('a', '1', TIMESTAMP '2999-01-01T00:00:00Z')",
      9,
      /future/,
    ],
  ])('%s is an error', async (_name, sql, code, message) => {
    await expect(update(sql)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('reading a column with a pending commit timestamp is refused, and reading others is not', async () => {
    await transact(async (transaction) => {
      await transaction.runUpdate("INSERT logtable (key, id, timestamp) VALUES ('a', '1', PENDING_COMMIT_TIMESTAMP())");
      expect(await query(transaction, "SELECT COUNT(id) AS n FROM logtable WHERE key = 'a'")).toEqual([{ n: 1 }]);
      await expect(query(transaction, 'SELECT timestamp FROM logtable')).rejects.toMatchObject({
        code: 3,
        message: expect.stringContaining('pending CommitTimestamp'),
      });
      await transaction.runUpdate("UPDATE logtable SET value = 'x' WHERE key = 'a'");
    });
  });

  it('DML outside of read-write transactions is refused', async () => {
    await expect(target.database.run('DELETE types WHERE TRUE')).rejects.toMatchObject({ code: 3 });
  });
});
