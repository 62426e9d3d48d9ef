import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import * as client8 from '@google-cloud/spanner';
import * as client9 from 'spanner9';
import { startSpannerEmulator, type SpannerEmulator } from '../src/index.js';
import { TABLES } from './target.js';

// Version 9 has the same surface. Its types differ by the version of its own dependencies.
const CLIENTS = [
  ['8', client8],
  ['9', client9 as unknown as typeof client8],
] as const;

describe.each(CLIENTS)('the Node client, version %s', (_version, { Spanner }) => {
  let emulator: SpannerEmulator;
  let spanner: client8.Spanner;
  let database: client8.Database;

  beforeAll(async () => {
    emulator = await startSpannerEmulator({ port: 0, ddl: TABLES });
    process.env['SPANNER_EMULATOR_HOST'] = emulator.address;
    spanner = new Spanner({ projectId: 'p' });
    delete process.env['SPANNER_EMULATOR_HOST'];
    database = spanner.instance('i').database('d');
  });

  afterAll(async () => {
    await database.close();
    await spanner.close();
    emulator.close();
  });

  it('runs queries on a multiplexed session', async () => {
    const [rows] = await database.run('SELECT 1 AS one');
    expect(rows.map((row) => row.toJSON())).toEqual([{ one: 1 }]);
    const [sessions] = await database.getSessions();
    expect(sessions.map(({ metadata }) => metadata?.multiplexed)).toContain(true);
  });

  it('writes mutations and reads their commit timestamp', async () => {
    const row = { key: 'k', id: '1', value: 'v', timestamp: Spanner.COMMIT_TIMESTAMP };
    await database.table('logtable').insert(row);
    const [rows] = await database.table('logtable').read({ keys: [['k', '1']], columns: ['value', 'timestamp'] });
    const read = rows.map((one) => one.toJSON());
    expect(read).toEqual([{ value: 'v', timestamp: expect.anything() }]);
    expect(Math.abs(Date.now() - Number(read[0]!['timestamp']))).toBeLessThan(60_000);
  });

  it('runs a read-write transaction and returns its commit timestamp', async () => {
    const timestamp = await database.runTransactionAsync(async (transaction) => {
      const [count] = await transaction.runUpdate({
        sql: `INSERT locktable (name, heartbeat, token, writer)
              VALUES (@name, PENDING_COMMIT_TIMESTAMP(), PENDING_COMMIT_TIMESTAMP(), @writer)`,
        params: { name: 'a', writer: 'me' },
      });
      expect(count).toBe(1);
      const [rows] = await transaction.run("SELECT writer FROM locktable WHERE name = 'a'");
      expect(rows.map((row) => row.toJSON())).toEqual([{ writer: 'me' }]);
      const [response] = await transaction.commit();
      return response.commitTimestamp!;
    });
    const [rows] = await database.run('SELECT UNIX_MICROS(token) AS micros FROM locktable');
    const micros = Number(timestamp.seconds) * 1e6 + timestamp.nanos! / 1000;
    expect(rows.map((row) => row.toJSON())).toEqual([{ micros }]);
  });

  it('runs batches of DML and of mutations', async () => {
    const counts = await database.runTransactionAsync(async (transaction) => {
      const [updated] = await transaction.batchUpdate([
        "INSERT logtable (key, id, value) VALUES ('b', '1', 'x')",
        "INSERT logtable (key, id, value) VALUES ('b', '2', 'x')",
        "DELETE logtable WHERE key = 'b' AND id = '1'",
      ]);
      await transaction.commit();
      return updated;
    });
    expect(counts).toEqual([1, 1, 1]);
    const [partitioned] = await database.runPartitionedUpdate("UPDATE logtable SET value = 'y' WHERE key = 'b'");
    expect(partitioned).toBe(1);
  });

  it('writes mutation groups at least once', async () => {
    const groups = ['1', '2'].map((id) => {
      const group = new client8.MutationGroup();
      group.upsert('logtable', { key: 'g', id, value: id });
      return group;
    });
    const statuses: unknown[] = [];
    for await (const response of database.batchWriteAtLeastOnce(groups)) {
      statuses.push((response as unknown as { status: { code: number } }).status.code);
    }
    expect(statuses).toEqual([0, 0]);
  });
});
