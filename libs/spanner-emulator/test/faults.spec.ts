import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { openEmulator, openSession, query } from './target.js';

describe('fault injection', () => {
  let target: Awaited<ReturnType<typeof openEmulator>>;

  beforeEach(async () => {
    target = await openEmulator();
  });
  afterEach(() => target.close());

  const upsert = (k: number, n: number) => target.database.table('types').upsert({ k, n });
  const rows = () => query(target.database, 'SELECT k, n FROM types ORDER BY k');
  const calls = (method: string) => target.emulator.counters().calls[method] ?? 0;

  it('ABORTED at a rate makes the client retry until it commits', async () => {
    target.emulator.faults.set({ abortRate: 0.7 });
    const before = calls('Commit');
    for (let n = 1; n <= 10; n++) {
      await target.database.runTransactionAsync(async (transaction) => {
        await transaction.runUpdate({ sql: 'INSERT OR UPDATE types (k, n) VALUES (1, @n)', params: { n } });
        await transaction.commit();
      });
    }
    expect(await rows()).toEqual([{ k: 1, n: 10 }]);
    expect(calls('Commit') - before).toBeGreaterThan(10);
  });

  it.each([
    [5, 1],
    [null, 0],
  ])('ABORTED has a RetryInfo of %s ms', async (abortRetryDelayMs, headers) => {
    const { client, session } = await openSession(target);
    const [{ id }] = await client.beginTransaction({ session, options: { readWrite: {} } });
    target.emulator.faults.set({ abortRate: 1, abortRetryDelayMs });
    const error = await client.commit({ session, transactionId: id }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 10 });
    const { metadata } = error as { metadata: { get(key: string): unknown[] } };
    expect(metadata.get('google.rpc.retryinfo-bin')).toHaveLength(headers);
    await client.close();
  });

  it('an error before the commit leaves no effect', async () => {
    const { client, session } = await openSession(target);
    const write = {
      table: 'types',
      columns: ['k', 'n'],
      values: [{ values: [{ stringValue: '1' }, { stringValue: '1' }] }],
    };
    const [{ id }] = await client.beginTransaction({ session, options: { readWrite: {} } });
    const commit = () =>
      client.commit({ session, transactionId: id, mutations: [{ insert: write }] }, { retry: null as never });
    target.emulator.faults.fail({ method: 'Commit', code: 'INTERNAL', when: 'before', times: 1 });
    await expect(commit()).rejects.toMatchObject({ code: 13 });
    expect(await rows()).toEqual([]);
    await commit();
    expect(await rows()).toEqual([{ k: 1, n: 1 }]);
    await client.close();
  });

  it('an error after the commit keeps its effect, and a repeated commit gets the first answer', async () => {
    const { client, session } = await openSession(target);
    const write = {
      table: 'types',
      columns: ['k', 'n'],
      values: [{ values: [{ stringValue: '1' }, { stringValue: '1' }] }],
    };
    const [{ id }] = await client.beginTransaction({ session, options: { readWrite: {} } });
    const commit = () => client.commit({ session, transactionId: id, mutations: [{ insert: write }] });
    target.emulator.faults.fail({ method: 'Commit', code: 'INTERNAL', when: 'after', times: 1, message: 'lost' });
    await expect(commit()).rejects.toMatchObject({ code: 13, message: expect.stringContaining('lost') });
    expect(await rows()).toEqual([{ k: 1, n: 1 }]);
    await commit();
    expect(await rows()).toEqual([{ k: 1, n: 1 }]);
    await client.close();
  });

  it('a broken stream is resumed by the client, without duplicates', async () => {
    await target.database.table('types').insert([1, 2, 3, 4].map((k) => ({ k, n: k })));
    const before = calls('ExecuteStreamingSql');
    target.emulator.faults.fail({ method: 'ExecuteStreamingSql', code: 'UNAVAILABLE', when: 'during', times: 2 });
    expect((await rows()).map(({ k }) => k)).toEqual([1, 2, 3, 4]);
    expect(calls('ExecuteStreamingSql') - before).toBe(3);
  });

  it('equal commit timestamps go to concurrent transactions on different rows, and to no others', async () => {
    target.emulator.faults.set({ equalCommitTimestamps: true });
    const { client, session } = await openSession(target, true);
    const begin = async () => (await client.beginTransaction({ session, options: { readWrite: {} } }))[0].id!;
    const commit = async (transactionId: Uint8Array | string, k: number) => {
      const write = {
        table: 'types',
        columns: ['k', 'n'],
        values: [{ values: [{ stringValue: `${k}` }, { stringValue: '1' }] }],
      };
      const [response] = await client.commit({ session, transactionId, mutations: [{ insertOrUpdate: write }] });
      const { seconds, nanos } = response.commitTimestamp!;
      return Number(seconds) * 1e6 + nanos! / 1000;
    };
    const [a, b, c] = [await begin(), await begin(), await begin()];
    const first = await commit(a, 1);
    expect(await commit(b, 2)).toBe(first);
    expect(await commit(c, 1)).toBeGreaterThan(first);
    const [d, e] = [await begin(), await begin()];
    const shown = await commit(d, 3);
    await rows();
    expect(await commit(e, 4)).toBeGreaterThan(shown);
    const f = await begin();
    expect(await commit(f, 5)).toBeGreaterThan(shown);
    await client.close();
  });

  it('session loss makes calls fail with NOT_FOUND, and ends the transactions of the session', async () => {
    const { client, session } = await openSession(target);
    const [{ id }] = await client.beginTransaction({ session, options: { readWrite: {} } });
    const sql = 'INSERT types (k, n) VALUES (1, 1)';
    await client.executeSql({ session, transaction: { id: id! }, sql, seqno: 1 });
    target.emulator.faults.loseSessions();
    await expect(client.commit({ session, transactionId: id })).rejects.toMatchObject({
      code: 5,
      message: expect.stringContaining('Session not found'),
    });
    const [fresh] = await client.createSession({ database: target.database.formattedName_ });
    const write = {
      table: 'types',
      columns: ['k', 'n'],
      values: [{ values: [{ stringValue: '1' }, { stringValue: '2' }] }],
    };
    const singleUseTransaction = { readWrite: {} };
    await client.commit({ session: fresh.name, singleUseTransaction, mutations: [{ insert: write }] });
    await client.close();
  });

  it('session loss works at a rate', async () => {
    const { client, session } = await openSession(target);
    target.emulator.faults.set({ sessionLossRate: 1 });
    await expect(client.executeSql({ session, sql: 'SELECT 1' })).rejects.toMatchObject({ code: 5 });
    target.emulator.faults.clear();
    await expect(client.executeSql({ session, sql: 'SELECT 1' })).rejects.toMatchObject({ code: 5 });
    await client.close();
  });

  it('pause delays calls until resume', async () => {
    await upsert(1, 1);
    target.emulator.faults.pause();
    const before = calls('ExecuteStreamingSql');
    let settled = false;
    const reading = rows().finally(() => {
      settled = true;
    });
    while (calls('ExecuteStreamingSql') === before) await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    expect(settled).toBe(false);
    target.emulator.faults.resume();
    expect(await reading).toEqual([{ k: 1, n: 1 }]);
  });

  it('latency delays every call', async () => {
    await rows();
    target.emulator.faults.set({ latencyMs: [50, 60] });
    const start = process.hrtime.bigint();
    await rows();
    expect(Number(process.hrtime.bigint() - start) / 1e6).toBeGreaterThanOrEqual(49);
  });

  it('an abandoned transaction loses its locks to a transaction that waits', async () => {
    await target.close();
    target = await openEmulator({ idleTransactionMs: 100 });
    await upsert(1, 1);
    const { client, session } = await openSession(target);
    const [{ id }] = await client.beginTransaction({ session, options: { readWrite: {} } });
    const sql = 'UPDATE types SET n = 2 WHERE k = 1';
    await client.executeSql({ session, transaction: { id: id! }, sql, seqno: 1 });
    await upsert(1, 3);
    await expect(client.commit({ session, transactionId: id })).rejects.toMatchObject({ code: 10 });
    expect(await rows()).toEqual([{ k: 1, n: 3 }]);
    await client.close();
  });

  it('two runs with one seed draw the same faults', async () => {
    const draws = [1, 2].map(() => {
      target.emulator.faults.set({ abortRate: 0.5, seed: 7 });
      return Array.from({ length: 50 }, () => target.emulator.faults.drawAbort() !== undefined);
    });
    expect(draws[0]).toEqual(draws[1]);
    expect(new Set(draws[0]).size).toBe(2);
  });
});
