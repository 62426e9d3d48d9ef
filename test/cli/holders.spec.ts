import { hostname, userInfo } from 'node:os';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { ClusterService, HedgeError, JobsService, KvStore, LockService, SemaphoreService } from 'nestjs-hedge';
import { until } from '../nest/apps.js';
import { LiveGroup, Running } from './command-line.js';

describe.each(['sqlite', 'postgres'] as const)('locks, semaphores and keys on %s', (database) => {
  let group: LiveGroup;
  beforeAll(async () => {
    group = await LiveGroup.start(database);
  });
  afterEach(() => Running.killAll());
  afterAll(() => group.close());

  it('locks ls lists the locks that are held, with the number of waiting callers', async () => {
    const [first, second] = group.pods.apps.map((app) => app.get(LockService));
    const held = [
      await first!.acquire('invoices/1'),
      await first!.acquire('invoices/2'),
      await second!.acquire('other'),
    ];
    const waiting = second!.acquire('invoices/1');
    const free = await first!.acquire('invoices/3');
    await free.release();
    const listed = await group.json<Record<string, unknown>[]>('locks', 'ls', 'invoices/');
    const address = group.pods.apps[0]!.get(ClusterService).self.address;
    expect(listed).toMatchObject([
      { name: 'invoices/1', member: { address }, token: String(held[0]!.fencingToken), expired: false, waiting: 1 },
      { name: 'invoices/2', member: { address }, token: String(held[1]!.fencingToken), expired: false, waiting: 0 },
    ]);
    const { out } = await group.run('locks', 'ls');
    expect(out.trim().split('\n')).toHaveLength(4);
    expect(out).toMatch(/^LOCK +HOLDER +SINCE +RENEWED +WAITING +TOKEN$/m);
    for (const lock of held) await lock.release();
    await (await waiting).release();
    expect(await group.json('locks', 'ls')).toEqual([]);
  });

  it('LockService.list pages, and refuses a wrong limit', async () => {
    const locks = group.leader.get(LockService);
    const held = await Promise.all(['a', 'b', 'c'].map((name) => locks.acquire(`page/${name}`)));
    const page = await locks.list({ prefix: 'page/', limit: 2 });
    expect(page.map(({ name }) => name)).toEqual(['page/a', 'page/b']);
    const rest = await locks.list({ prefix: 'page/', after: 'page/b' });
    expect(rest.map(({ name, fencingToken }) => [name, fencingToken])).toEqual([['page/c', held[2]!.fencingToken]]);
    for (const lock of held) await lock.release();
    for (const limit of [0, 1.5, 1_001, Number.NaN]) {
      await expect(locks.list({ limit })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
  });

  it('semaphore ls lists holders and waiting callers, and resize changes the limit', async () => {
    const semaphore = group.pods.followers[0]!.get(SemaphoreService).get('reports', { limit: 2 });
    const permit = await semaphore.acquire({ permits: 2 });
    const waiting = semaphore.acquire({ timeoutMs: 60_000 });
    const address = group.pods.followers[0]!.get(ClusterService).self.address;
    const list = () => group.json<{ semaphores: Record<string, unknown>[] }>('semaphore', 'ls');
    let shown = await list();
    for (; shown.semaphores[0]?.['waiting'] !== 1; shown = await list());
    expect(shown.semaphores).toMatchObject([
      {
        name: 'reports',
        limit: 2,
        held: 2,
        holders: [{ member: { address }, permits: 2, fencingToken: String(permit.fencingToken) }],
      },
    ]);
    expect(await group.run('semaphore', 'resize', 'reports', '3')).toMatchObject({ code: 0, err: '' });
    await (await waiting).release();
    expect((await group.run('semaphore', 'ls')).out).toMatch(/^reports +3 +/m);
    await permit.release();
    expect(await group.run('semaphore', 'resize', 'reports', 'many')).toMatchObject({
      code: 2,
      err: expect.stringContaining('"many"'),
    });
  });

  it('kv reads and writes the log', async () => {
    const kv = group.leader.get(KvStore);
    expect(await group.run('kv', 'get', 'orders/1')).toMatchObject({
      code: 3,
      err: expect.stringContaining('"orders/1" has no value'),
    });
    expect(await group.run('kv', 'put', 'orders/1', 'new')).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^version \d+ at /),
    });
    await kv.put('orders/1', 'paid');
    await kv.put('orders/2', 'new');
    expect(await group.run('kv', 'get', 'orders/1')).toEqual({ code: 0, out: 'paid\n', err: '' });
    expect(await group.json('kv', 'get', 'orders/1')).toMatchObject({
      key: 'orders/1',
      value: 'paid',
      version: expect.stringMatching(/^\d+$/),
    });
    expect(await group.json('kv', 'keys', 'orders/')).toEqual(['orders/1', 'orders/2']);
    expect((await group.run('kv', 'keys', '--limit', '1')).out).toBe('orders/1\n');
    const versions = await group.json<{ value: string }[]>('kv', 'history', 'orders/1');
    expect(versions.map(({ value }) => value)).toEqual(['paid', 'new']);
    const oldest = await group.json<{ value: string }[]>('kv', 'history', 'orders/1', '--oldest-first', '--limit', '1');
    expect(oldest.map(({ value }) => value)).toEqual(['new']);
    await group.run('kv', 'put', 'state', 'a', '--overwrite');
    await group.run('kv', 'put', 'state', 'b', '--overwrite');
    expect(await group.json('kv', 'history', 'state')).toMatchObject([{ value: 'b' }]);
    expect(await group.run('kv', 'compact')).toMatchObject({
      code: 2,
      out: '',
      err: expect.stringContaining('the leader has no kv.retention'),
    });
  });

  it('kv watch shows puts and deletions until a signal', async () => {
    const watching = new Running([...group.options, 'kv', 'watch', 'seen/']);
    const kv = group.leader.get(KvStore);
    while (!watching.out.includes('seen/a  first')) {
      await kv.put('seen/a', 'first');
      await kv.put('unseen', 'other');
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(await group.run('kv', 'delete', 'seen/a')).toMatchObject({ code: 0, err: '' });
    await watching.until('seen/a  (deleted)');
    expect(watching.out).not.toContain('other');
    watching.signal('SIGTERM');
    expect(await watching.ended).toMatchObject({ code: 0, err: '' });
    expect((await group.run('kv', 'get', 'seen/a')).code).toBe(3);
    expect((await group.run('kv', 'history', 'seen/a', '--limit', '1')).out).toContain('(deleted)');
  });

  it('jobs lists, runs, pauses and resumes the jobs of the leader', async () => {
    const list = () => group.json<Record<string, unknown>[]>('jobs', 'ls');
    expect(await list()).toMatchObject([
      { name: 'tidy up', schedule: 'every 86400000 ms', nextTimes: [expect.any(String)] },
    ]);
    expect(await group.run('jobs', 'pause', 'tidy up', '--reason', 'a test')).toEqual({
      code: 0,
      out: 'job tidy up is paused\n',
      err: '',
    });
    expect(await list()).toMatchObject([{ paused: { by: `${userInfo().username}@${hostname()}`, reason: 'a test' } }]);
    expect((await group.run('jobs', 'ls')).out).toContain('paused by');
    expect(await group.run('jobs', 'resume', 'tidy up')).toMatchObject({ code: 0, err: '' });
    expect(await group.run('jobs', 'run', 'tidy up')).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^run \S+ of job tidy up has begun$/m),
    });
    const history = () => group.json<{ event: string; requested?: object }[]>('jobs', 'history', 'tidy up');
    let entries = await history();
    for (; entries[0]?.event !== 'done'; entries = await history());
    expect(entries[0]?.requested).toMatchObject({ by: `${userInfo().username}@${hostname()}` });
    expect((await group.run('jobs', 'history', 'tidy up', '--limit', '1')).out).toMatch(/ done +1 /);
    expect(await group.run('jobs', 'pause', 'nothing')).toMatchObject({
      code: 2,
      err: expect.stringContaining('nothing'),
    });
  });

  it('jobs run begins one run for each id, however often it is repeated', async () => {
    const runs = async () => {
      const entries = await group.json<{ event: string; requested?: { id: string } }[]>('jobs', 'history', 'tidy up');
      return entries.filter(({ event, requested }) => event === 'done' && requested?.id === 'monday').length;
    };
    const run = () => group.run('jobs', 'run', 'tidy up', '--id', 'monday');
    expect(await run()).toEqual({ code: 0, out: 'run monday of job tidy up has begun\n', err: '' });
    await until(async () => (await runs()) === 1, 'the run');
    expect((await run()).code).toBe(0);
    // A further run would have its own claim before this one.
    expect(await group.json('jobs', 'run', 'tidy up', '--id', 'tuesday')).toEqual({ name: 'tidy up', id: 'tuesday' });
    await until(async () => (await group.run('jobs', 'history', 'tidy up')).out.includes('tuesday'), 'the next run');
    expect(await runs()).toBe(1);
  });

  it.each(['DEADLINE_EXCEEDED', 'OUTCOME_UNKNOWN'] as const)('jobs run names its id after %s', async (code) => {
    const run = jest.spyOn(JobsService.prototype, 'runNow');
    try {
      run.mockRejectedValueOnce(new HedgeError(code, 'It may have begun.'));
      const { err } = await group.run('jobs', 'run', 'tidy up');
      const [[, options] = []] = run.mock.calls;
      expect(err).toBe(`It may have begun. Repeat the command with --id ${options?.id}: it begins no second run.\n`);
      run.mockRejectedValueOnce(new HedgeError('NO_LEADER', 'Nothing has begun.'));
      expect((await group.run('jobs', 'run', 'tidy up')).err).toBe('Nothing has begun.\n');
    } finally {
      run.mockRestore();
    }
  });

  it('jobs remove removes a job that was added at run time, and no other', async () => {
    const job = { name: 'report of 17', handler: 'tenant report', everyMs: 86_400_000 };
    await group.leader.get(JobsService).add(job, { by: 'a test' });
    const names = async () => (await group.json<{ name: string }[]>('jobs', 'ls')).map(({ name }) => name);
    expect(await names()).toEqual(['report of 17', 'tidy up']);
    expect(await group.run('jobs', 'remove', 'report of 17', '--reason', 'a test')).toEqual({
      code: 0,
      out: 'job report of 17 is removed\n',
      err: '',
    });
    expect(await names()).toEqual(['tidy up']);
    await group.leader.get(JobsService).add(job);
    expect(await group.json('jobs', 'remove', 'report of 17')).toEqual({ name: 'report of 17', removed: true });
  });

  it.each([
    [['remove', 'tidy up'], 2, 'Remove its decorator'],
    [['remove', 'nothing'], 2, 'nothing'],
    [['remove'], 2, "missing required argument 'name'"],
    [['run', 'tidy up', '--id', ''], 2, 'no text of 1 to 128 visible characters'],
    [['run', 'tidy up', '--id'], 2, "option '--id <id>' argument missing"],
    [['pause', 'tidy up', '--id', 'x'], 2, "unknown option '--id'"],
  ])('jobs %j ends with code %d', async (args, code, message) => {
    expect(await group.run('jobs', ...args)).toMatchObject({ code, out: '', err: expect.stringContaining(message) });
  });

  it('kv escapes a value that would write over the terminal, in a table', async () => {
    await group.leader.get(KvStore).put('evil', 'a\u001b[2Jb\nc');
    const { out } = await group.run('kv', 'history', 'evil');
    expect(out).toContain('a\\u001b[2Jb\\u000ac');
    expect(out.split('\n')).toHaveLength(3);
  });

  it.each([
    [['kv', 'keys', '--limit', '0'], 2, '--limit is "0"'],
    [['kv', 'put', '__hedge/x', 'y'], 2, '__hedge/'],
    [['kv', 'get'], 2, "missing required argument 'key'"],
  ])('%j ends with code %d', async (args, code, message) => {
    expect(await group.run(...args)).toMatchObject({ code, err: expect.stringContaining(message) });
  });

  it('doctor finds nothing wrong with a healthy group', async () => {
    await until(() => group.pods.apps.every((app) => app.get(ClusterService).view.settled), 'settled views');
    const { code, out } = await group.run('doctor');
    expect(out).toMatch(/^ok +members +all 3 answer$/m);
    expect(out).toMatch(/^ok +lease +at least/m);
    expect({ code, problems: out.match(/^problem.*/gm) }).toEqual({ code: 0, problems: null });
  });
});
