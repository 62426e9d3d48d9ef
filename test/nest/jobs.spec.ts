import { Injectable, Logger, Scope } from '@nestjs/common';
import type { INestApplicationContext } from '@nestjs/common';
import { afterEach, describe, expect, it } from '@jest/globals';
import {
  HedgeError,
  HedgeReadiness,
  JobsService,
  LeaderCron,
  LeaderInterval,
  LeaderJob,
  LeaderService,
} from 'nestjs-hedge';
import type { JobDefinition, JobEntry, JobRun } from 'nestjs-hedge';
import { memory } from 'nestjs-hedge/memory';
import { systemClock } from '../../libs/hedge/src/common/clock.js';
import { MemoryDatabase } from '../../libs/hedge/src/database/memory/database.js';
import { encodeRow } from '../../libs/hedge/src/jobs/ledger.js';
import { Pods, until } from './apps.js';

Logger.overrideLogger(false);

const open: Pods[] = [];

/** Closed after the test, whatever its outcome. */
function podsOf(...[metadata, options]: ConstructorParameters<typeof Pods>): Pods {
  const pods = new Pods(metadata, options);
  open.push(pods);
  return pods;
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((pods) => pods.close()));
});

/** A job whose runs end when the test says so. */
function heldJob(options: { catchUp?: boolean } = {}) {
  const runs: (JobRun & { readonly end: () => void })[] = [];
  @Injectable()
  class Held {
    @LeaderInterval(1_000, { name: 'held', ...options })
    work(run: JobRun) {
      return new Promise<void>((resolve) => runs.push({ ...run, end: resolve }));
    }
  }
  return { Held, runs };
}

@Injectable()
class TwoNames {
  @LeaderCron('@daily', { name: 'one' }) @LeaderCron('@yearly', { name: 'two' }) a() {}
}

@Injectable()
class TwoJobs {
  @LeaderInterval(1_000, { name: 'twice' }) a() {}
  @LeaderCron('@daily', { name: 'twice' }) b() {}
}

@Injectable()
class TwoSchedules {
  @LeaderInterval(1_000) @LeaderCron('@daily') a() {}
}

@Injectable({ scope: Scope.REQUEST })
class ScopedJob {
  @LeaderInterval(1_000) work() {}
}

@Injectable()
class OddName {
  @LeaderInterval(1_000) 'nightly/report'() {}
}

async function historyOf(app: INestApplicationContext, name: string): Promise<JobEntry[]> {
  return (await app.get(JobsService).history(name, { limit: 1_000 })).reverse();
}

describe('jobs', () => {
  it('J1, J2: run each firing once in the group, also when the leader leaves', async () => {
    const runs: { app: object; fireTime: number }[] = [];
    @Injectable()
    class Ticker {
      @LeaderCron('* * * * * *', { name: 'every second' })
      tick({ fireTime }: JobRun) {
        runs.push({ app: this, fireTime: fireTime.getTime() });
      }
    }
    const pods = podsOf({ providers: [Ticker] });
    await pods.startThree();
    await until(() => runs.length >= 2, 'two firings');
    const first = pods.leader;
    await first.close();
    await until(
      () => runs.filter(({ app }) => app !== first.get(Ticker)).length >= 2,
      'two firings of the next leader',
    );

    const follower = pods.followers.find((app) => app !== first)!;
    const history = await historyOf(follower, 'every second');
    const claims = history.filter(({ event }) => event === 'claimed');
    expect(new Set(claims.map(({ pod }) => pod)).size).toBe(2);
    expect(runs.map(({ fireTime }) => fireTime)).toEqual(claims.map(({ fireTime }) => fireTime.getTime()));
    // Each row starts at the end of the row before, so no second is missing and none appears twice.
    const accounted = history.filter(({ event }) => ['scheduled', 'claimed', 'missed', 'skipped'].includes(event));
    for (const [index, { fireTime }] of accounted.slice(1).entries()) {
      const before = accounted[index]!.lastFireTime.getTime();
      expect(fireTime.getTime()).toBe((Math.floor(before / 1_000) + 1) * 1_000);
    }
    const fencingToken = String(claims[0]!.fencingToken);
    const shown = { attempt: 1, schedule: '* * * * * * UTC', fencingToken };
    expect(JSON.parse(JSON.stringify(claims[0]))).toMatchObject(shown);
  });

  it('are listed on every pod, with their next times, the run in progress and the last outcomes', async () => {
    const { Held, runs } = heldJob();
    @Injectable()
    class Nightly {
      @LeaderCron('0 3 * * *', { timeZone: 'Europe/Warsaw', name: 'nightly' }) work() {}
    }
    const pods = podsOf({ providers: [Held, Nightly] });
    await pods.startThree();
    const client = await pods.start({ mode: 'client' });
    await until(() => runs.length === 1, 'the first firing runs');
    runs[0]!.end();
    await until(() => runs.length === 2, 'the second firing runs');
    const { fireTime } = runs[1]!;
    for (const app of [pods.leader, pods.followers[0]!, client]) {
      const [held, nightly, ...others] = await app.get(JobsService).list({ nextTimes: 2 });
      expect(others).toEqual([]);
      expect(held).toMatchObject({ name: 'held', schedule: 'every 1000 ms', running: { fireTime, attempt: 1 } });
      // On a busy machine, firings between them are skipped.
      const firings = held!.lastFirings.filter(({ event }) => event !== 'skipped');
      expect(firings).toMatchObject([
        { event: 'claimed', fireTime },
        { event: 'done', fireTime: runs[0]!.fireTime, durationMs: expect.any(Number) },
      ]);
      expect(nightly).toMatchObject({ name: 'nightly', schedule: '0 3 * * * Europe/Warsaw', lastFirings: [] });
      expect(nightly).not.toHaveProperty('running');
      const [first, second] = nightly!.nextTimes.map(Number);
      expect(first).toBeGreaterThan(Date.now());
      expect(second! - first!).toBeGreaterThanOrEqual(23 * 3_600_000);
    }
    runs[1]!.end();
  });

  it('J5: are paused and resumed from any pod, also over a change of the leader', async () => {
    const { Held, runs } = heldJob();
    const pods = podsOf({ providers: [Held] }, { shutdown: { drainMs: 20_000 } });
    await pods.startThree();
    const client = await pods.start({ mode: 'client' });
    await until(() => runs.length === 1, 'the job runs');
    await client.get(JobsService).pause('held', { reason: 'the warehouse moves', by: 'ann' });
    runs[0]!.end();
    const first = pods.leader;
    await first.close();
    pods.apps.splice(pods.apps.indexOf(first), 1);
    await until(() => pods.apps.some((app) => app.get(LeaderService).isLeader()), 'another pod leads');

    const jobs = pods.followers[0]!.get(JobsService);
    await jobs.pause('held');
    const [held] = await jobs.list();
    const paused = { by: 'ann', reason: 'the warehouse moves', since: expect.any(Date) };
    expect(held).toMatchObject({ paused, nextTimes: [], lastFirings: [{ event: 'done' }] });
    const { since } = held!.paused!;
    await until(() => Date.now() > since.getTime() + 2_500, 'two firings were due');
    await jobs.resume('held');
    await until(() => runs.length === 2, 'the job runs again');
    const entries = await historyOf(client, 'held');
    const missed = entries.find(({ event }) => event === 'missed');
    expect(missed).toMatchObject({ paused: true });
    expect(missed!.count).toBeGreaterThanOrEqual(2);
    expect(runs[1]!.fireTime.getTime()).toBeGreaterThan(missed!.lastFireTime.getTime());
    expect((await jobs.list())[0]).not.toHaveProperty('paused');
    runs[1]!.end();
  });

  it('J6: run now from any pod, once for each id, also while they are paused', async () => {
    const { Held, runs } = heldJob();
    const pods = podsOf({ providers: [Held] });
    await pods.startThree();
    const client = await pods.start({ mode: 'client' });
    const [jobs, others] = [client.get(JobsService), pods.followers[0]!.get(JobsService)];
    await jobs.pause('held');
    await until(async () => {
      for (const run of runs.splice(0)) run.end();
      return (await jobs.list())[0]?.running === undefined;
    }, 'no run goes on');

    const { id } = await jobs.runNow('held', { reason: 'try the fix', by: 'ann' });
    await until(() => runs.length === 1, 'the requested run begins');
    await others.runNow('held', { id });
    await expect(others.runNow('held')).rejects.toMatchObject({ code: 'CONFLICT', retryable: false });
    runs[0]!.end();
    await until(async () => (await jobs.list())[0]?.running === undefined, 'it has ended');
    await others.runNow('held', { id });
    expect(runs).toHaveLength(1);
    // Also while another run goes on.
    await jobs.runNow('held');
    await until(() => runs.length === 2, 'another run begins');
    await others.runNow('held', { id });
    await expect(others.runNow('held')).rejects.toMatchObject({ code: 'CONFLICT' });
    runs[1]!.end();
    expect(runs).toHaveLength(2);
    const rows = (await historyOf(client, 'held')).filter(({ requested }) => requested?.id === id);
    expect(rows).toMatchObject([
      { event: 'claimed', requested: { by: 'ann', reason: 'try the fix' } },
      { event: 'done', fireTime: runs[0]!.fireTime },
    ]);
    await expect(jobs.runNow('held', { id: 'new\nline' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(jobs.runNow('nothing')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('are added, changed and removed at run time, and run under the next leader', async () => {
    const runs: { data: unknown; app: object }[] = [];
    @Injectable()
    class Tenants {
      @LeaderJob('tenant report')
      report({ data }: JobRun) {
        runs.push({ data, app: this });
      }
    }
    const pods = podsOf({ providers: [Tenants] });
    await pods.startThree();
    const client = await pods.start({ mode: 'client' });
    const jobs = client.get(JobsService);
    const definition = { name: 'report of 17', handler: 'tenant report', everyMs: 1_000 };
    await jobs.add({ ...definition, data: { tenant: 17 } }, { by: 'ann' });
    await until(() => runs.length >= 2, 'it runs');
    const first = pods.leader;
    await first.close();
    pods.apps.splice(pods.apps.indexOf(first), 1);
    await until(() => runs.some(({ app }) => app !== first.get(Tenants)), 'it runs under the next leader');
    expect(new Set(runs.map(({ data }) => JSON.stringify(data)))).toEqual(new Set(['{"tenant":17}']));

    await jobs.add({ ...definition, data: 'changed' });
    await until(() => runs.some(({ data }) => data === 'changed'), 'it runs with the new data');
    const [status] = await jobs.list();
    expect(status).toMatchObject({
      schedule: 'every 1000 ms',
      added: { handler: 'tenant report', data: 'changed', runnable: true },
    });
    const history = await historyOf(client, 'report of 17');
    expect(history.filter(({ event }) => event === 'scheduled')).toHaveLength(1);

    await jobs.remove('report of 17');
    expect(await jobs.list()).toEqual([]);
    const { length } = runs;
    const removedAt = Date.now();
    await until(() => Date.now() > removedAt + 1_500, 'a firing would have been due');
    expect(runs).toHaveLength(length);
    await expect(jobs.remove('report of 17')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('J6: begin one run for each id, also when many later ones have passed in a short history', async () => {
    const runs: JobRun[] = [];
    @Injectable()
    class Yearly {
      @LeaderCron('@yearly', { name: 'yearly', historyLimit: 10 })
      work(run: JobRun) {
        runs.push(run);
      }
    }
    const jobs = (await podsOf({ providers: [Yearly] }).start()).get(JobsService);
    const idle = async () => (await jobs.list())[0]?.running === undefined;
    for (let run = 0; run < 12; run += 1) {
      await jobs.runNow('yearly', { id: `run ${run}` });
      await until(idle, 'the run has ended');
    }
    await jobs.runNow('yearly', { id: 'run 0' });
    await until(idle, 'no run goes on');
    expect(runs).toHaveLength(12);
    await expect(jobs.runNow('yearly', { timeoutMs: 3_600_001 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('do not run on demand after their removal, also while their last run goes on', async () => {
    const ends: (() => void)[] = [];
    @Injectable()
    class Held {
      @LeaderJob('held')
      work() {
        return new Promise<void>((resolve) => ends.push(resolve));
      }
    }
    const jobs = (await podsOf({ providers: [Held] }).start()).get(JobsService);
    const definition = { name: 'added', handler: 'held', cron: '@yearly' };
    await jobs.add(definition);
    await jobs.runNow('added');
    await until(() => ends.length === 1, 'it runs');
    await jobs.remove('added');
    const none = { code: 'INVALID_ARGUMENT', message: expect.stringContaining("There is no job 'added'") };
    await expect(jobs.runNow('added')).rejects.toMatchObject(none);
    ends[0]!();
    await until(async () => (await jobs.history('added')).some(({ event }) => event === 'done'), 'it has ended');
    await expect(jobs.runNow('added')).rejects.toMatchObject(none);
    await jobs.add(definition);
    await jobs.runNow('added');
    await until(() => ends.length === 2, 'it runs again');
    ends[1]!();
  });

  it('do not run by their old definition in the next term, also while a run of it goes on', async () => {
    const ends: (() => void)[] = [];
    let ticks = 0;
    @Injectable()
    class Held {
      @LeaderJob('held')
      work() {
        return new Promise<void>((resolve) => ends.push(resolve));
      }
      @LeaderInterval(1_000)
      tick() {
        ticks += 1;
      }
    }
    const app = await podsOf({ providers: [Held] }, { shutdown: { drainMs: 50 } }).start();
    const [jobs, leader] = [app.get(JobsService), app.get(LeaderService)];
    await jobs.add({ name: 'added', handler: 'held', everyMs: 1_000 });
    await until(() => ends.length === 1, 'it runs');
    await jobs.add({ name: 'added', handler: 'of the next version', everyMs: 1_000 });
    await leader.resign();
    await until(() => leader.isLeader(), 'the pod leads again');
    await until(async () => (await jobs.list()).some(({ name }) => name === 'added'), 'the registry was read');
    ends[0]!();
    const before = ticks;
    await until(() => ticks >= before + 2, 'other jobs run');
    expect(ends).toHaveLength(1);
    expect((await jobs.list()).find(({ name }) => name === 'added')?.added).toMatchObject({ runnable: false });
  }, 30_000);

  it('follow all changes but one that the database refuses', async () => {
    const pods = podsOf({ providers: [TwoNames] });
    const { database } = pods;
    const append = database.append.bind(database);
    database.append = (rows, fence) => {
      if (!rows.some(({ value }) => value.includes('too long for this database'))) return append(rows, fence);
      throw new HedgeError('INVALID_ARGUMENT', 'the row is too large');
    };
    const jobs = (await pods.start()).get(JobsService);
    const outcomes = await Promise.allSettled([
      jobs.pause('one', { reason: 'too long for this database' }),
      jobs.pause('two', { by: 'ann' }),
    ]);
    expect(outcomes).toMatchObject([
      {
        reason: {
          code: 'INVALID_ARGUMENT',
          message: expect.stringContaining('nothing was done: the row is too large'),
        },
      },
      { status: 'fulfilled' },
    ]);
    await jobs.runNow('one');
    expect((await jobs.list()).map(({ name, paused }) => [name, paused?.by])).toEqual([
      ['one', undefined],
      ['two', 'ann'],
    ]);
  });

  it('are listed without the rows of their history that another program has written', async () => {
    const pods = podsOf({ providers: [TwoNames] });
    const jobs = (await pods.start()).get(JobsService);
    await jobs.runNow('one');
    await until(async () => (await jobs.list())[0]?.running === undefined, 'the run has ended');
    pods.database.append([{ key: '__hedge/job/test/one', id: 'foreign', value: '{}', leader: 'x:1' }], undefined);
    expect((await jobs.history('one')).map(({ event }) => event)).toEqual(['done', 'claimed', 'scheduled']);
    expect(await jobs.list()).toMatchObject([{ name: 'one', lastFirings: [{ event: 'done' }] }, { name: 'two' }]);
  });

  it('are added for later when the leader has no method for them', async () => {
    const pods = podsOf({ providers: [TwoNames] });
    const jobs = (await pods.start()).get(JobsService);
    await jobs.add({ name: 'later', handler: 'of the next version', cron: '@daily' });
    expect((await jobs.list()).map(({ name, added }) => [name, added?.runnable])).toEqual([
      ['later', false],
      ['one', undefined],
      ['two', undefined],
    ]);
    await jobs.pause('later');
    expect((await jobs.list())[0]).toMatchObject({ paused: {} });
    await expect(jobs.runNow('later')).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining("no method with @LeaderJob('of the next version')"),
    });
  });

  it.each([
    ['the name of a decorated job', { name: 'one', handler: 'h', everyMs: 1_000 }, 'declared by TwoNames.a'],
    ['no timetable', { name: 'x', handler: 'h' }, 'no timetable, or two'],
    ['two timetables', { name: 'x', handler: 'h', everyMs: 1_000, cron: '@daily' }, 'no timetable, or two'],
    ['a wrong cron expression', { name: 'x', handler: 'h', cron: 'noon' }, 'cron expression'],
    ['the name of a property as cron expression', { name: 'x', handler: 'h', cron: 'constructor' }, 'cron expression'],
    ['a long cron expression', { name: 'x', handler: 'h', cron: `0 3 * * ${'1,'.repeat(500)}1` }, '1000 characters'],
    ['no handler', { name: 'x', handler: '', everyMs: 1_000 }, 'handler'],
    ['data that JSON does not preserve', { name: 'x', handler: 'h', everyMs: 1_000, data: { at: 1n } }, 'BigInt'],
    ['large data', { name: 'x', handler: 'h', everyMs: 1_000, data: 'x'.repeat(2_000) }, '2000 characters'],
    ['an option that does not exist', { name: 'x', handler: 'h', every: 1_000 }, 'everyMs'],
  ])('are not added with %s', async (_, definition, message) => {
    const jobs = (await podsOf({ providers: [TwoNames] }).start()).get(JobsService);
    await expect(jobs.add(definition as JobDefinition)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining(message),
    });
    await expect(jobs.remove('one')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('are not paused under a name that the leader does not know, or with invalid options', async () => {
    const jobs = (await podsOf({ providers: [TwoNames] }).start()).get(JobsService);
    await expect(jobs.pause('nothing')).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining("There is no job 'nothing'"),
    });
    await expect(jobs.pause('one', { by: '' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(jobs.resume('one', { reason: 'x'.repeat(1_001) })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await jobs.resume('one');
  });

  it('finish during a graceful stop, which records their outcome', async () => {
    const { Held, runs } = heldJob();
    const pods = podsOf({ providers: [Held] }, { shutdown: { drainMs: 20_000 } });
    const app = await pods.start();
    await until(() => runs.length === 1, 'the job runs');
    const next = await pods.start();
    let closed = false;
    const closing = app.close().then(() => (closed = true));
    await until(() => app.get(HedgeReadiness).check().stopping, 'the stop begins');
    expect([closed, runs[0]!.signal.aborted]).toEqual([false, false]);
    runs[0]!.end();
    await closing;
    expect((await historyOf(next, 'held')).slice(1, 3)).toMatchObject([{ event: 'claimed' }, { event: 'done' }]);
    await until(() => runs.length === 2, 'the next leader runs the next firing');
    runs[1]!.end();
  });

  it('J3: are aborted at the end of the stop, then reported as lost, and run once more with catchUp', async () => {
    const { Held, runs } = heldJob({ catchUp: true });
    const pods = podsOf({ providers: [Held] }, { shutdown: { drainMs: 50 } });
    const app = await pods.start();
    await until(() => runs.length === 1, 'the job runs');
    const next = await pods.start();
    await app.close();
    expect(runs[0]!.signal.aborted).toBe(true);
    runs[0]!.end();
    await until(() => runs.length === 2, 'the next leader runs it again');
    expect(runs[1]).toMatchObject({ fireTime: runs[0]!.fireTime, attempt: 2 });
    expect(runs[1]!.fencingToken).toBeGreaterThan(runs[0]!.fencingToken);
    runs[1]!.end();
    const events = (await historyOf(next, 'held')).map(({ event }) => event);
    expect(events.slice(0, 4)).toEqual(['scheduled', 'claimed', 'lost', 'claimed']);
  });

  it('keep the last rows of their history only, and those of the last hour', async () => {
    const runs: number[] = [];
    @Injectable()
    class Often {
      @LeaderInterval(1_000, { name: 'often', historyLimit: 10 })
      work({ fireTime }: JobRun) {
        runs.push(fireTime.getTime());
      }
    }
    // The clock of the database.
    const shift = { hours: -2 };
    const wall = () => Date.now() + shift.hours * 3_600_000;
    const database = new MemoryDatabase({ ...systemClock, now: () => ({ ...systemClock.now(), wall: wall() }) });
    const pods = podsOf({ providers: [Often] }, { backend: memory({ database }) });
    const key = '__hedge/job/test/often';
    const old = Array.from({ length: 30 }, (_, n) => ({ key, id: `${n}`, value: '{}', leader: 'a:1' }));
    database.append(old, undefined);
    const row = { event: 'done', fireTime: 0, through: 0, count: 1, attempt: 1, pod: 'a:1', incarnation: 'a' };
    const last = encodeRow({ ...row, event: 'done', token: 1n, schedule: 'every 1000 ms' });
    database.append([{ key, id: 'last', value: last, leader: 'a:1' }], undefined);
    shift.hours = 0;
    const app = await pods.start();
    const rows = () => database.history(key, { limit: 99, order: 'oldest-first' });
    await until(() => runs.length >= 8 && rows().every(({ leader }) => leader !== 'a:1'), 'old rows are deleted');
    // The claims and the outcomes of seven runs, and the claim of the last one.
    expect(rows().length).toBeGreaterThanOrEqual(15);
    const before = BigInt(wall()) * 1_000_000n;
    shift.hours = 2;
    // When ten younger rows are there, none of these is among the last ten.
    await until(() => rows().every(({ timestamp }) => timestamp > before), 'the rows of these runs are trimmed');
    await app.close();
    expect(rows().some(({ id }) => id === '0')).toBe(false);
    expect(rows().length).toBeGreaterThanOrEqual(10);
  });

  it.each([
    ['two jobs with one name', TwoJobs, "both declare the job 'twice'"],
    ['two schedules of one method without names', TwoSchedules, 'it has two timetables'],
    ['a class without a single instance', ScopedJob, 'request-scoped'],
    [
      'a method whose name is not valid for a job',
      OddName,
      "'OddName.nightly/report'. Give 1 to 128 visible characters",
    ],
  ])('fail the start: %s', async (_, Wrong, message) => {
    await expect(podsOf({ providers: [Wrong] }).start()).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining(message),
    });
  });

  it('have an empty history under an unknown name, and their calls refuse invalid arguments', async () => {
    const app = await podsOf().start({ mode: 'client' });
    const jobs = app.get(JobsService);
    expect(await jobs.history('nothing')).toEqual([]);
    await expect(jobs.history('')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(jobs.history('x', { limit: 0 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(jobs.list({ nextTimes: 101 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(jobs.list({ lastFirings: -1 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(jobs.list({ timeoutMs: 100 })).rejects.toMatchObject({ code: 'NO_LEADER' });
  });
});
