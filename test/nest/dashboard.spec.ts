import { type CanActivate, type ExecutionContext, Injectable, Logger, UnauthorizedException } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'libsql';
import {
  ClusterService,
  HedgeReadiness,
  InspectionService,
  JobsService,
  KvStore,
  LeaderService,
  SemaphoreService,
  SpillStore,
} from 'nestjs-hedge';
import { type ActionRecord, type GroupState, HedgeDashboardModule } from 'nestjs-hedge/dashboard';
import { sqlite } from 'nestjs-hedge/sqlite';
import { map } from 'rxjs';
import { GroupMonitor } from '../../libs/hedge/src/nest/dashboard/group-monitor.js';
import { PATIENT, until } from './apps.js';
import { DashboardPods, prefixed } from './dashboard-apps.js';

const ACTION = { 'Content-Type': 'application/json', 'X-Hedge-Dashboard': 'action' };

@Injectable()
class TokenGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const { headers } = context.switchToHttp().getRequest<{ headers: Record<string, string | undefined> }>();
    if (headers['authorization'] !== 'Bearer secret') throw new UnauthorizedException();
    return true;
  }
}

/** Reads events of a stream until one matches. */
async function eventOf(response: Response, matches: (state: GroupState) => boolean): Promise<GroupState> {
  let text = '';
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    const events = (text + chunk).split('\n\n');
    text = events.pop()!;
    for (const event of events) {
      if (!event.startsWith('data: ')) continue;
      const state = JSON.parse(event.slice('data: '.length)) as GroupState;
      if (matches(state)) return state;
    }
  }
  throw new Error('The stream ended without that event');
}

function allHaveAnswered({ details }: GroupState): boolean {
  return details?.members.every(({ version }) => version !== undefined) === true;
}

describe.each(['Express', 'Fastify'] as const)('the dashboard on %s', (adapter) => {
  const pods = new DashboardPods({ timing: PATIENT });
  let open = '';
  let prefixedUrl = '';
  let guarded = '';

  beforeAll(async () => {
    open = `${await pods.serve(adapter, { actions: true, user: () => 'anna' })}/hedge`;
    const wrapped = await pods.serve(adapter, {}, (app) => {
      prefixed(app);
      // As many apps wrap their results.
      app.useGlobalInterceptors({ intercept: (_, next) => next.handle().pipe(map((data: unknown) => ({ data }))) });
    });
    prefixedUrl = `${wrapped}/ops/hedge`;
    guarded = `${await pods.serve(adapter, { path: 'admin/hedge', guards: [TokenGuard], actions: true })}/admin/hedge`;
    await until(
      () =>
        pods.apps.every(
          (app) => app.get(HedgeReadiness).check().ready && app.get(ClusterService).members().length === 3,
        ),
      'three ready pods know each other',
    );
  });
  afterAll(() => pods.close());

  const post = (body: object, headers: Record<string, string> = ACTION, url = open) =>
    fetch(`${url}/api/actions`, { method: 'POST', headers, body: JSON.stringify(body) });

  const get = async (path: string) => (await fetch(`${open}/api/${path}`)).json() as Promise<object[]>;

  const records = async () => {
    const entries = await pods.apps[0]!.get(KvStore).history('hedge-dashboard/actions');
    return entries.map(({ value }) => JSON.parse(value) as ActionRecord);
  };

  it('is one page below 100 KB that loads nothing else, and runs its own script and style only', async () => {
    const response = await fetch(prefixedUrl);
    const html = await response.text();
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(html.length).toBeLessThan(100_000);
    expect(html).not.toMatch(/https?:|innerHTML|insertAdjacent|document\.write|\son\w+="/);
    const policy = response.headers.get('content-security-policy');
    expect(policy).toMatch(
      /^default-src 'none'; script-src 'sha256-[^']+'; style-src 'sha256-[^']+'; connect-src 'self'/,
    );
    expect(policy).toContain("frame-ancestors 'none'");
  });

  it('shows all members behind a global prefix, versions and interceptors that wrap results', async () => {
    const leader = pods.leader.get(LeaderService);
    const state = (await (await fetch(`${prefixedUrl}/api/state`)).json()) as GroupState;
    expect(state).toMatchObject({
      group: 'test',
      pod: pods.apps[1]!.get(ClusterService).self,
      actions: false,
      leader: { token: String(leader.fencingToken) },
      terms: [{ token: String(leader.fencingToken) }],
      memberCount: 3,
    });
    expect(state.lease!.leftMs).toBeGreaterThan(0);
    const members = state.details!.members;
    expect(members.filter(({ answering }) => answering)).toHaveLength(1);
    expect(members.filter(({ role }) => role === 'leader')).toHaveLength(1);
    expect(members.filter(({ role }) => role === 'follower')).toHaveLength(2);
    for (const member of members) expect(member).toMatchObject({ version: expect.any(String), ready: true });
    expect(state.details!.topics).toContainEqual(
      expect.objectContaining({ topic: 'price', kind: 'leader', members: 3, calls: 0, perSecond: 0, errors: {} }),
    );
  });

  it('shows calls, durations and errors of topics on all pods, and spilled data by owner', async () => {
    const [one, two] = pods.apps;
    for (let i = 0; i < 3; i += 1) await one!.get(LeaderService).send('price');
    await expect(two!.get(LeaderService).send('refund')).rejects.toMatchObject({ code: 'HANDLER_FAILED' });
    const [flush] = one!.get(InspectionService).state().topics.broadcast;
    for await (const reply of one!.get(ClusterService).broadcast(flush!)) expect(reply.error).toBeUndefined();
    const data = await two!.get(SpillStore).create('import', { copies: 2 });
    await data.write(Buffer.from('an order'));
    await data.close();
    const { address } = two!.get(ClusterService).self;
    let details: GroupState['details'];
    const topic = (name: string) => details!.topics.find((row) => row.topic === name)!;
    await until(async () => {
      ({ details } = (await (await fetch(`${open}/api/state`)).json()) as GroupState);
      return topic('refund').calls === 1 && topic(flush!).calls === 3 && details!.spill.length === 2;
    }, 'the figures of all pods');
    expect(topic('price')).toMatchObject({ calls: 3, errors: {} });
    expect(topic('price').perSecond).toBeGreaterThan(0);
    expect(topic('price').p50Ms).toBeGreaterThan(0);
    expect(topic('price').p99Ms).toBeGreaterThanOrEqual(topic('price').p50Ms!);
    expect(topic('refund').errors).toEqual({ HANDLER_FAILED: 1 });
    for (const row of details!.spill) expect(row).toMatchObject({ owner: address, name: 'import', records: 1 });
    expect(new Set(details!.spill.map(({ holder }) => holder)).size).toBe(2);
    await data.drop();
  });

  it('streams the state, and stops watching the group when the client has gone', async () => {
    const watch = jest.spyOn(GroupMonitor.prototype, 'watch');
    const response = await fetch(`${prefixedUrl}/api/events`);
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect((await eventOf(response, allHaveAnswered)).memberCount).toBe(3);
    const monitor = watch.mock.contexts[0] as GroupMonitor;
    watch.mockRestore();
    await until(() => monitor.watchers === 0, 'the end of the watch');
  });

  it('lists jobs with their outcomes, locks, and versions of keys', async () => {
    await pods.apps[1]!.get(JobsService).runNow('failing report');
    await until(
      async () => JSON.stringify(await get('jobs/history?name=failing+report')).includes('closed <b>today</b>'),
      'the outcome',
    );
    expect(await get('jobs')).toMatchObject([{ name: 'failing report' }, { name: 'yearly report' }]);
    const kv = pods.apps[1]!.get(KvStore);
    for (const value of ['1', '2']) await kv.put(`${adapter} & sons`, value);
    expect(await get(`keys?prefix=${adapter}`)).toEqual([`${adapter} & sons`]);
    const key = encodeURIComponent(`${adapter} & sons`);
    const [second, first] = (await get(`keys/history?key=${key}`)) as { value: string; version: string; id: string }[];
    expect([second!.value, first!.value]).toEqual(['2', '1']);
    expect(await get(`keys/history?key=${key}&version=${second!.version}&id=${second!.id}`)).toEqual([first]);
    expect(await get('locks')).toEqual([]);
  });

  it.each(['', '/api/state', '/api/events', '/api/jobs', '/api/keys', '/api/locks', '/api/actions'])(
    'guards %s',
    async (path) => {
      expect((await fetch(`${guarded}${path}`)).status).toBe(401);
      const allowed = await fetch(`${guarded}${path}`, { headers: { Authorization: 'Bearer secret' } });
      expect(allowed.status).toBe(200);
      await allowed.body!.cancel();
    },
  );

  it('guards the actions', async () => {
    expect((await post({ action: 'pause', name: 'yearly report' }, ACTION, guarded)).status).toBe(401);
    const allowed = { ...ACTION, Authorization: 'Bearer secret' };
    expect((await post({ action: 'resume', name: 'yearly report' }, allowed, guarded)).status).toBe(200);
  });

  it('is read-only by default', async () => {
    const response = await post({ action: 'resign' }, ACTION, prefixedUrl);
    expect(response.status).toBe(403);
    expect(await response.json()).toMatchObject({ message: expect.stringContaining('read-only') });
  });

  it.each([
    ['without its header', { 'Content-Type': 'application/json' }],
    ['from another site', { ...ACTION, 'Sec-Fetch-Site': 'cross-site' }],
    ['from another site over plain http', { ...ACTION, Origin: 'http://evil.example' }],
    ['from a page without an origin', { ...ACTION, Origin: 'null' }],
  ])('refuses an action %s', async (_, headers) => {
    const before = await records();
    expect((await post({ action: 'pause', name: 'yearly report' }, headers)).status).toBe(403);
    expect(await records()).toEqual(before);
  });

  it('pauses and runs a job, and records who did it and why', async () => {
    const jobs = pods.apps[2]!.get(JobsService);
    expect((await post({ action: 'pause', name: 'yearly report', reason: 'stocktaking' })).status).toBe(200);
    const paused = (await jobs.list()).find(({ name }) => name === 'yearly report')!.paused;
    expect(paused).toMatchObject({ by: 'anna', reason: 'stocktaking' });
    expect((await records()).slice(0, 2)).toMatchObject(
      ['done', 'begun'].map((outcome) => ({
        action: 'pause',
        name: 'yearly report',
        by: 'anna',
        reason: 'stocktaking',
        outcome,
      })),
    );
    expect((await post({ action: 'resume', name: 'yearly report' })).status).toBe(200);
    expect((await post({ action: 'run', name: 'yearly report' })).status).toBe(200);
    await until(
      async () =>
        (await jobs.history('yearly report')).some(
          ({ event, requested }) => event === 'done' && requested?.by === 'anna',
        ),
      'the run',
    );
  });

  it('records a failed action, and replies with its error', async () => {
    const response = await post({ action: 'pause', name: 'no such job' });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      error: 'INVALID_ARGUMENT',
      message: expect.stringContaining('no such job'),
    });
    expect((await records())[0]).toMatchObject({ action: 'pause', name: 'no such job', outcome: 'failed' });
  });

  it('lists the jobs once for all pages that ask at the same time, and anew after an action', async () => {
    const list = jest.spyOn(JobsService.prototype, 'list');
    try {
      await post({ action: 'resume', name: 'yearly report' });
      list.mockClear();
      await Promise.all(Array.from({ length: 5 }, () => get('jobs')));
      expect(list).toHaveBeenCalledTimes(1);
      await post({ action: 'pause', name: 'yearly report' });
      expect(await get('jobs')).toMatchObject([{}, { name: 'yearly report', paused: { by: 'anna' } }]);
      await post({ action: 'resume', name: 'yearly report' });
      expect((await get('jobs'))[1]).not.toHaveProperty('paused');
    } finally {
      list.mockRestore();
    }
  });

  it.each<[string, object]>([
    ['that it does not know', { action: 'drop' }],
    ['without a value', { action: 'put', name: 'k' }],
    ['with text as a limit', { action: 'resize', name: 's', limit: '3' }],
    ['in a list', []],
    ['without the token of the leader', { action: 'resign' }],
    ['with no token', { action: 'resign', token: '1e3' }],
    ['with a long reason', { action: 'resign', token: '1', reason: 'x'.repeat(1_001) }],
    ['with a long name', { action: 'run', name: 'x'.repeat(4_097) }],
  ])('refuses an action %s, and records nothing', async (_, body) => {
    const before = await records();
    expect((await post(body)).status).toBe(400);
    expect(await records()).toEqual(before);
  });

  it('puts a value only over the version that the person has seen', async () => {
    const kv = pods.apps[2]!.get(KvStore);
    const name = `settings of ${adapter}`;
    expect((await post({ action: 'put', name, value: 'a', ifVersion: null })).status).toBe(200);
    const seen = (await kv.get(name))!;
    const ifVersion = { version: String(seen.version), id: seen.id };
    await kv.put(name, 'by another');
    expect((await post({ action: 'put', name, value: 'b', ifVersion })).status).toBe(409);
    expect((await kv.get(name))!.value).toBe('by another');
  });

  it('resizes a semaphore', async () => {
    const semaphores = pods.apps[2]!.get(SemaphoreService);
    const permit = await semaphores.get('reports', { limit: 2 }).acquire();
    expect((await post({ action: 'resize', name: 'reports', limit: 3 })).status).toBe(200);
    await permit.release();
    const three = await semaphores.get('reports', { limit: 3 }).acquire({ permits: 3 });
    await three.release();
  });

  it('makes the leader resign, whichever pod leads, and a pod that starts later shows both terms', async () => {
    const token = pods.leader.get(LeaderService).fencingToken!;
    expect((await post({ action: 'resign', token: String(token), reason: 'test' })).status).toBe(200);
    await until(() => pods.apps.some((app) => (app.get(LeaderService).fencingToken ?? 0n) > token), 'the next leader');
    // The person has seen the former leader.
    const next = pods.leader.get(LeaderService).fencingToken;
    expect((await post({ action: 'resign', token: String(token) })).status).toBe(409);
    expect((await records())[0]).toMatchObject({ action: 'resign', token: String(token), outcome: 'failed' });
    expect(pods.leader.get(LeaderService).fencingToken).toBe(next);
    const late = await pods.serve(adapter);
    const oldest = pods.apps[0]!.get(InspectionService).state().process.startedAt;
    await until(async () => {
      const { terms, termsSince } = (await (await fetch(`${late}/hedge/api/state`)).json()) as GroupState;
      return termsSince === oldest && terms.some((term) => term.token === String(token)) && terms.length >= 2;
    }, 'the term before its start');
  });

  it('ends its streams when the app closes', async () => {
    const response = await fetch(`${open}/api/events`);
    await pods.web[0]!.close();
    await expect(eventOf(response, () => false)).rejects.toThrow('The stream ended');
  });
});

describe('the records of the actions', () => {
  it('are bounded by historyLimit, except those of the last ten minutes', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'hedge-actions-'));
    const file = join(folder, 'hedge.db');
    const pods = new DashboardPods({ timing: PATIENT, backend: sqlite({ file }) });
    try {
      const dashboard = { actions: true, guards: [], historyLimit: 10 };
      const url = `${await pods.serve('Express', dashboard)}/hedge/api/actions`;
      await until(() => pods.apps[0]!.get(HedgeReadiness).check().ready, 'a ready pod');
      const act = async (name: string) => {
        const body = JSON.stringify({ action: 'pause', name });
        expect((await fetch(url, { method: 'POST', headers: ACTION, body })).status).toBe(
          name === 'no such job' ? 400 : 200,
        );
      };
      const kept = async () => (await pods.apps[0]!.get(KvStore).history('hedge-dashboard/actions')).length;
      for (let i = 0; i < 8; i += 1) await act('yearly report');
      expect(await kept()).toBe(16);
      const database = new Database(file);
      database.exec(`UPDATE logtable SET timestamp = timestamp - 3600000000000 WHERE key = 'hedge-dashboard/actions'`);
      database.close();
      await act('yearly report');
      expect(await kept()).toBe(10);
      // Failed actions count, too.
      await act('no such job');
      expect(await kept()).toBe(10);
      const [newest] = (await (await fetch(url)).json()) as { record: string }[];
      expect(JSON.parse(newest!.record)).toMatchObject({ name: 'no such job', outcome: 'failed' });
    } finally {
      await pods.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it.each([9, 10.5, Number.NaN, -1])('cannot be bounded by %d', async (historyLimit) => {
    const pods = new DashboardPods({ timing: PATIENT });
    await expect(pods.serve('Express', { historyLimit })).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining('historyLimit of HedgeDashboardModule'),
    });
    await pods.close();
  });
});

describe('forRootAsync', () => {
  it.each([
    ['useFactory', { useFactory: () => Promise.resolve({ actions: true, user: () => 'factory' }) }],
    [
      'useClass',
      {
        useClass: class {
          createHedgeDashboardOptions = () => ({ actions: true, user: () => 'factory' });
        },
      },
    ],
  ])('takes actions and user from %s, and the guards beside it', async (_, options) => {
    const pods = new DashboardPods({ timing: PATIENT });
    try {
      const dashboard = HedgeDashboardModule.forRootAsync({ path: 'admin', guards: [TokenGuard], ...options });
      const url = `${await pods.serve('Express', dashboard)}/admin/api/actions`;
      await until(() => pods.apps[0]!.get(HedgeReadiness).check().ready, 'a ready pod');
      const body = JSON.stringify({ action: 'pause', name: 'yearly report' });
      expect((await fetch(url, { method: 'POST', headers: ACTION, body })).status).toBe(401);
      const headers = { ...ACTION, Authorization: 'Bearer secret' };
      expect((await fetch(url, { method: 'POST', headers, body })).status).toBe(200);
      const [record] = (await (await fetch(url, { headers })).json()) as { record: string }[];
      expect(JSON.parse(record!.record)).toMatchObject({ by: 'factory', outcome: 'done' });
    } finally {
      await pods.close();
    }
  });
});

describe('a start without guards', () => {
  it.each([
    ['production', {}, 1],
    ['production', { guards: [] }, 0],
    ['development', {}, 0],
  ])('in %s with %j logs %d warnings', async (environment, options, warnings) => {
    const before = process.env['NODE_ENV'];
    const warn = jest.spyOn(Logger.prototype, 'warn').mockReturnValue(undefined);
    const pods = new DashboardPods({ timing: PATIENT });
    try {
      process.env['NODE_ENV'] = environment;
      await pods.serve('Express', options);
      expect(
        warn.mock.calls.filter(([line]) => String(line).includes('HedgeDashboardModule has no guards')),
      ).toHaveLength(warnings);
    } finally {
      process.env['NODE_ENV'] = before;
      await pods.close();
      warn.mockRestore();
    }
  });
});
