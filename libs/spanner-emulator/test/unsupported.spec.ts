import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Spanner } from '@google-cloud/spanner';
import { openEmulator, openSession, type Target } from './target.js';

/** Features of Spanner that the emulator must refuse by name, and never run in part. */
describe('the emulator answers UNIMPLEMENTED to', () => {
  let target: Target;

  beforeAll(async () => {
    target = await openEmulator();
  });
  afterAll(() => target.close());

  it.each([
    ['SELECT DISTINCT key AS k FROM logtable ORDER BY value', 'ORDER BY of what SELECT DISTINCT does not name'],
    ['SELECT COUNT(*) FROM logtable GROUP BY UPPER(key)', 'GROUP BY of an expression'],
    ['SELECT key FROM logtable GROUP BY key HAVING COUNT(*) > 1', 'HAVING'],
    ['SELECT DISTINCT key FROM logtable GROUP BY key', 'SELECT DISTINCT beside GROUP BY'],
    ['SELECT key, COUNT(*) AS n FROM logtable GROUP BY key ORDER BY n', 'ORDER BY beside an aggregate'],
    ['SELECT a.key FROM logtable a JOIN locktable b ON a.key = b.name', 'JOIN'],
    ['SELECT 1 FROM logtable, locktable', 'JOIN'],
    ['SELECT 1 FROM logtable HASH JOIN locktable ON TRUE', 'JOIN'],
    ['SELECT @{JOIN_METHOD=HASH_JOIN} 1', 'hints after SELECT'],
    ['SELECT logtable.* FROM logtable', 'logtable.*'],
    [
      'SELECT key FROM logtable FOR UPDATE',
      'FOR UPDATE and LOCK_SCANNED_RANGES=exclusive outside of read-write transactions',
    ],
    [
      '@{LOCK_SCANNED_RANGES=exclusive} SELECT key FROM logtable',
      'FOR UPDATE and LOCK_SCANNED_RANGES=exclusive outside of read-write transactions',
    ],
    ['FROM logtable', 'pipe syntax'],
    ['SELECT 1 FROM (SELECT 1)', 'a subquery'],
    ['SELECT (SELECT 1)', 'a subquery'],
    ['SELECT 1 IN (SELECT 1)', 'a subquery'],
    ['WITH x AS (SELECT 1) SELECT * FROM x', 'WITH statements'],
    ['SELECT 1 UNION DISTINCT SELECT 2', 'UNION'],
    ['SELECT 1 UNION ALL SELECT 2 ORDER BY 1', 'ORDER beside UNION'],
    ['SELECT 1 UNION ALL SELECT 2 LIMIT 1', 'LIMIT beside UNION'],
    ['SELECT 1 UNION ALL (SELECT 2 UNION ALL SELECT 3)', 'UNION ALL in parentheses'],
    ['SELECT 1 UNION ALL ((SELECT 2))', 'parentheses in parentheses'],
    ['(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1', 'ORDER beside parentheses'],
    ['(SELECT 1) LIMIT 1', 'LIMIT beside parentheses'],
    ["SELECT 1 UNION ALL SELECT 'a'", 'UNION ALL of columns of other types'],
    ['SELECT CASE WHEN TRUE THEN 1 END', 'CASE'],
    ['SELECT EXISTS(SELECT 1)', 'EXISTS'],
    ['SELECT COUNT(DISTINCT key) FROM logtable', 'DISTINCT in an aggregate'],
    ['SELECT COUNT(*) FROM types ORDER BY 1', 'ORDER BY beside an aggregate'],
    ['SELECT SUM(n) FROM types', 'the function SUM'],
    ['SELECT REGEXP_CONTAINS(key, "a") FROM logtable', 'the function REGEXP_CONTAINS'],
    ['SELECT COUNT(key IGNORE NULLS) FROM logtable', 'IGNORE in an aggregate'],
    ["SELECT SAFE_CAST('1' AS INT64)", 'SAFE_CAST'],
    ["SELECT CAST(1 AS STRING FORMAT '9')", 'CAST … FORMAT'],
    ['SELECT INTERVAL 1 DAY', 'INTERVAL values'],
    ['SELECT CURRENT_DATE', 'the function CURRENT_DATE'],
    ["SELECT TIMESTAMP '2024-01-01 00:00:00'", 'TIMESTAMP text without Z or an offset from UTC: "2024-01-01 00:00:00"'],
    [
      "SELECT CAST('2024-01-01 00:00:00 America/New_York' AS TIMESTAMP)",
      'TIMESTAMP text without Z or an offset from UTC: "2024-01-01 00:00:00 America/New_York"',
    ],
    ['SELECT value AS key FROM logtable ORDER BY LENGTH(key)', 'the alias key in an expression of ORDER BY'],
    ['SELECT SAFE.LENGTH("a")', 'the function SAFE.LENGTH'],
    ['SELECT COUNT(*) OVER () FROM logtable', 'window functions'],
    ['SELECT 1 | 2', 'the operator |'],
    ['SELECT [1, 2][OFFSET(0)]', 'array subscripts'],
    ['SELECT [1, 2]', 'ARRAY columns in a result'],
    ["SELECT DATE '2024-01-01'", 'the type DATE'],
    ["SELECT CAST('1' AS NUMERIC)", 'the type NUMERIC'],
    ['SELECT CAST(1.5 AS STRING)', 'CAST(FLOAT64 AS STRING)'],
    ['SELECT CAST(CURRENT_TIMESTAMP() AS STRING)', 'CAST(TIMESTAMP AS STRING)'],
    ['SELECT * EXCEPT (key) FROM logtable', 'SELECT * EXCEPT'],
    ['SELECT key FROM logtable ORDER BY key NULLS LAST', 'NULLS FIRST and NULLS LAST'],
    ['SELECT key FROM logtable@{GROUPBY_SCAN_OPTIMIZATION=TRUE}', 'the table hint GROUPBY_SCAN_OPTIMIZATION'],
    ['SELECT * FROM INFORMATION_SCHEMA.SEQUENCES', 'INFORMATION_SCHEMA.SEQUENCES'],
    ['SELECT * FROM SPANNER_SYS.LOCK_STATS_TOP_MINUTE', 'SPANNER_SYS'],
  ])('%s', async (sql, construct) => {
    await expect(target.database.run(sql)).rejects.toMatchObject({
      code: 12,
      message: expect.stringContaining(`The emulator does not support ${construct}.`),
    });
  });

  it.each([
    ['INSERT logtable (key) VALUES (DEFAULT)', 'DEFAULT values'],
    ["INSERT logtable (key, id) VALUES ('a', 'b') ON CONFLICT DO NOTHING", 'INSERT … ON CONFLICT'],
    ["INSERT logtable@{PDML_MAX_PARALLELISM=1} (key, id) VALUES ('a', 'b')", 'hints in INSERT'],
    ["INSERT logtable (key, id) (SELECT 'a', 'b')", 'parenthesized queries'],
    ['DELETE logtable WHERE EXISTS(SELECT 1)', 'EXISTS'],
  ])('%s', async (sql, construct) => {
    const run = target.database.runTransactionAsync(async (transaction) => {
      try {
        await transaction.runUpdate(sql);
      } finally {
        await transaction.rollback().catch(() => {});
      }
    });
    await expect(run).rejects.toMatchObject({ code: 12, message: expect.stringContaining(construct) });
  });

  it.each([
    ['CREATE TABLE x (a NUMERIC) PRIMARY KEY (a)', 'the type NUMERIC'],
    ['CREATE TABLE x (a ARRAY<STRING(MAX)>, b INT64) PRIMARY KEY (b)', 'the type ARRAY'],
    ['CREATE TABLE x (a INT64 DEFAULT (1)) PRIMARY KEY (a)', 'DEFAULT on a column'],
    ['CREATE TABLE x (a INT64, b INT64 AS (a) STORED) PRIMARY KEY (a)', 'AS on a column'],
    ['CREATE TABLE x (a INT64, CONSTRAINT c CHECK (a > 1)) PRIMARY KEY (a)', 'CONSTRAINT in CREATE TABLE'],
    ['CREATE TABLE x (a INT64) PRIMARY KEY (a), INTERLEAVE IN PARENT types', 'INTERLEAVE'],
    [
      'CREATE TABLE x (a INT64, t TIMESTAMP) PRIMARY KEY (a), ROW DELETION POLICY (OLDER_THAN(t, INTERVAL 1 DAY))',
      'ROW DELETION POLICY',
    ],
    ['CREATE UNIQUE INDEX x ON types (s)', 'CREATE UNIQUE INDEX'],
    ['CREATE NULL_FILTERED INDEX x ON types (s)', 'CREATE NULL_FILTERED INDEX'],
    ['CREATE VIEW x SQL SECURITY INVOKER AS SELECT 1', 'CREATE VIEW'],
    ['ALTER TABLE types ADD COLUMN x INT64', 'ALTER statements'],
    ['DROP VIEW x', 'DROP VIEW'],
  ])('%s', async (sql, construct) => {
    await expect(target.database.updateSchema(sql)).rejects.toMatchObject({
      code: 12,
      message: expect.stringContaining(`The emulator does not support ${construct}`),
    });
  });

  it('the text of a commit timestamp as a parameter', async () => {
    const query = { sql: 'SELECT @t', params: { t: Spanner.COMMIT_TIMESTAMP }, types: { t: 'timestamp' } };
    await expect(target.database.run(query)).rejects.toMatchObject({ code: 12 });
  });

  it('lock hints of reads outside of read-write transactions', async () => {
    const { client, session } = await openSession(target);
    const read = { session, table: 'types', columns: ['k'], keySet: { all: true }, lockHint: 'LOCK_HINT_EXCLUSIVE' };
    await expect(client.read(read as never)).rejects.toMatchObject({ code: 12 });
    await client.close();
  });

  it.each(['labels.env=dev', 'env:dev', 'labels.a:1 OR labels.b:2', 'NOT labels.a:1'])(
    '%s as a filter of sessions',
    async (filter) => {
      const { client } = await openSession(target);
      const list = client.listSessions({ database: target.database.formattedName_, filter });
      await expect(list).rejects.toMatchObject({ code: 12, message: expect.stringContaining(filter) });
      await client.close();
    },
  );

  it('filters of instances and operations', async () => {
    await expect(target.spanner.getInstances({ filter: 'name:x' } as never)).rejects.toMatchObject({ code: 12 });
    const operations = target.spanner.instance('i').getDatabaseOperations({ filter: 'done:true' });
    await expect(operations).rejects.toMatchObject({ code: 12 });
  });

  it('REPEATABLE_READ, which is weaker than its own isolation', async () => {
    const { client, session } = await openSession(target);
    const begin = client.beginTransaction({ session, options: { readWrite: {}, isolationLevel: 'REPEATABLE_READ' } });
    await expect(begin).rejects.toMatchObject({ code: 12, message: expect.stringContaining('REPEATABLE_READ') });
    await client.close();
  });
});
