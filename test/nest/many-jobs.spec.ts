import { Injectable, Logger } from '@nestjs/common';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Cron } from 'croner';
import { JobsService, LeaderCron, LeaderService } from 'nestjs-hedge';
import type { HedgeOptions, JobRun } from 'nestjs-hedge';
import { memory } from 'nestjs-hedge/memory';
import { PATIENT, Pods, until } from './apps.js';

Logger.overrideLogger(false);

type Factory = HedgeOptions['backend'];
type Backend = ReturnType<Factory['create']>;

const JOBS = 1_000;
/** Stands for a database on a slow disk or in another region. */
const COMMIT_MS = 12;

/** A database that runs one commit at a time for all pods together, each as slow as the given time. */
function oneCommitAtATime(factory: Factory): { factory: Factory; commits: () => number } {
  let [last, commits]: [Promise<unknown>, number] = [Promise.resolve(), 0];
  const commit = <T>(write: () => Promise<T>): Promise<T> => {
    const before = last;
    const done = (async () => {
      await before;
      await new Promise((resolve) => setTimeout(resolve, COMMIT_MS));
      commits += 1;
      return write();
    })();
    last = done.catch(() => undefined);
    return done;
  };
  const slow = ({ lease, log, permits, ...rest }: Backend, backend: Backend): Backend => ({
    ...rest,
    name: backend.name,
    open: () => backend.open(),
    close: () => backend.close(),
    permits,
    lease: {
      observes: lease.observes,
      read: (name) => lease.read(name),
      acquire: (claim) => commit(() => lease.acquire(claim)),
      renew: (held) => commit(() => lease.renew(held)),
      renewAll: (held) => commit(() => lease.renewAll(held)),
      release: (held) => commit(() => lease.release(held)),
    },
    log: {
      append: (rows, fence) => commit(() => log.append(rows, fence)),
      appendIf: (rows, fence) => commit(() => log.appendIf(rows, fence)),
      overwrite: (row, fence) => commit(() => log.overwrite(row, fence)),
      latest: (key) => log.latest(key),
      history: (key, query) => log.history(key, query),
      keys: (query) => log.keys(query),
      changes: (query) => log.changes(query),
      lastTimestamp: (prefix) => log.lastTimestamp(prefix),
    },
  });
  const create: Factory['create'] = (context) => {
    const backend = factory.create(context);
    return slow(backend, backend);
  };
  return { factory: { create }, commits: () => commits };
}

/** A class with that many jobs, all of which fire at the same seconds. */
function manyJobs(ran: (name: string, run: JobRun) => void): new () => object {
  @Injectable()
  class ManyJobs {}
  for (let index = 0; index < JOBS; index += 1) {
    const name = `job${index}`;
    const descriptor = { value: (run: JobRun) => ran(name, run), configurable: true };
    LeaderCron('*/10 * * * * *', { name })(ManyJobs.prototype, name, descriptor);
    Object.defineProperty(ManyJobs.prototype, name, descriptor);
  }
  return ManyJobs;
}

const open: Pods[] = [];

afterEach(async () => {
  await Promise.all(open.splice(0).map((pods) => pods.close()));
});

describe('many jobs', () => {
  it('are listed in many turns of the event loop, which leases and messages need too', async () => {
    @Injectable()
    class RareJobs {}
    for (let minute = 0; minute < 50; minute += 1) {
      const name = `job${minute}`;
      const descriptor = { value: () => undefined, configurable: true };
      LeaderCron(`${minute} 0 13 * +FRI`, { name })(RareJobs.prototype, name, descriptor);
      Object.defineProperty(RareJobs.prototype, name, descriptor);
    }
    const pods = new Pods({ providers: [RareJobs] }, { timing: PATIENT });
    open.push(pods);
    const jobs = (await pods.start()).get(JobsService);
    await jobs.list({ nextTimes: 0 });
    const search = jest.spyOn(Cron.prototype, 'nextRun');
    let [seen, most, listed] = [0, 0, false];
    const countTurn = (): void => {
      most = Math.max(most, search.mock.calls.length - seen);
      seen = search.mock.calls.length;
      if (!listed) setImmediate(countTurn);
    };
    countTurn();
    const statuses = await jobs.list({ nextTimes: 20, lastFirings: 0, timeoutMs: 60_000 });
    listed = true;
    const total = search.mock.calls.length;
    search.mockRestore();
    expect(statuses.map(({ nextTimes }) => nextTimes.length)).toEqual(Array.from({ length: 50 }, () => 20));
    expect(total).toBeGreaterThan(900);
    expect(most).toBeLessThan(total / 5);
  });

  it('J1, J3: run all in one term when a thousand of them are due at one second', async () => {
    const names = new Set<string>();
    const tokens = new Set<bigint>();
    const runs = { count: 0 };
    const Jobs = manyJobs((name, { fencingToken }) => {
      names.add(name);
      tokens.add(fencingToken);
      runs.count += 1;
    });
    const pods = new Pods({ providers: [Jobs] }, { timing: PATIENT });
    open.push(pods);
    const { factory, commits } = oneCommitAtATime(memory({ database: pods.database }));
    const app = await pods.start({ backend: factory });
    await until(() => names.size === JOBS && runs.count >= 2 * JOBS, 'every job has run', 120_000);
    const jobs = app.get(JobsService);
    const histories = await Promise.all([...names].map((name) => jobs.history(name, { limit: 1_000 })));
    const events = new Set(histories.flatMap((history) => history.map(({ event }) => event)));
    expect(events).toEqual(new Set(['scheduled', 'claimed', 'done']));
    expect(tokens.size).toBe(1);
    expect(app.get(LeaderService).isLeader()).toBe(true);
    // Each run writes two rows, and many rows share a commit.
    expect(commits()).toBeLessThan(runs.count / 10);
  }, 180_000);
});
