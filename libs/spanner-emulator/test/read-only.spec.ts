import { PreciseDate } from '@google-cloud/precise-date';
import type { TimestampBounds } from '@google-cloud/spanner/build/src/transaction.js';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openSession, openTarget, query, type Target } from './target.js';

describe('read-only transactions', () => {
  let target: Target;
  let first: PreciseDate;

  const write = async (n: number): Promise<PreciseDate> => {
    const [{ commitTimestamp }] = await target.database.table('types').upsert({ k: 1, n });
    return new PreciseDate({ seconds: commitTimestamp!.seconds as number, nanos: commitTimestamp!.nanos! });
  };

  beforeAll(async () => {
    target = await openTarget();
    first = await write(1);
    await write(2);
  });
  afterAll(() => target.close());

  const readAt = async (bounds: TimestampBounds): Promise<number[]> => {
    const [rows] = await target.database.run({ sql: 'SELECT n FROM types' }, bounds);
    return rows.map((row) => (row.toJSON() as { n: number }).n);
  };

  it('with a strong read see every commit before them', async () => {
    expect(await readAt({ strong: true })).toEqual([2]);
  });

  it('at an exact timestamp see the database as it was at that time', async () => {
    expect(await readAt({ readTimestamp: first })).toEqual([1]);
  });

  it('with exact staleness see the database as it was at that age', async () => {
    await expect(readAt({ exactStaleness: { seconds: 3_000_000 } })).rejects.toMatchObject({ code: 9 });
    expect(await readAt({ exactStaleness: { seconds: 0 } })).toEqual([2]);
  });

  it.each([
    ['readTimestamp', -62_135_596_800],
    ['minReadTimestamp', -62_135_596_800],
    ['readTimestamp', -1],
    ['readTimestamp', 253_402_300_800],
  ])('with a %s %i seconds after 1970 are refused', async (bound, seconds) => {
    const { client, session } = await openSession(target);
    const transaction = { singleUse: { readOnly: { [bound]: { seconds } } } };
    const read = client.executeSql({ session, transaction, sql: 'SELECT n FROM types' });
    await expect(read).rejects.toMatchObject({ code: 3, message: expect.stringMatching(/read timestamp|Invalid/) });
    await client.close();
  });

  it('with bounded staleness see nothing older than the bound', async () => {
    expect(await readAt({ minReadTimestamp: first })).toHaveLength(1);
    expect(await readAt({ maxStaleness: { seconds: 0, nanos: 1 } })).toEqual([2]);
  });

  it('wait for a timestamp in the future', async () => {
    const soon = new PreciseDate(Date.now() + 300);
    expect(await readAt({ readTimestamp: soon })).toEqual([2]);
    expect(Date.now()).toBeGreaterThanOrEqual(soon.getTime() - 1);
  });

  it('with several reads return one timestamp for all', async () => {
    const [snapshot] = await target.database.getSnapshot({ strong: true, returnReadTimestamp: true });
    try {
      const before = await query(snapshot, 'SELECT n FROM types');
      await write(3);
      expect(await query(snapshot, 'SELECT n FROM types')).toEqual(before);
      expect(snapshot.readTimestamp!.getTime()).toBeGreaterThanOrEqual(first.getTime());
    } finally {
      snapshot.end();
    }
    expect(await readAt({ strong: true })).toEqual([3]);
  });

  it('see deletions and re-insertions at their times, also by an index that was created later', async () => {
    await target.database.table('logtable').insert({ key: 'a', id: '1', value: 'x' });
    const [{ commitTimestamp }] = await target.database.table('logtable').deleteRows([['a', '1']]);
    await target.database.table('logtable').insert({ key: 'a', id: '1', value: 'y' });
    await target.database.updateSchema('CREATE INDEX later ON logtable (value)').then(([done]) => done.promise());
    const readTimestamp = new PreciseDate({
      seconds: commitTimestamp!.seconds as number,
      nanos: commitTimestamp!.nanos!,
    });
    const [gone] = await target.database.run({ sql: 'SELECT value FROM logtable' }, { readTimestamp });
    expect(gone).toEqual([]);
    const sql = "SELECT key FROM logtable@{FORCE_INDEX=later} WHERE value = 'y'";
    expect(await query(target.database, sql)).toEqual([{ key: 'a' }]);
  });

  it('cannot write, commit or roll back', async () => {
    const { client, session } = await openSession(target);
    const [{ id }] = await client.beginTransaction({ session, options: { readOnly: { strong: true } } });
    const dml = { session, transaction: { id: id! }, sql: 'DELETE types WHERE TRUE', seqno: 1 };
    await expect(client.executeSql(dml)).rejects.toMatchObject({ code: expect.any(Number) });
    await expect(client.commit({ session, transactionId: id })).rejects.toMatchObject({ code: 9 });
    await expect(client.rollback({ session, transactionId: id })).rejects.toMatchObject({ code: 9 });
    await client.close();
  });

  it('accept bounded staleness for single reads only', async () => {
    const { client, session } = await openSession(target);
    const options = { readOnly: { maxStaleness: { seconds: 1 } } };
    await expect(client.beginTransaction({ session, options })).rejects.toMatchObject({ code: 3 });
    await client.close();
  });
});
