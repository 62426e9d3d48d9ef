import { describe, expect, it } from '@jest/globals';
import { leaseName, jobKey } from '../database/row-names.js';
import { memory } from '../database/memory/index.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import { BackendFaults, faulty } from '../testing/faults.js';
import { cronTimes, intervalTimes } from './fire-times.js';
import type { HedgeError } from '../common/errors.js';
import type { Job, TransactionalJobRun } from './job.js';
import { JobRunner } from './job-scheduler.runner.js';
import { toJobEntry } from './ledger.js';
import { Metrics } from '../telemetry/metrics.js';

const SECOND = 1_000;
const lease = leaseName('g');
const key = jobKey('g', 'j');

/** A runner on an in-memory database whose lease was acquired. */
async function setUp(over: Partial<Job> = {}, metrics?: Metrics) {
  const clock = new VirtualClock();
  const faults = new BackendFaults();
  const backend = faulty(memory({ clock }), faults, clock).create({ timeoutMs: 1_000 });
  const holder = { address: 'a:1', incarnation: 'a' };
  const taken = await backend.lease.acquire({ name: lease, holder, leaseMs: 60_000 });
  if (!taken.acquired) throw new Error('the lease is free');
  const { token } = taken;
  const pod = { leads: true, warnings: [] as string[], errors: [] as string[] };
  const runs: (TransactionalJobRun & { end: (error?: Error) => void })[] = [];
  const runner = new JobRunner(
    {
      name: 'j',
      times: intervalTimes(10 * SECOND),
      catchUp: false,
      transactional: false,
      graceMs: 60 * SECOND,
      jitterMs: 0,
      jitter: () => 0,
      historyLimit: 1_000,
      ...over,
    },
    (run) => new Promise<void>((done, fail) => runs.push({ ...run, end: (error) => (error ? fail(error) : done()) })),
    {
      log: backend.log,
      transactions: backend.transactions,
      lease,
      key,
      leads: () => pod.leads,
      self: () => holder,
      clock,
      retryMs: 100,
      logger: { warn: (text) => pod.warnings.push(text), error: (text) => pod.errors.push(text) },
      random: () => 0.5,
      metrics,
    },
  );
  const history = async () =>
    (await backend.log.history(key, { limit: 100, order: 'oldest-first' })).map((row) => toJobEntry(row)!);
  const events = async () => (await history()).map(({ event }) => event);
  return { clock, faults, backend, token, holder, pod, runs, runner, history, events };
}

/** A data source of no library, which the memory driver accepts: its transaction is the source. */
function fakeSource() {
  const writes: string[] = [];
  return { writes, add: async (row: string) => writes.push(row) };
}

describe('job runner', () => {
  it('writes the claim and the outcome, with the firing, the pod and its token', async () => {
    const { clock, runner, runs, token, history } = await setUp();
    runner.elected(token);
    await clock.advanceAsync(10 * SECOND);
    expect(runs).toMatchObject([{ attempt: 1, fencingToken: token, signal: { aborted: false } }]);
    await clock.advanceAsync(2 * SECOND);
    runs[0]!.end();
    await clock.advanceAsync(0);
    const fireTime = new Date('2026-01-01T00:00:10.000Z');
    const about = { fireTime, lastFireTime: fireTime, count: 1, attempt: 1, pod: 'a:1', fencingToken: token };
    expect((await history()).slice(1)).toMatchObject([
      { event: 'claimed', ...about },
      { event: 'done', durationMs: 2_000, ...about },
    ]);
  });

  it('records the error of the method, and logs it once', async () => {
    const { clock, runner, runs, token, history, pod } = await setUp();
    runner.elected(token);
    await clock.advanceAsync(10 * SECOND);
    runs[0]!.end(new Error('no \0paper\ud800'));
    await clock.advanceAsync(0);
    expect((await history()).at(-1)).toMatchObject({ event: 'failed', error: 'no paper\ufffd' });
    expect(pod.errors).toHaveLength(1);
  });

  it.each([
    ['an error whose message is no text', Object.assign(new Error(), { message: { reason: 'paper' } })],
    ['a value that no text can be made of', Object.create(null) as Error],
  ])('J3: records that the method threw %s, and continues', async (_what, thrown) => {
    const { clock, runner, runs, token, events } = await setUp();
    runner.elected(token);
    await clock.advanceAsync(10 * SECOND);
    runs[0]!.end(thrown);
    await clock.advanceAsync(10 * SECOND);
    expect(await events()).toEqual(['scheduled', 'claimed', 'failed', 'claimed']);
  });

  it('J1: claims once when the answer of the database was lost', async () => {
    const { clock, faults, runner, runs, token, events } = await setUp();
    runner.elected(token);
    await clock.advanceAsync(9 * SECOND);
    faults.once('log.append', { fails: 'after-effect' }).once('log.append', { fails: 'before-effect' });
    await clock.advanceAsync(2 * SECOND);
    expect(runs).toHaveLength(1);
    expect(await events()).toEqual(['scheduled', 'claimed']);
  });

  it('J1: does not run after the lease has another token', async () => {
    const { clock, backend, holder, runner, runs, token, events } = await setUp();
    runner.elected(token);
    await clock.advanceAsync(5 * SECOND);
    await backend.lease.acquire({ name: lease, holder, leaseMs: 60_000 });
    await clock.advanceAsync(60 * SECOND);
    expect(runs).toEqual([]);
    expect(await events()).toEqual(['scheduled']);
  });

  it('J1: claims nothing when it is not the leader any more, as after its machine slept', async () => {
    const { clock, runner, runs, token, pod, events } = await setUp();
    runner.elected(token);
    await clock.advanceAsync(5 * SECOND);
    pod.leads = false;
    await clock.advanceAsync(6 * SECOND);
    expect([runs, await events()]).toEqual([[], ['scheduled']]);
    expect(pod.warnings).toEqual([]);
    runner.deposed(token, new Error('lost'));
    pod.leads = true;
    runner.elected(token);
    await clock.advanceAsync(0);
    expect(await events()).toEqual(['scheduled', 'claimed']);
    expect(runs).toHaveLength(1);
  });

  it('J1: does not run a claimed firing when it is not the leader any more', async () => {
    const { clock, faults, runner, runs, token, pod, events } = await setUp();
    runner.elected(token);
    await clock.advanceAsync(5 * SECOND);
    faults.each((call) => {
      // While the claim is being written.
      if (call === 'log.append') pod.leads = false;
    });
    await clock.advanceAsync(6 * SECOND);
    expect([runs, await events()]).toEqual([[], ['scheduled', 'claimed', 'lost']]);
  });

  it('J3: aborts a run when the term ends, and leaves its outcome to the next leader', async () => {
    const { clock, backend, holder, runner, runs, token, events } = await setUp();
    runner.elected(token);
    await clock.advanceAsync(10 * SECOND);
    runner.deposed(token, new Error('lost'));
    expect(runs[0]!.signal.aborted).toBe(true);
    const next = await backend.lease.acquire({ name: lease, holder, leaseMs: 60_000 });
    runner.elected(next.acquired ? next.token : 0n);
    await clock.advanceAsync(0);
    runs[0]!.end();
    await clock.advanceAsync(0);
    expect(await events()).toEqual(['scheduled', 'claimed', 'lost']);
  });

  it('begins no run during a drain, which waits until the outcome is recorded', async () => {
    const { clock, runner, runs, token, events } = await setUp();
    runner.elected(token);
    await clock.advanceAsync(10 * SECOND);
    let drained = false;
    void runner.drain(token).then(() => (drained = true));
    await clock.advanceAsync(30 * SECOND);
    expect([drained, runs[0]!.signal.aborted]).toEqual([false, false]);
    runs[0]!.end();
    await clock.advanceAsync(30 * SECOND);
    expect(drained).toBe(true);
    expect(await events()).toEqual(['scheduled', 'claimed', 'done']);
    expect(runs).toHaveLength(1);
  });

  it('is counted under the name of its handler when it was added at run time', async () => {
    const reports: string[] = [];
    const metrics = new Metrics('g');
    const report = (name: string, _value: number, { job }: Record<string, string>): void => {
      reports.push(`${name} ${job}`);
    };
    metrics.attach({ add: report, record: report });
    const { clock, runner, runs, token } = await setUp({ handler: 'tenant report' }, metrics);
    runner.elected(token);
    await clock.advanceAsync(10 * SECOND);
    runs[0]!.end();
    await clock.advanceAsync(0);
    expect(reports).toEqual([
      'hedge.job.lag tenant report',
      'hedge.job.duration tenant report',
      'hedge.job.firings tenant report',
    ]);
  });

  it('waits while the database is unavailable, and logs that once', async () => {
    const { clock, faults, runner, runs, token, pod } = await setUp();
    faults.outage = true;
    runner.elected(token);
    await clock.advanceAsync(20 * SECOND);
    expect(pod.warnings).toEqual([expect.stringContaining('waits for its ledger')]);
    faults.outage = false;
    await clock.advanceAsync(11 * SECOND);
    expect(runs).toHaveLength(1);
  });

  describe('of a transactional job', () => {
    const transactional = { transactional: true };

    it('J4: writes `done` with the fence, as the last statement of the transaction', async () => {
      const { clock, faults, runner, runs, token, history } = await setUp(transactional);
      const calls: string[] = [];
      faults.each((call) => void calls.push(call));
      runner.elected(token);
      await clock.advanceAsync(12 * SECOND);
      const source = fakeSource();
      calls.length = 0;
      const result = await runs[0]!.transaction(source, async (tx) => {
        await (tx as typeof source).add('invoice');
        calls.push('work');
        return 'billed';
      });
      expect([result, calls]).toEqual(['billed', ['transactions.run', 'work', 'transactions.append']]);
      runs[0]!.end();
      await clock.advanceAsync(0);
      expect(calls.slice(3)).toEqual(['log.latest']);
      expect((await history()).slice(1)).toMatchObject([
        { event: 'claimed', attempt: 1, ...transactional },
        { event: 'done', attempt: 1, durationMs: 2_000, fencingToken: token, ...transactional },
      ]);
    });

    it('J4: records an error of the work, or of the method before it, and runs the firing again', async () => {
      const { clock, runner, runs, token, events, pod } = await setUp(transactional);
      runner.elected(token);
      await clock.advanceAsync(10 * SECOND);
      const failing = runs[0]!.transaction(fakeSource(), () => Promise.reject(new Error('no paper')));
      await expect(failing).rejects.toThrow('no paper');
      runs[0]!.end(new Error('no paper'));
      await clock.advanceAsync(SECOND);
      runs[1]!.end(new Error('no ink'));
      await clock.advanceAsync(2 * SECOND);
      expect(runs.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
      expect(new Set(runs.map(({ fireTime }) => fireTime.getTime())).size).toBe(1);
      expect(await events()).toEqual(['scheduled', 'claimed', 'failed', 'claimed', 'failed', 'claimed']);
      expect(pod.errors).toEqual([
        expect.stringMatching(/failed in attempt 1: no paper$/),
        expect.stringMatching(/failed in attempt 2: no ink$/),
      ]);
    });

    it('J4: a firing whose transaction failed is not done, also when the method swallows the error', async () => {
      const { clock, runner, runs, token, history } = await setUp(transactional);
      runner.elected(token);
      await clock.advanceAsync(10 * SECOND);
      await runs[0]!.transaction(fakeSource(), () => Promise.reject(new Error('no paper'))).catch(() => undefined);
      runs[0]!.end();
      await clock.advanceAsync(0);
      expect((await history()).at(-1)).toMatchObject({ event: 'failed', error: 'no paper' });
    });

    it('J4: a firing is done when its transaction is committed, also when the method throws afterwards', async () => {
      const { clock, runner, runs, token, events, pod } = await setUp(transactional);
      runner.elected(token);
      await clock.advanceAsync(10 * SECOND);
      await runs[0]!.transaction(fakeSource(), async () => undefined);
      const second: Promise<unknown> = runs[0]!.transaction(fakeSource(), async () => undefined);
      const error = (await second.catch((thrown: unknown) => thrown)) as HedgeError;
      expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('a second time') });
      runs[0]!.end(error);
      await clock.advanceAsync(9 * SECOND);
      expect(await events()).toEqual(['scheduled', 'claimed', 'done']);
      expect(pod.errors).toEqual([expect.stringContaining('is done, but its method threw after the commit')]);
    });

    it('J4: waits for a transaction that the method did not await, and refuses one that begins later', async () => {
      const { clock, runner, runs, token, events } = await setUp(transactional);
      runner.elected(token);
      await clock.advanceAsync(10 * SECOND);
      const work = new Promise<void>((resolve) => void clock.after(2 * SECOND, resolve));
      const open = runs[0]!.transaction(fakeSource(), () => work);
      runs[0]!.end();
      await clock.advanceAsync(SECOND);
      expect(await events()).toEqual(['scheduled', 'claimed']);
      await clock.advanceAsync(SECOND);
      await open;
      expect(await events()).toEqual(['scheduled', 'claimed', 'done']);
      const late = runs[0]!.transaction(fakeSource(), async () => undefined);
      await expect(late).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    });

    it('J4: a run without a transaction is not done, and the error says how to mend the method', async () => {
      const { clock, runner, runs, token, history, pod } = await setUp(transactional);
      runner.elected(token);
      await clock.advanceAsync(10 * SECOND);
      runs[0]!.end();
      await clock.advanceAsync(SECOND);
      expect((await history()).slice(-2)).toMatchObject([
        { event: 'failed', error: expect.stringContaining('ended without run.transaction') },
        { event: 'claimed', attempt: 2 },
      ]);
      expect(pod.errors).toEqual([expect.stringContaining('Call it once in each run')]);
    });

    it('J4: after a commit without an answer, the ledger says that the firing is done', async () => {
      const { clock, faults, runner, runs, token, events } = await setUp(transactional);
      runner.elected(token);
      await clock.advanceAsync(10 * SECOND);
      faults.once('transactions.run', { fails: 'after-effect' });
      const run = runs[0]!.transaction(fakeSource(), async () => undefined);
      await expect(run).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
      runs[0]!.end();
      await clock.advanceAsync(9 * SECOND);
      expect(await events()).toEqual(['scheduled', 'claimed', 'done']);
      expect(runs).toHaveLength(1);
    });

    it('J4: records nothing of a run whose fence does not hold any more', async () => {
      const { clock, backend, holder, runner, runs, token, events } = await setUp(transactional);
      runner.elected(token);
      await clock.advanceAsync(10 * SECOND);
      await backend.lease.acquire({ name: lease, holder, leaseMs: 60_000 });
      const run = runs[0]!.transaction(fakeSource(), async () => undefined);
      await expect(run).rejects.toMatchObject({ code: 'LEASE_LOST' });
      runs[0]!.end();
      await clock.advanceAsync(9 * SECOND);
      expect(await events()).toEqual(['scheduled', 'claimed']);
    });

    it('J4: a commit without an end holds a run only for its term, and the next term reads that it is done', async () => {
      const { clock, backend, faults, holder, runner, runs, token, events, pod } = await setUp(transactional);
      runner.elected(token);
      await clock.advanceAsync(10 * SECOND);
      faults.once('transactions.run', { answerDelayMs: 9_999 * SECOND });
      const run = runs[0]!.transaction(fakeSource(), async () => undefined);
      const left = expect(run).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
      runs[0]!.end();
      await clock.advanceAsync(5 * SECOND);
      expect(runs[0]!.signal.aborted).toBe(false);
      runner.deposed(token, new Error('lost'));
      await left;
      const taken = await backend.lease.acquire({ name: lease, holder, leaseMs: 60_000 });
      if (!taken.acquired) throw new Error('the lease should have been acquired');
      runner.elected(taken.token);
      await clock.advanceAsync(6 * SECOND);
      expect(await events()).toEqual(['scheduled', 'claimed', 'done', 'claimed']);
      expect(runs.map(({ attempt }) => attempt)).toEqual([1, 1]);
      expect(pod.errors).toEqual([expect.stringContaining('without an answer')]);
    });

    it('J4: work that goes on after its term holds the next run of the job in this process', async () => {
      const { clock, backend, holder, runner, runs, token, events } = await setUp(transactional);
      runner.elected(token);
      await clock.advanceAsync(10 * SECOND);
      const work = new Promise<void>((resolve) => void clock.after(8 * SECOND, resolve));
      const run = runs[0]!.transaction(fakeSource(), () => work);
      const left = expect(run).rejects.toThrow();
      runs[0]!.end();
      await clock.advanceAsync(0);
      runner.deposed(token, new Error('lost'));
      const taken = await backend.lease.acquire({ name: lease, holder, leaseMs: 60_000 });
      if (!taken.acquired) throw new Error('the lease should have been acquired');
      runner.elected(taken.token);
      await clock.advanceAsync(7 * SECOND);
      expect([runs.length, await events()]).toEqual([1, ['scheduled', 'claimed']]);
      await clock.advanceAsync(SECOND);
      await left;
      await clock.advanceAsync(SECOND);
      expect(runs.map(({ attempt }) => attempt)).toEqual([1, 2]);
      expect(await events()).toEqual(['scheduled', 'claimed', 'lost', 'claimed']);
    });

    it('a run of another job refuses a transaction, and names the option', async () => {
      const { clock, runner, runs, token } = await setUp();
      runner.elected(token);
      await clock.advanceAsync(10 * SECOND);
      const run = runs[0]!.transaction(fakeSource(), async () => undefined);
      await expect(run).rejects.toMatchObject({
        code: 'INVALID_OPTIONS',
        message: expect.stringContaining('{ transactional: true }'),
      });
    });
  });

  it.each(['not ours', '{}', '{"event":"exploded","fireTime":"2026-01-01","through":"2026-01-01","token":"1"}'])(
    'does not run over a ledger that it cannot read: %s',
    async (value) => {
      const { clock, backend, runner, runs, token, pod } = await setUp();
      await backend.log.append([{ key, id: 'x', value, leader: 'b:1' }]);
      runner.elected(token);
      await clock.advanceAsync(20 * SECOND);
      expect(runs).toEqual([]);
      expect(pod.warnings).toEqual([expect.stringContaining('cannot be decoded')]);
    },
  );

  it('continues a ledger of version 0.1, whose last firing was an hour early after clocks were set back', async () => {
    const { clock, backend, runner, runs, token, events } = await setUp({
      times: cronTimes('0 3 * * *', 'Europe/Warsaw'),
    });
    const value =
      '{"event":"done","count":1,"attempt":1,"pod":"b:1","incarnation":"b","schedule":"0 3 * * * Europe/Warsaw",' +
      '"durationMs":5,"fireTime":"2026-10-25T01:00:00.000Z","through":"2026-10-25T01:00:00.000Z","token":"7"}';
    await backend.log.append([{ key, id: '2026-10-25T01:00:00.000Z 1 outcome', value, leader: 'b:1' }]);
    clock.jumpWall(Date.parse('2026-10-25T01:30:00Z') - clock.now().wall);
    runner.elected(token);
    await clock.advanceAsync(31 * 60 * SECOND);
    expect(runs).toMatchObject([{ fireTime: new Date('2026-10-25T02:00:00Z') }]);
    expect(await events()).toEqual(['done', 'claimed']);
  });
});
