import type { LogAppend } from '../../libs/hedge/src/database/log-table.js';
import { jobKey } from '../../libs/hedge/src/database/row-names.js';
import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import { InputQueue } from '../../libs/hedge/src/common/async/input-queue.js';
import type { Job } from '../../libs/hedge/src/jobs/job.js';
import { decodeRow, encodeRow, outcomeOf, type LedgerRow } from '../../libs/hedge/src/jobs/ledger.js';
import type { JobScheduler } from '../../libs/hedge/src/jobs/job-scheduler.core.js';
import type { SchedulerEffect, SchedulerInput } from '../../libs/hedge/src/jobs/job-scheduler.messages.js';
import type { Cluster } from './cluster.js';
import type { CommitHost } from './pod-commits.js';

/** The part of their process that the jobs need. */
export interface JobHost extends CommitHost {
  leads(token: bigint): boolean;
}

/** The jobs of one process: the real core of each on the simulated database. */
export class PodJobs {
  readonly #jobs: readonly PodJob[];

  constructor(host: JobHost, cluster: Cluster) {
    this.#jobs = cluster.jobs.all.map((job) => new PodJob(job, host, cluster));
  }

  /** Whether a drain waits for one of them. */
  get busy(): boolean {
    return this.#jobs.some(({ scheduler }) => scheduler.busy);
  }

  step(input: SchedulerInput): void {
    for (const job of this.#jobs) job.step(input);
  }
}

class PodJob {
  readonly scheduler: JobScheduler;
  readonly #inputs = new InputQueue<SchedulerInput>((input) => this.#handle(input));
  #cancelWake: () => void = () => undefined;

  constructor(
    private readonly job: Job,
    private readonly host: JobHost,
    private readonly cluster: Cluster,
  ) {
    this.scheduler = cluster.parts.jobs(job, { self: () => host.self, retryMs: cluster.timing.retryMs });
  }

  step(input: SchedulerInput): void {
    this.#inputs.push(input);
  }

  #handle(input: SchedulerInput): void {
    for (const effect of this.scheduler.step(input, this.host.now())) this.#perform(effect);
  }

  #perform(effect: SchedulerEffect): void {
    const { cluster, host, job } = this;
    switch (effect.type) {
      case 'wake':
        this.#cancelWake();
        this.#cancelWake = host.after(effect.afterMs, () => this.step({ type: 'tick' }));
        return;
      case 'load': {
        const { call } = effect;
        return this.#call(
          call,
          () => cluster.database.versions(keyOf(job)).at(-1),
          (entry) => ({ type: 'loaded', call, row: entry && decodeRow(entry) }),
        );
      }
      case 'write': {
        const { call, row, token } = effect;
        return this.#call(
          call,
          () => this.#append(row, token),
          (outcome) => ({ type: outcome, call, random: cluster.random.next() }),
        );
      }
      case 'run':
        return this.#run(effect.claim);
      case 'report':
        if (effect.report.type !== 'recorded') cluster.world.count(`jobs: ${effect.report.type}`);
    }
  }

  #append(row: LedgerRow, token: bigint): 'written' | 'fenced-off' | 'conflict' {
    const { cluster, host } = this;
    const { database, parts } = cluster;
    // Without a fence the id must not save it either.
    const suffix = parts.claimsJobsUnfenced ? host.self.incarnation : '';
    if (!parts.claimsJobsUnfenced && database.lease.token !== token) return 'fenced-off';
    const entry = this.#entryOf(row);
    const [outcome] = database.append([{ ...entry, id: entry.id + suffix }], host.self.address);
    return outcome instanceof HedgeError ? 'conflict' : 'written';
  }

  #call<Result>(call: number, effect: () => Result, input: (result: Result) => SchedulerInput): void {
    const { cluster, host } = this;
    cluster.connection.call(cluster.thread(host.self.address), effect, (outcome) => {
      if (!host.alive) return;
      if (outcome.type === 'done') return this.step(input(outcome.result));
      this.step({ type: 'call-failed', call, random: cluster.random.next() });
    });
  }

  #run(claim: LedgerRow): void {
    const { cluster, host } = this;
    if (!host.leads(claim.token)) return this.step({ type: 'not-begun' });
    const { random } = cluster;
    const ended = cluster.jobs.began(this.job, claim, host.self);
    const durationMs = cluster.jobs.hurried ? random.between(1, 10) : random.skewed(1, 3_000);
    const end = (error?: string): void => {
      ended();
      this.step({ type: 'ended', end: { durationMs, ...(error !== undefined && { error }) } });
    };
    host.after(durationMs, () => {
      const fails = random.chance(0.1) && !cluster.jobs.hurried;
      if (fails || !this.job.transactional) return end(fails ? 'simulated' : undefined);
      this.#transact(claim, durationMs, end);
    });
  }

  /** As `run.transaction`: the writes of the run and its `done` row are one transaction. */
  #transact(claim: LedgerRow, durationMs: number, end: (error?: string) => void): void {
    const { cluster, host, job } = this;
    const { connection, database, fenced, jobs, parts, random, timing, world } = cluster;
    const transaction = parts.transaction(world, timing.leaseMs);
    fenced.begun(transaction, host.self);
    transaction.write(() => database.commit(jobs.counted(job, claim)));
    const row = this.#entryOf(outcomeOf(claim, { durationMs }));
    const statement = (name: string, effect: () => boolean, next: () => void): void =>
      connection.call(cluster.thread(host.self.address), effect, (outcome) => {
        if (!host.alive) return;
        if (outcome.type === 'done' && outcome.result) return next();
        world.count(`jobs: ${name}, ${outcome.type === 'done' ? 'failed' : outcome.type}`);
        fenced.disconnected(transaction);
        // Some libraries repeat a transaction.
        if (random.chance(0.6)) this.#transact(claim, durationMs, end);
        else end('the transaction failed');
      });
    statement(
      'append',
      () => database.appendIn(transaction, row, claim.token),
      () => {
        // The process may stand still here, while the transaction holds its locks.
        host.after(jobs.hurried ? 1 : random.skewed(0.5, 6_000), () =>
          statement('commit', () => transaction.commit(), end),
        );
      },
    );
  }

  #entryOf(row: LedgerRow): LogAppend {
    const { address } = this.host.self;
    return { key: keyOf(this.job), id: this.cluster.parts.jobRowId(row), value: encodeRow(row), leader: address };
  }
}

function keyOf({ name }: Job): string {
  return jobKey('g', name);
}
