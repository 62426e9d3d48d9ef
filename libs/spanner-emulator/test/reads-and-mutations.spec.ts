import type { Database } from '@google-cloud/spanner';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { openSession, openTarget, query, TABLES, type Target } from './target.js';

let target: Target;

beforeAll(async () => {
  const index = 'CREATE INDEX by_value ON logtable (value DESC) STORING (leader)';
  const stamps = 'CREATE TABLE stamps (t TIMESTAMP OPTIONS (allow_commit_timestamp=true)) PRIMARY KEY (t)';
  target = await openTarget([...TABLES, index, stamps]);
});
afterAll(() => target.close());

beforeEach(async () => {
  await target.database.runTransactionAsync(async (transaction) => {
    await transaction.batchUpdate(['DELETE logtable WHERE TRUE', 'DELETE types WHERE TRUE']);
    await transaction.commit();
  });
  await target.database.table('logtable').insert([
    { key: 'a', id: '1', value: 'x', leader: 'l1' },
    { key: 'a', id: '2', value: 'y', leader: 'l2' },
    { key: 'b', id: '1', value: 'z', leader: null },
  ]);
});

type ReadRequest = Parameters<ReturnType<Database['table']>['read']>[0];

const read = async (request: ReadRequest): Promise<string[]> => {
  const [rows] = await target.database.table('logtable').read(request);
  return rows.map((row) => Object.values(row.toJSON()).join(' '));
};

const values = () => query(target.database, 'SELECT key, id, value FROM logtable ORDER BY key, id');

describe('Read', () => {
  const columns = ['key', 'id'];

  it('returns rows by keys', async () => {
    expect(
      await read({
        keys: [
          ['b', '1'],
          ['a', '2'],
          ['c', '1'],
        ] as never,
        columns,
      }),
    ).toEqual(['a 2', 'b 1']);
  });

  it('returns all rows, up to the limit', async () => {
    expect(await read({ keySet: { all: true }, columns })).toEqual(['a 1', 'a 2', 'b 1']);
    expect(await read({ keySet: { all: true }, columns, limit: 2 })).toEqual(['a 1', 'a 2']);
  });

  it.each([
    ['of a prefix', { startClosed: ['a'], endClosed: ['a'] }, ['a 1', 'a 2']],
    ['open at the start', { startOpen: ['a', '1'], endClosed: ['b'] }, ['a 2', 'b 1']],
    ['open at the end', { startClosed: ['a'], endOpen: ['b'] }, ['a 1', 'a 2']],
    ['of nothing', { startOpen: ['a'], endOpen: ['b'] }, []],
    ['without an end', { startClosed: ['a', '2'], endClosed: [] }, ['a 2', 'b 1']],
  ])('returns rows by a range %s', async (_name, range, expected) => {
    expect(await read({ ranges: [range], columns })).toEqual(expected);
  });

  it('returns rows by an index, in its order, with key columns and stored ones', async () => {
    const request = { index: 'by_value', columns: ['value', 'id', 'leader'] };
    expect(await read({ ...request, keySet: { all: true } })).toEqual(['z 1 ', 'y 2 l2', 'x 1 l1']);
    expect(await read({ ...request, keys: ['y'] })).toEqual(['y 2 l2']);
    expect(await read({ ...request, ranges: [{ startClosed: ['z'], endOpen: ['x'] }] })).toEqual(['z 1 ', 'y 2 l2']);
  });

  it('can run in a read-write transaction', async () => {
    const { client, session } = await openSession(target);
    const [{ id }] = await client.beginTransaction({ session, options: { readWrite: {} } });
    const request = { session, transaction: { id: id! }, table: 'logtable', columns, keySet: { all: true } };
    const [result] = await client.read(request);
    expect(result.rows).toHaveLength(3);
    await client.rollback({ session, transactionId: id });
    await client.close();
  });

  it.each([
    ['an unknown table', { table: 'nothing', columns: ['key'], keySet: { all: true } }, 5],
    ['an empty table name', { table: '', columns: ['key'], keySet: { all: true } }, 3],
    ['no keys at all', { table: 'logtable', columns: ['key'] }, 3],
    ['an unknown column', { table: 'logtable', columns: ['nothing'], keySet: { all: true } }, 5],
    ['an unknown index', { table: 'logtable', index: 'no', columns: ['key'], keySet: { all: true } }, 5],
    [
      'a column that the index does not have',
      { table: 'logtable', index: 'by_value', columns: ['timestamp'], keySet: { all: true } },
      5,
    ],
    ['a short key', { table: 'logtable', columns: ['key'], keySet: { keys: [{ values: [{ stringValue: 'a' }] }] } }, 9],
    ['a negative limit', { table: 'logtable', columns: ['key'], keySet: { all: true }, limit: -1 }, 3],
  ])('of %s is an error', async (_name, request, code) => {
    const { client, session } = await openSession(target);
    await expect(client.read({ ...request, session })).rejects.toMatchObject({ code });
    await client.close();
  });
});

const at = (time: string) => ({ values: [{ stringValue: time }] });

describe('mutations', () => {
  it('insert adds a row, and fails with ALREADY_EXISTS when the row exists', async () => {
    const table = target.database.table('logtable');
    await table.insert({ key: 'c', id: '1', value: 'new' });
    const again = table.insert({ key: 'c', id: '1', value: 'other' });
    await expect(again).rejects.toMatchObject({ code: 6, message: expect.stringMatching(/already exists/) });
    expect((await values()).at(-1)).toEqual({ key: 'c', id: '1', value: 'new' });
  });

  it('update keeps other columns, and fails with NOT_FOUND when there is no row', async () => {
    const table = target.database.table('logtable');
    await table.update({ key: 'a', id: '1', value: 'new' });
    expect(await query(target.database, "SELECT value, leader FROM logtable WHERE key = 'a' AND id = '1'")).toEqual([
      { value: 'new', leader: 'l1' },
    ]);
    const missing = table.update({ key: 'c', id: '1', value: 'new' });
    await expect(missing).rejects.toMatchObject({ code: 5, message: expect.stringMatching(/not found/) });
  });

  it('insert or update keeps other columns, and replace clears them', async () => {
    const table = target.database.table('logtable');
    await table.upsert([
      { key: 'a', id: '1', value: 'new' },
      { key: 'c', id: '1', value: 'new' },
    ]);
    await table.replace({ key: 'a', id: '2', value: 'new' });
    const sql = "SELECT key, id, leader FROM logtable WHERE value = 'new' ORDER BY key, id";
    expect(await query(target.database, sql)).toEqual([
      { key: 'a', id: '1', leader: 'l1' },
      { key: 'a', id: '2', leader: null },
      { key: 'c', id: '1', leader: null },
    ]);
  });

  it.each(['upsert', 'replace'] as const)('%s needs every NOT NULL column, also where the row exists', async (kind) => {
    const table = target.database.table('types');
    await table.insert({ k: 1, n: 1, s: 'old' });
    const without = table[kind]({ k: 1, s: 'new' });
    await expect(without).rejects.toMatchObject({ code: 9, message: expect.stringMatching(/NOT NULL column: n/) });
    await table.update({ k: 1, s: 'newer' });
    expect(await query(target.database, 'SELECT n, s FROM types')).toEqual([{ n: 1, s: 'newer' }]);
  });

  it('refuse an index key of more than 8 KB, and accept a value of that size outside of keys', async () => {
    const table = target.database.table('logtable');
    const large = table.insert({ key: 'c', id: '1', value: 'x'.repeat(9_000) });
    await expect(large).rejects.toMatchObject({
      code: 3,
      message: expect.stringMatching(/key of index by_value is \d+/),
    });
    await table.insert({ key: 'c', id: '1', leader: 'x'.repeat(9_000) });
    await expect(table.insert({ key: 'k'.repeat(9_000), id: '1' })).rejects.toMatchObject({ code: 3 });
    expect(await values()).toHaveLength(4);
  });

  it('delete no commit timestamps of the future', async () => {
    const { client, session } = await openSession(target);
    const remove = (keySet: object) =>
      client.commit({
        session,
        singleUseTransaction: { readWrite: {} },
        mutations: [{ delete: { table: 'stamps', keySet } }],
      });
    const [past, future, later] = ['2020-01-01T00:00:00Z', '2999-01-01T00:00:00Z', '2999-01-02T00:00:00Z'].map(at);
    for (const keySet of [
      { keys: [future] },
      { ranges: [{ startClosed: past, endOpen: future }] },
      { ranges: [{ startOpen: future, endOpen: later }] },
      { ranges: [{ startClosed: future, endClosed: future }] },
    ]) {
      await expect(remove(keySet)).rejects.toMatchObject({ code: 9, message: expect.stringMatching(/future/) });
    }
    for (const keySet of [
      { keys: [past] },
      { all: true },
      { ranges: [{ startClosed: future, endOpen: future }] },
      { ranges: [{ startOpen: future, endOpen: past }] },
      { ranges: [{ startClosed: past, endOpen: at('spanner.commit_timestamp()') }] },
    ]) {
      await remove(keySet);
    }
    await client.close();
  });

  it('delete by key and by range, and ignore a key that does not exist', async () => {
    await target.database.table('logtable').deleteRows([
      ['b', '1'],
      ['c', '1'],
    ]);
    expect(await values()).toHaveLength(2);
    const { client, session } = await openSession(target);
    const a = { values: [{ stringValue: 'a' }] };
    const mutations = [{ delete: { table: 'logtable', keySet: { ranges: [{ startClosed: a, endClosed: a }] } } }];
    await client.commit({ session, singleUseTransaction: { readWrite: {} }, mutations });
    expect(await values()).toEqual([]);
    await client.close();
  });

  it('in one commit apply in order, all or none', async () => {
    await target.database.runTransactionAsync(async (transaction) => {
      transaction.deleteRows('logtable', [['a', '1']]);
      transaction.insert('logtable', { key: 'a', id: '1', value: 'again' });
      await transaction.commit();
    });
    expect((await values())[0]).toEqual({ key: 'a', id: '1', value: 'again' });
    const failing = target.database.runTransactionAsync(async (transaction) => {
      transaction.insert('logtable', { key: 'd', id: '1' });
      transaction.insert('logtable', { key: 'a', id: '1' });
      await transaction.commit();
    });
    await expect(failing).rejects.toMatchObject({ code: 6 });
    expect(await values()).toHaveLength(3);
  });

  it('run after the DML of their transaction, which does not see them', async () => {
    await target.database.runTransactionAsync(async (transaction) => {
      transaction.insert('logtable', { key: 'm', id: '1', value: 'x' });
      await transaction.runUpdate("INSERT logtable (key, id) VALUES ('d', '1')");
      expect(await query(transaction, "SELECT key FROM logtable WHERE key IN ('m', 'd')")).toEqual([{ key: 'd' }]);
      await transaction.commit();
    });
    expect(await values()).toHaveLength(5);
  });

  it('can be sent in a single-use commit', async () => {
    const { client, session } = await openSession(target);
    const write = {
      table: 'types',
      columns: ['k', 'n'],
      values: [{ values: [{ stringValue: '1' }, { stringValue: '2' }] }],
    };
    const [response] = await client.commit({
      session,
      singleUseTransaction: { readWrite: {} },
      mutations: [{ insert: write }],
    });
    expect(Number(response.commitTimestamp!.seconds)).toBeGreaterThan(0);
    expect(await query(target.database, 'SELECT n FROM types')).toEqual([{ n: 2 }]);
    await client.close();
  });

  it.each([
    ['an unknown table', 'nothing', { k: 1 }, 5],
    ['an unknown column', 'types', { k: 1, n: 1, x: 1 }, 5],
    ['a missing NOT NULL key column', 'types', { n: 1 }, 9],
    ['a NULL in a NOT NULL column', 'types', { k: 1, n: null }, 9],
    ['a missing NOT NULL column', 'types', { k: 1 }, 9],
    ['a value of another type', 'types', { k: 1, n: 'x' }, 9],
    ['a string that is too long', 'types', { k: 1, n: 1, s: '12345678901' }, 9],
  ])('refuse %s', async (_name, table, row, code) => {
    await expect(target.database.table(table).insert(row)).rejects.toMatchObject({ code });
  });

  it('refuse an empty table name', async () => {
    const { client, session } = await openSession(target);
    const write = { table: '', columns: ['k'], values: [{ values: [{ stringValue: '1' }] }] };
    for (const mutation of [{ insert: write }, { delete: { table: '', keySet: { all: true } } }]) {
      const commit = client.commit({ session, singleUseTransaction: { readWrite: {} }, mutations: [mutation] });
      await expect(commit).rejects.toMatchObject({ code: 3, message: expect.stringMatching(/table/) });
    }
    await client.close();
  });

  it('accept values of every type, and return them unchanged', async () => {
    const row = {
      k: 1,
      s: 'é😀',
      b: Buffer.from([0, 255]),
      f: 1.5,
      t: '2024-01-01T00:00:00.123456789Z',
      o: true,
      n: 5,
    };
    await target.database.table('types').insert(row);
    const [read] = await query(target.database, 'SELECT * FROM types');
    expect(read).toMatchObject({ k: 1, s: 'é😀', b: Buffer.from([0, 255]), f: 1.5, o: true, n: 5 });
    expect((read!['t'] as { toISOString(): string }).toISOString()).toBe(row.t);
  });
});
