import type { LogAppend } from '../../libs/hedge/src/database/log-table.js';
import { jobKey, jobRegistryKey } from '../../libs/hedge/src/database/row-names.js';
import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import { InputQueue } from '../../libs/hedge/src/common/async/input-queue.js';
import type { Job } from '../../libs/hedge/src/jobs/job.js';
import { decodeRow, encodeRow, outcomeOf, type LedgerRow, type RunRequest } from '../../libs/hedge/src/jobs/ledger.js';
import type { JobScheduler } from '../../libs/hedge/src/jobs/job-scheduler.core.js';
import { decodeJobRequest, encodeJobRequest, JOB_REQUEST } from '../../libs/hedge/src/jobs/job-requests.js';
import type { JobAction } from '../../libs/hedge/src/jobs/job-requests.js';
import {
  controlOf,
  REMOVED,
  type RequestOutcome,
  type SchedulerControl,
  type SchedulerEffect,
  type SchedulerInput,
} from '../../libs/hedge/src/jobs/job-scheduler.messages.js';
import type { JobRegistry } from '../../libs/hedge/src/jobs/registry/job-registry.core.js';
import type { RegistryEffect, RegistryInput } from '../../libs/hedge/src/jobs/registry/job-registry.messages.js';
import {
  decodeRegistryRow,
  encodeRegistryRow,
  registryRowId,
  type JobChange,
  type JobRecords,
  type RegistryRow,
} from '../../libs/hedge/src/jobs/registry/registry-row.js';
import { notLeading } from '../../libs/hedge/src/messaging/leader-route.js';
import { NO_PAYLOAD, type Encoded } from '../../libs/hedge/src/messaging/message.js';
import type { Cluster } from './cluster.js';
import type { CommitHost } from './pod-commits.js';
import { ADDED_JOB, timesOf } from './job-oracle.js';
import type { PodMessaging } from './pod-messaging.js';

/** The part of their process that the jobs need. */
export interface JobHost extends CommitHost {
  leads(token: bigint): boolean;
}

const REGISTRY_KEY = jobRegistryKey('g');

/** The database refuses each row of the registry that has a change with this reason, as one that is too large. */
export const REFUSED_REASON = 'refused';

/** The rows that a ledger keeps, and the time for which the id of a requested run counts, in nanoseconds. */
const KEPT_ROWS = 10;
const RUN_ID_NS = 30_000_000_000n;

/** As `JobServer`: all jobs but one are decorated. */
function controlIn(records: JobRecords, name: string): SchedulerControl {
  const record = records.get(name);
  return name === ADDED_JOB && record?.added === undefined ? REMOVED : controlOf(record);
}

/** The job by its present definition. */
function jobIn(records: JobRecords, job: Job): Job {
  const added = records.get(job.name)?.added;
  return added === undefined ? job : { ...job, times: timesOf(String(added.definition.everyMs)) };
}

interface Asked {
  done(payload: Encoded): void;
  failed(error: unknown): void;
}

/** The jobs of one process: the real core of each, and of the registry, on the simulated database. */
export class PodJobs {
  readonly #jobs: ReadonlyMap<string, PodJob>;
  readonly #registry: JobRegistry;
  readonly #inputs = new InputQueue<RegistryInput>((input) => this.#handle(input));
  readonly #asked = new Map<number, Asked>();
  #tickets = 0;
  #cancelWake: () => void = () => undefined;

  constructor(
    private readonly host: JobHost,
    private readonly messaging: PodMessaging,
    private readonly cluster: Cluster,
  ) {
    const onHeld = (name: string): void => void this.#inputs.push({ type: 'held', name });
    this.#jobs = new Map(cluster.jobs.all.map((job) => [job.name, new PodJob(job, host, cluster, onHeld)]));
    this.#registry = cluster.parts.jobRegistry({ pod: () => host.self.address, retryMs: cluster.timing.retryMs });
    messaging.serve(JOB_REQUEST, ({ payload }, done, failed) => this.#serve(decodeJobRequest(payload), done, failed));
  }

  /** Whether a drain waits for one of them. */
  get busy(): boolean {
    return [...this.#jobs.values()].some(({ scheduler }) => scheduler.busy);
  }

  step(input: { readonly type: 'elected' | 'deposed' | 'draining'; readonly token: bigint }): void {
    this.#inputs.push(input);
    const { type, token } = input;
    if (type !== 'elected') for (const job of this.#jobs.values()) job.step({ type, token });
  }

  /** As `JobsService` of this process: asks the leader. @param ended called with the error, if there was one */
  ask(action: JobAction, timeoutMs: number, ended: (error?: unknown) => void): void {
    const request = { to: 'leader' as const, type: JOB_REQUEST, topic: '', name: `${action.$case} a job`, timeoutMs };
    this.messaging.request({ ...request, payload: encodeJobRequest(action) }).then(() => ended(), ended);
  }

  /** As `JobServer.handle`. */
  #serve(action: JobAction, done: Asked['done'], failed: Asked['failed']): void {
    if (action.$case === 'list') throw new Error('not simulated');
    const { name, by, reason } = action.value;
    if (action.$case === 'run' && !this.#isThere(name))
      return failed(new HedgeError('INVALID_ARGUMENT', 'no such job'));
    if (action.$case === 'run') return this.#job(name).request({ id: action.value.id, by }, done, failed);
    const ticket = (this.#tickets += 1);
    this.#asked.set(ticket, { done, failed });
    const change: JobChange =
      action.$case === 'add'
        ? { type: 'add', name, by, reason, definition: { handler: name, ...JSON.parse(action.value.definition) } }
        : { type: action.$case, name, by, reason };
    this.#inputs.push({ type: 'request', ticket, change });
  }

  #isThere(name: string): boolean {
    return controlIn(this.#registry.records, name) !== REMOVED;
  }

  #job(name: string): PodJob {
    const job = this.#jobs.get(name);
    if (job === undefined) throw new Error(`no job ${name}`);
    return job;
  }

  #handle(input: RegistryInput): void {
    for (const effect of this.#registry.step(input, this.host.now())) this.#perform(effect);
  }

  #perform(effect: RegistryEffect): void {
    const { cluster, host } = this;
    switch (effect.type) {
      case 'wake':
        this.#cancelWake();
        this.#cancelWake = host.after(effect.afterMs, () => this.#inputs.push({ type: 'tick' }));
        return;
      case 'load': {
        const { call } = effect;
        return this.#call(
          call,
          () => cluster.database.versions(REGISTRY_KEY).at(-1),
          (entry) => ({ type: 'loaded', call, row: entry && decodeRegistryRow(entry) }),
        );
      }
      case 'write': {
        const { call, row, token } = effect;
        return this.#call(
          call,
          () => this.#append(row, token),
          (outcome) =>
            outcome === 'refused'
              ? { type: outcome, call, problem: 'too large' }
              : { type: outcome, call, random: cluster.random.next() },
        );
      }
      case 'start':
        for (const [name, job] of this.#jobs) {
          const control = controlIn(effect.records, name);
          job.follow(effect.records);
          job.step({ type: 'elected', token: effect.token, control });
        }
        return;
      case 'hold':
        return this.#jobs.get(effect.name)?.step({ type: 'hold' });
      case 'apply':
        for (const name of effect.names) {
          this.#jobs.get(name)?.follow(effect.records);
        }
        return;
      case 'settle': {
        const asked = this.#asked.get(effect.ticket);
        this.#asked.delete(effect.ticket);
        if (effect.outcome === 'done') asked?.done(NO_PAYLOAD);
        else if (effect.outcome === 'refused') asked?.failed(new HedgeError('INVALID_ARGUMENT', effect.problem));
        else asked?.failed(notLeading());
      }
    }
  }

  #append(row: RegistryRow, token: bigint): 'written' | 'fenced-off' | 'conflict' | 'refused' {
    const { database, parts } = this.cluster;
    const { address } = this.host.self;
    if (row.changes.some(({ reason }) => reason === REFUSED_REASON)) return 'refused';
    if (!parts.changesJobsUnfenced && database.lease.token !== token) return 'fenced-off';
    const entry = { key: REGISTRY_KEY, id: registryRowId(row), value: encodeRegistryRow(row) };
    return database.append([entry], address)[0] instanceof HedgeError ? 'conflict' : 'written';
  }

  #call<Result>(call: number, effect: () => Result, input: (result: Result) => RegistryInput): void {
    const { cluster, host } = this;
    cluster.connection.call(cluster.thread(host.self.address), effect, (outcome) => {
      if (!host.alive) return;
      const failed = { type: 'call-failed', call, random: cluster.random.next() } as const;
      this.#inputs.push(outcome.type === 'done' ? input(outcome.result) : failed);
    });
  }
}

class PodJob {
  readonly scheduler: JobScheduler;
  readonly #inputs = new InputQueue<SchedulerInput>((input) => this.#handle(input));
  #cancelWake: () => void = () => undefined;
  readonly #requests = new Map<number, { readonly id: string } & Asked>();
  #tickets = 0;

  constructor(
    private readonly job: Job,
    private readonly host: JobHost,
    private readonly cluster: Cluster,
    private readonly onHeld: (name: string) => void,
  ) {
    this.scheduler = cluster.parts.jobs(job, { self: () => host.self, retryMs: cluster.timing.retryMs });
  }

  step(input: SchedulerInput): void {
    this.#inputs.push(input);
  }

  follow(records: JobRecords): void {
    const { job } = this;
    this.step({ type: 'control', control: controlIn(records, job.name), job: jobIn(records, job) });
  }

  /** As `JobServer.handle`. */
  request(request: RunRequest, done: Asked['done'], failed: Asked['failed']): void {
    const ticket = (this.#tickets += 1);
    this.#requests.set(ticket, { id: request.id, done, failed });
    this.step({ type: 'request', ticket, request });
  }

  #settle(ticket: number, outcome: RequestOutcome): void {
    const { cluster, host, job } = this;
    const request = this.#requests.get(ticket);
    this.#requests.delete(ticket);
    if (request === undefined) throw new Error(`request ${ticket} is settled twice`);
    const { id, done, failed } = request;
    if (outcome === 'claimed') return done(NO_PAYLOAD);
    if (outcome === 'not-leading') return failed(notLeading());
    const search = (): boolean =>
      cluster.database.versions(keyOf(job)).some((entry) => decodeRow(entry).requested?.id === id);
    cluster.connection.call(cluster.thread(host.self.address), search, (found) => {
      if (!host.alive) return;
      if (found.type !== 'done') failed(new HedgeError('BACKEND_UNAVAILABLE', 'simulated'));
      else if (found.result) done(NO_PAYLOAD);
      else failed(new HedgeError('CONFLICT', 'another run goes on'));
    });
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
        if (row.event === 'claimed' && !host.leads(token)) {
          cluster.world.count('jobs: not claimed without the lease');
          return this.step({ type: 'call-failed', call, random: cluster.random.next() });
        }
        return this.#call(
          call,
          () => this.#append(row, token),
          (outcome) => ({ type: outcome, call, random: cluster.random.next() }),
        );
      }
      case 'run':
        return this.#run(effect.claim);
      case 'settle':
        return this.#settle(effect.ticket, effect.outcome);
      case 'held':
        return this.onHeld(job.name);
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
    if (outcome === undefined || outcome instanceof HedgeError) return 'conflict';
    this.#trim(token, outcome.timestamp);
    return 'written';
  }

  /** As `LedgerTrimmer`. After a jump of the clock of the database, the ids of runs may count for less time. */
  #trim(token: bigint, written: bigint): void {
    const { cluster, host, job } = this;
    const { connection, database, parts, world } = cluster;
    if (database.clockHasJumped) return;
    const before = parts.trimsRequestedRuns ? {} : { before: written - RUN_ID_NS };
    const trim = { key: keyOf(job), keep: KEPT_ROWS, limit: Infinity, ...before };
    const deleted = (): number => (database.lease.token === token ? database.trim(trim) : 0);
    connection.call(cluster.thread(host.self.address), deleted, (outcome) => {
      if (outcome.type === 'done' && outcome.result > 0) world.count('jobs: trimmed');
    });
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
