import type { protos, v1 } from '@google-cloud/spanner';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openSession, openTarget, TABLES, type Target } from './target.js';

type PartialResultSet = protos.google.spanner.v1.IPartialResultSet;

let target: Target;
let client: v1.SpannerClient;
let session: string;

beforeAll(async () => {
  target = await openTarget([...TABLES, 'CREATE TABLE large (k INT64, v STRING(MAX)) PRIMARY KEY (k)']);
  ({ client, session } = await openSession(target));
  const v = 'x'.repeat(100_000);
  await target.database.table('large').insert(Array.from({ length: 30 }, (_, k) => ({ k, v })));
});
afterAll(async () => {
  await client.close();
  await target.close();
});

const messages = (stream: ReturnType<v1.SpannerClient['executeStreamingSql']>): Promise<PartialResultSet[]> =>
  new Promise((resolve, reject) => {
    const all: PartialResultSet[] = [];
    stream.on('data', (message: PartialResultSet) => all.push(message));
    stream.on('error', reject);
    stream.on('end', () => resolve(all));
  });

const keys = (all: readonly PartialResultSet[]): string[] =>
  all.flatMap(({ values }) => values!.map((value) => value.stringValue!)).filter((text) => text.length < 10);

describe('sessions', () => {
  it('can be created, read, listed and deleted one by one', async () => {
    const database = target.database.formattedName_;
    const [{ name }] = await client.createSession({ database, session: { labels: { a: 'b' } } });
    expect((await client.getSession({ name }))[0]).toMatchObject({ name, labels: { a: 'b' } });
    expect((await client.listSessions({ database }))[0].map((one) => one.name)).toContain(name);
    await client.deleteSession({ name });
    await client.deleteSession({ name });
    const after = client.executeSql({ session: name, sql: 'SELECT 1' });
    await expect(after).rejects.toMatchObject({ code: 5, message: expect.stringContaining('Session not found') });
  });

  it('can be listed by their labels, and in pages', async () => {
    const database = target.database.formattedName_;
    for (const labels of [{ env: 'dev' }, { env: 'Prod', team: 'dev' }, { team: 'x' }]) {
      await client.createSession({ database, session: { labels: labels as Record<string, string> } });
    }
    const labelled = async (filter: string) =>
      (await client.listSessions({ database, filter }))[0].map(({ labels }) => labels);
    expect(await labelled('labels.env:*')).toHaveLength(2);
    expect(await labelled('labels.env:dev')).toEqual([{ env: 'dev' }]);
    expect(await labelled('labels.ENV:PROD labels.team:*')).toEqual([{ env: 'Prod', team: 'dev' }]);
    expect(await labelled('labels.none:*')).toEqual([]);
    const names: (string | null | undefined)[] = [];
    let pageToken: string | undefined;
    do {
      const options = { autoPaginate: false };
      const [page, next] = await client.listSessions({ database, pageSize: 2, pageToken }, options);
      expect(page.length).toBeLessThanOrEqual(2);
      names.push(...page.map(({ name }) => name));
      pageToken = next?.pageToken ?? undefined;
    } while (pageToken);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toHaveLength((await client.listSessions({ database }))[0].length);
  });

  it.each(['', 'sessions/x', 'projects/p/instances/i/databases/d'])(
    'with the malformed name "%s" are refused',
    async (name) => {
      await expect(client.getSession({ name })).rejects.toMatchObject({ code: 3 });
      await expect(client.deleteSession({ name })).rejects.toMatchObject({ code: 3 });
      await expect(client.createSession({ database: `x${name}` })).rejects.toMatchObject({ code: 3 });
    },
  );

  it('can be created in a batch', async () => {
    const [{ session: sessions }] = await client.batchCreateSessions({
      database: target.database.formattedName_,
      sessionCount: 3,
    });
    expect(new Set(sessions!.map(({ name }) => name)).size).toBe(3);
  });

  it('that are multiplexed run any number of transactions at once', async () => {
    const { client: other, session: name } = await openSession(target, true);
    const begin = () => other.beginTransaction({ session: name, options: { readWrite: {} } });
    const [[first], [second]] = await Promise.all([begin(), begin()]);
    expect(first.id).not.toEqual(second.id);
    await Promise.all([first, second].map(({ id }) => other.rollback({ session: name, transactionId: id })));
    await other.close();
  });

  it('of an unknown database are refused', async () => {
    const database = 'projects/p/instances/i/databases/nothing';
    await expect(client.createSession({ database })).rejects.toMatchObject({ code: 5 });
  });
});

describe('streams', () => {
  const sql = 'SELECT k, v FROM large ORDER BY k';
  const every = Array.from({ length: 30 }, (_, k) => String(k));

  it('split a large result into several messages', async () => {
    const all = await messages(client.executeStreamingSql({ session, sql }));
    expect(all.length).toBeGreaterThan(1);
    expect(all[0]!.metadata!.rowType!.fields!.map(({ name }) => name)).toEqual(['k', 'v']);
    expect(keys(all)).toEqual(every);
  });

  it('resume at their token, with the same timestamp', async () => {
    const all = await messages(client.executeStreamingSql({ session, sql }));
    const at = all.findIndex(({ resumeToken }) => resumeToken!.length > 0);
    await target.database.table('large').upsert({ k: 100, v: 'late' });
    const resumeToken = all[at]!.resumeToken;
    const rest = await messages(client.executeStreamingSql({ session, sql, resumeToken }));
    expect([...keys(all.slice(0, at + 1)), ...keys(rest)]).toEqual(every);
    await target.database.table('large').deleteRows([[100]]);
  });

  it('of StreamingRead resume, too', async () => {
    const request = { session, table: 'large', columns: ['k', 'v'], keySet: { all: true } };
    const all = await messages(client.streamingRead(request));
    expect(keys(all)).toEqual(every);
    const rest = await messages(client.streamingRead({ ...request, resumeToken: all[0]!.resumeToken }));
    expect(keys([all[0]!, ...rest])).toEqual(every);
  });

  it('carry the row count of DML', async () => {
    const [{ id }] = await client.beginTransaction({ session, options: { readWrite: {} } });
    const dml = { session, transaction: { id: id! }, sql: 'DELETE large WHERE k < 3', seqno: 1 };
    const all = await messages(client.executeStreamingSql(dml));
    expect(Number(all.at(-1)!.stats!.rowCountExact)).toBe(3);
    await client.rollback({ session, transactionId: id });
  });
});
