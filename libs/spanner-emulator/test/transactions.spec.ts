import type { Transaction, v1 } from '@google-cloud/spanner';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { openSession, openTarget, query, type Target } from './target.js';

const increment = async (transaction: Transaction): Promise<void> => {
  const [row] = await query(transaction, 'SELECT n FROM types WHERE k = 1');
  const n = Number(row!['n']) + 1;
  await transaction.runUpdate({ sql: 'UPDATE types SET n = @n WHERE k = 1', params: { n } });
  await transaction.commit();
};

describe('read-write transactions', () => {
  let target: Target;
  let client: v1.SpannerClient;

  beforeAll(async () => {
    target = await openTarget();
    ({ client } = await openSession(target));
  });
  afterAll(async () => {
    await client.close();
    await target.close();
  });

  beforeEach(async () => {
    await target.database.table('types').deleteRows([[1], [2], [3]]);
    await target.database.table('types').insert([1, 2].map((k) => ({ k, n: 0, s: 'old' })));
  });

  /** A transaction on its own session, by plain calls. */
  const begin = async (readWrite: { readLockMode?: 'OPTIMISTIC' } = {}) => {
    const [{ name: session }] = await client.createSession({ database: target.database.formattedName_ });
    const [{ id }] = await client.beginTransaction({ session, options: { readWrite } });
    let seqno = 0;
    const sql = async (text: string) => {
      const [result] = await client.executeSql({ session, transaction: { id: id! }, sql: text, seqno: ++seqno });
      return result;
    };
    return {
      session: session!,
      id: id!,
      update: async (text: string) => Number((await sql(text)).stats!.rowCountExact),
      read: async (text: string) => (await sql(text)).rows!.map((row) => row.values!.map((one) => one.stringValue)),
      commit: async () => (await client.commit({ session, transactionId: id }))[0].commitTimestamp!,
      rollback: () => client.rollback({ session, transactionId: id }),
    };
  };

  const rows = () => query(target.database, 'SELECT k, n, s FROM types ORDER BY k');

  it('see their own DML, which others do not see before the commit', async () => {
    const transaction = await begin();
    expect(await transaction.update('UPDATE types SET n = 5 WHERE k = 1')).toBe(1);
    expect(await transaction.update('INSERT types (k, n) VALUES (3, 3)')).toBe(1);
    expect(await transaction.update('DELETE types WHERE k = 2')).toBe(1);
    expect(await transaction.read('SELECT k, n FROM types ORDER BY k')).toEqual([
      ['1', '5'],
      ['3', '3'],
    ]);
    expect(await rows()).toMatchObject([{ n: 0 }, { n: 0 }]);
    await transaction.commit();
    expect(await rows()).toMatchObject([{ n: 5 }, { n: 3 }]);
  });

  it('leave nothing after a rollback', async () => {
    const transaction = await begin();
    await transaction.update('UPDATE types SET n = 5 WHERE TRUE');
    await transaction.rollback();
    await transaction.rollback();
    expect(await rows()).toMatchObject([{ n: 0 }, { n: 0 }]);
    await expect(transaction.commit()).rejects.toMatchObject({ code: 9 });
    await expect(transaction.read('SELECT k FROM types')).rejects.toMatchObject({ code: 9 });
  });

  it('answer a repeated commit as before, and refuse a rollback after it', async () => {
    const transaction = await begin();
    await transaction.update('UPDATE types SET n = n + 1 WHERE k = 1');
    const first = await transaction.commit();
    expect(await transaction.commit()).toEqual(first);
    await expect(transaction.rollback()).rejects.toMatchObject({ code: 9 });
    expect(await rows()).toMatchObject([{ n: 1 }, { n: 0 }]);
  });

  it('run a DML request once per sequence number', async () => {
    const transaction = await begin();
    const { session, id } = transaction;
    const request = { session, transaction: { id }, sql: 'UPDATE types SET n = n + 1 WHERE k = 1', seqno: 1 };
    const [first] = await client.executeSql(request);
    const [again] = await client.executeSql(request);
    expect(again.stats).toEqual(first.stats);
    await expect(client.executeSql({ ...request, sql: 'DELETE types WHERE TRUE' })).rejects.toMatchObject({ code: 3 });
    await transaction.commit();
    expect(await rows()).toMatchObject([{ n: 1 }, { n: 0 }]);
  });

  it('run DML once when the client repeats it while the first request waits for a lock', async () => {
    const [older, younger] = [await begin(), await begin()];
    await older.update('UPDATE types SET n = 10 WHERE k = 1');
    const { session, id } = younger;
    const request = { session, transaction: { id }, sql: 'UPDATE types SET n = n + 1 WHERE k = 1', seqno: 1 };
    const batch = { session, transaction: { id }, statements: [{ sql: request.sql }], seqno: 2 };
    const dml = [client.executeSql(request), client.executeSql(request)];
    const batches = [client.executeBatchDml(batch), client.executeBatchDml(batch)];
    // Both requests have arrived when the server has answered a request that was sent after them.
    await client.getSession({ name: session });
    await older.commit();
    for (const [{ stats }] of await Promise.all(dml)) expect(Number(stats!.rowCountExact)).toBe(1);
    for (const [{ resultSets }] of await Promise.all(batches)) expect(resultSets).toHaveLength(1);
    await younger.commit();
    expect(await rows()).toMatchObject([{ n: 12 }, { n: 0 }]);
  });

  it('run DML once when the client repeats it with parameters in another order', async () => {
    const { session, id, commit } = await begin();
    const request = (names: readonly string[]) => ({
      session,
      transaction: { id },
      sql: 'UPDATE types SET n = n + @a, s = @b WHERE k = @c',
      params: { fields: Object.fromEntries(names.map((name) => [name, { stringValue: '1' }])) },
      seqno: 1,
    });
    for (const names of ['a b c', 'c b a', 'b c a']) {
      const [{ stats }] = await client.executeSql(request(names.split(' ')));
      expect(Number(stats!.rowCountExact)).toBe(1);
    }
    await commit();
    expect(await rows()).toMatchObject([{ n: 1 }, { n: 0 }]);
  });

  it('answer repeated DML after a failure with the same failure', async () => {
    const { session, id, rollback } = await begin();
    const request = { session, transaction: { id }, sql: 'UPDATE types SET n = MOD(1, n) WHERE k = 1', seqno: 1 };
    await expect(client.executeSql(request)).rejects.toMatchObject({ code: 11 });
    await client.executeSql({ ...request, sql: 'UPDATE types SET n = 1 WHERE k = 1', seqno: 2 });
    await expect(client.executeSql(request)).rejects.toMatchObject({ code: 11 });
    await rollback();
  });

  it('distinguish a batch of one statement from the statement alone', async () => {
    const { session, id, update, rollback } = await begin();
    await update('UPDATE types SET n = 1 WHERE k = 1');
    const statements = [{ sql: 'UPDATE types SET n = 1 WHERE k = 1' }];
    const batch = client.executeBatchDml({ session, transaction: { id }, statements, seqno: 1 });
    await expect(batch).rejects.toMatchObject({ code: 3 });
    await rollback();
  });

  it.each([
    ['a row that exists', 'INSERT types (k, n) VALUES (1, 1)', 6],
    ['a NULL in a NOT NULL column', 'INSERT types (k, n) VALUES (3, NULL)', 9],
    ['a string that is too long', "UPDATE types SET s = '12345678901' WHERE k = 1", 9],
  ])(
    'after DML that breaks a constraint, %s, repeat its error in every call except a rollback',
    async (_name, sql, code) => {
      const transaction = await begin();
      const { session, id } = transaction;
      await transaction.update('UPDATE types SET n = 5 WHERE k = 2');
      await expect(transaction.update(sql)).rejects.toMatchObject({ code });
      await expect(transaction.update('UPDATE types SET n = 6 WHERE k = 2')).rejects.toMatchObject({ code });
      await expect(transaction.read('SELECT n FROM types')).rejects.toMatchObject({ code });
      const read = { session, transaction: { id }, table: 'types', columns: ['k'], keySet: { all: true } };
      await expect(client.read(read)).rejects.toMatchObject({ code });
      const statements = [{ sql: 'UPDATE types SET n = 6 WHERE k = 2' }];
      const batch = client.executeBatchDml({ session, transaction: { id }, statements, seqno: 9 });
      await expect(batch).rejects.toMatchObject({ code });
      await expect(transaction.commit()).rejects.toMatchObject({ code });
      await expect(transaction.commit()).rejects.toMatchObject({ code });
      await transaction.rollback();
      await expect(transaction.commit()).rejects.toMatchObject({
        code: 9,
        message: expect.stringMatching(/rolled ?back/),
      });
      expect(await rows()).toMatchObject([{ n: 0 }, { n: 0 }]);
    },
  );

  it('after a batch that breaks a constraint, repeat its error', async () => {
    const { session, id, commit } = await begin();
    const statements = ['UPDATE types SET n = 5 WHERE k = 2', 'INSERT types (k, n) VALUES (1, 1)'].map((sql) => ({
      sql,
    }));
    const [{ resultSets, status }] = await client.executeBatchDml({
      session,
      transaction: { id },
      statements,
      seqno: 1,
    });
    expect([resultSets!.length, status!.code]).toEqual([1, 6]);
    const [repeated] = await client.executeBatchDml({ session, transaction: { id }, statements, seqno: 1 });
    expect(repeated.status!.code).toBe(6);
    const later = { session, transaction: { id }, sql: 'UPDATE types SET n = 6 WHERE k = 2', seqno: 2 };
    await expect(client.executeSql(later)).rejects.toMatchObject({ code: 6 });
    await expect(commit()).rejects.toMatchObject({ code: 6 });
    expect(await rows()).toMatchObject([{ n: 0 }, { n: 0 }]);
  });

  it.each([
    [
      'a row that exists',
      {
        insert: {
          table: 'types',
          columns: ['k', 'n'],
          values: [{ values: [{ stringValue: '1' }, { stringValue: '1' }] }],
        },
      },
      6,
    ],
    [
      'an unknown table',
      { insert: { table: 'nothing', columns: ['k'], values: [{ values: [{ stringValue: '1' }] }] } },
      5,
    ],
    ['no operation', {}, 3],
  ])('a second commit after one that failed on %s repeats its error', async (_name, mutation, code) => {
    const { session, id, commit, read } = await begin();
    await expect(client.commit({ session, transactionId: id, mutations: [mutation] })).rejects.toMatchObject({ code });
    await expect(commit()).rejects.toMatchObject({ code });
    await expect(read('SELECT n FROM types')).rejects.toMatchObject({ code });
  });

  it('begin with their first statement, and end when it fails', async () => {
    const [{ name: session }] = await client.createSession({ database: target.database.formattedName_ });
    const sql = 'UPDATE types SET n = 7 WHERE k = 1';
    const [result] = await client.executeSql({ session, transaction: { begin: { readWrite: {} } }, sql, seqno: 1 });
    await client.commit({ session, transactionId: result.metadata!.transaction!.id });
    expect(await rows()).toMatchObject([{ n: 7 }, { n: 0 }]);
    const failing = { session, transaction: { begin: { readWrite: {} } }, sql: 'UPDATE nothing SET n = 7 WHERE k = 1' };
    await expect(client.executeSql({ ...failing, seqno: 1 })).rejects.toMatchObject({ code: 3 });
    const other = await begin();
    expect(await other.update('UPDATE types SET n = 8 WHERE k = 1')).toBe(1);
    await other.rollback();
  });

  it('serializable: both increments count when two transactions read and then write one row', async () => {
    await Promise.all(Array.from({ length: 16 }, () => target.database.runTransactionAsync(increment)));
    expect(await rows()).toMatchObject([{ n: 16 }, { n: 0 }]);
  });

  it('serializable: few attempts are aborted when many transactions increment one row', async () => {
    const [clients, times] = [10, 5];
    let attempts = 0;
    const work = async (): Promise<void> => {
      for (let i = 0; i < times; i++) {
        await target.database.runTransactionAsync(async (transaction) => {
          attempts++;
          await increment(transaction);
        });
      }
    };
    await Promise.all(Array.from({ length: clients }, work));
    expect(await rows()).toMatchObject([{ n: clients * times }, { n: 0 }]);
    // If each commit aborted all others, each client would need as many attempts as there are clients.
    expect(attempts).toBeLessThan((clients * times * clients) / 2);
  }, 60_000);

  it('optimistic: a transaction is ABORTED when others change rows that it has read', async () => {
    const reader = await begin({ readLockMode: 'OPTIMISTIC' });
    await reader.read('SELECT n FROM types WHERE k = 1');
    await reader.update('UPDATE types SET n = 1 WHERE k = 2');
    const writer = await begin();
    await writer.update('UPDATE types SET n = 5 WHERE k = 1');
    await writer.commit();
    await expect(reader.commit()).rejects.toMatchObject({ code: 10 });
  });

  it('optimistic: a transaction commits when no row that it has read has changed', async () => {
    const transaction = await begin({ readLockMode: 'OPTIMISTIC' });
    await transaction.read('SELECT n FROM types WHERE k = 1');
    await transaction.update('UPDATE types SET n = 5 WHERE k = 1');
    await transaction.commit();
    expect(await rows()).toMatchObject([{ n: 5 }, { n: 0 }]);
  });

  it('serializable: write skew is not possible', async () => {
    const [a, b] = [await begin(), await begin()];
    const sum = 'SELECT n FROM types WHERE k IN (1, 2)';
    await Promise.all([a.read(sum), b.read(sum)]);
    const outcomes = await Promise.allSettled([
      a.update('UPDATE types SET n = 1 WHERE k = 1').then(a.commit),
      b.update('UPDATE types SET n = 1 WHERE k = 2').then(b.commit),
    ]);
    const failed = outcomes.filter(({ status }) => status === 'rejected');
    expect(failed).toMatchObject([{ reason: { code: 10 } }]);
    expect((await rows()).reduce((total, { n }) => total + Number(n), 0)).toBe(1);
  });

  it('serializable: no row appears in a range that was read', async () => {
    const [a, b] = [await begin(), await begin()];
    expect(await a.read('SELECT k FROM types WHERE k > 1')).toEqual([['2']]);
    const inserted = b.update('INSERT types (k, n) VALUES (3, 0)').then(b.commit);
    expect(await a.read('SELECT k FROM types WHERE k > 1')).toEqual([['2']]);
    await a.commit();
    await Promise.allSettled([inserted]);
  });

  it('report ABORTED with RetryInfo in both places where clients look', async () => {
    const [older, younger] = [await begin(), await begin()];
    await younger.update('UPDATE types SET n = 1 WHERE k = 1');
    await older.update('UPDATE types SET n = 2 WHERE k = 1');
    const error = await younger
      .commit()
      .catch((reason: unknown) => reason as { metadata: { get(key: string): unknown[] } });
    expect(error).toMatchObject({ code: 10 });
    const { metadata } = error as { metadata: { get(key: string): unknown[] } };
    expect(metadata.get('google.rpc.retryinfo-bin')).toHaveLength(1);
    expect(metadata.get('grpc-status-details-bin')).toHaveLength(1);
    await older.commit();
    expect(await rows()).toMatchObject([{ n: 2 }, { n: 0 }]);
  });

  it('a younger transaction waits for an older one', async () => {
    const [older, younger] = [await begin(), await begin()];
    await older.update('UPDATE types SET n = n + 1 WHERE k = 1');
    const waiting = younger.update('UPDATE types SET n = n * 10 WHERE k = 1');
    await older.update('UPDATE types SET n = n + 1 WHERE k = 1');
    await older.commit();
    await waiting;
    await younger.commit();
    expect(await rows()).toMatchObject([{ n: 20 }, { n: 0 }]);
  });

  it('a commit that is repeated while it waits happens once', async () => {
    const [older, younger] = [await begin(), await begin()];
    await older.update('UPDATE types SET n = n + 1 WHERE k = 1');
    const values = [{ values: [{ stringValue: '1' }, { stringValue: '5' }] }];
    const request = {
      session: younger.session,
      transactionId: younger.id,
      mutations: [{ update: { table: 'types', columns: ['k', 'n'], values } }],
    };
    const commits = [client.commit(request), client.commit(request)];
    await older.commit();
    const [first, second] = await Promise.all(commits);
    expect(second![0].commitTimestamp).toEqual(first![0].commitTimestamp);
    expect(await rows()).toMatchObject([{ n: 5 }, { n: 0 }]);
  });

  it('do not conflict on different columns of a row', async () => {
    const [a, b] = [await begin(), await begin()];
    await a.update('UPDATE types SET n = 1 WHERE k = 1');
    await b.update("UPDATE types SET s = 'new' WHERE k = 1");
    await Promise.all([a.commit(), b.commit()]);
    expect(await rows()).toMatchObject([
      { n: 1, s: 'new' },
      { n: 0, s: 'old' },
    ]);
  });

  it('commit timestamps strictly increase', async () => {
    const stamps: bigint[] = [];
    for (let i = 0; i < 20; i++) {
      const transaction = await begin();
      await transaction.update(`UPDATE types SET n = ${i} WHERE k = 1`);
      const { seconds, nanos } = await transaction.commit();
      stamps.push(BigInt(seconds as string) * 1_000_000_000n + BigInt(nanos!));
    }
    expect(stamps.every((stamp, i) => i === 0 || stamp > stamps[i - 1]!)).toBe(true);
  });

  it('store the commit timestamp in place of PENDING_COMMIT_TIMESTAMP(), also in a key', async () => {
    const [operation] = await target.database.updateSchema(
      'CREATE TABLE stamps (t TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp=true), n INT64) PRIMARY KEY (t DESC)',
    );
    await operation.promise();
    const transaction = await begin();
    await transaction.update('INSERT stamps (t, n) VALUES (PENDING_COMMIT_TIMESTAMP(), 1)');
    await expect(transaction.read('SELECT n FROM stamps')).rejects.toMatchObject({ code: 3 });
    const { seconds, nanos } = await transaction.commit();
    const micros = Number(seconds) * 1_000_000 + nanos! / 1_000;
    expect(await query(target.database, 'SELECT UNIX_MICROS(t) AS micros, n FROM stamps')).toEqual([{ micros, n: 1 }]);
  });

  it('refuse the id of another session, and an unknown id', async () => {
    const [a, b] = [await begin(), await begin()];
    await expect(client.commit({ session: a.session, transactionId: b.id })).rejects.toMatchObject({
      code: expect.any(Number),
    });
    await expect(client.commit({ session: a.session, transactionId: Buffer.from('x') })).rejects.toMatchObject({
      code: expect.any(Number),
    });
  });
});
