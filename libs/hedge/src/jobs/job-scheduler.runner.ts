import { abortInFreshContext, inFreshContext } from '../common/async/async-context.js';
import { withTokenInJson } from '../common/token-in-json.js';
import type { LogAppend, LogTable } from '../database/log-table.js';
import type { Clock } from '../common/clock.js';
import { HedgeError, messageOf } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import { InputQueue } from '../common/async/input-queue.js';
import type { Logger } from '../common/line-logger.js';
import type { LogFields } from '../common/log-events.js';
import type { UserTransactions } from '../database/user-transactions.js';
import type { Job, TransactionalJobRun } from './job.js';
import { JobTransaction, refuseTransaction } from './job-transaction.js';
import { decodeRow, encodeRow, outcomeOf, rowIdOf, type LedgerRow, type RunRequest } from './ledger.js';
import { describeReport, fieldsOfReport } from './reports.js';
import { JobScheduler } from './job-scheduler.core.js';
import {
  NOT_PAUSED,
  type RequestOutcome,
  type SchedulerControl,
  type SchedulerEffect,
  type SchedulerInput,
} from './job-scheduler.messages.js';
import type { JobStatus } from '../wire/hedge/v1/job.js';
import { guardedController } from '../common/async/guarded-signal.js';
import { runTraced } from '../telemetry/tracing.js';
import { type Metrics, NO_METRICS } from '../telemetry/metrics.js';

/** The part of the log table that jobs use. */
export type JobLog = Pick<LogTable, 'append' | 'latest'>;

export interface JobSchedulerRunnerOptions {
  readonly log: JobLog;
  /** Needed by a transactional job. */
  readonly transactions?: UserTransactions | undefined;
  /** Row name of the election lease, whose token fences all rows. */
  readonly lease: string;
  /** Key of the ledger of the job. */
  readonly key: string;
  /** Whether this process leads in this term, checked at the call (L2). */
  readonly leads: (token: bigint) => boolean;
  readonly self: () => MemberId;
  readonly clock: Clock;
  /** First pause before a retry of a call to the database, in milliseconds. Grows with jitter up to four times this. */
  readonly retryMs: number;
  readonly logger: Pick<Logger, 'warn' | 'error'>;
  /** Notified of each run that its pod cannot finish as leader, in words for the log. */
  readonly onCutShort?: ((what: string) => void) | undefined;
  /** Notified after each row that this pod wrote, with its commit time. */
  readonly onWritten?: ((key: string, keep: number, token: bigint, timestamp: bigint) => void) | undefined;
  /** Notified after `hold`, when no claim is being written. */
  readonly onHeld?: ((job: string) => void) | undefined;
  readonly random?: () => number;
  readonly metrics?: Metrics | undefined;
}

/**
 * Runs one job while this process leads: performs the effects of the core `JobScheduler` on the log table and on timers.
 * Two runs of the job never overlap in this process.
 *
 * @example
 * const runner = new JobRunner(job, (run) => reports.nightly(run), { log: backend.log, … });
 * runner.elected(token); // runs the job until runner.deposed(token, reason)
 */
export class JobRunner {
  readonly #scheduler: JobScheduler;
  readonly #metrics: Metrics;
  /** The claim of a transactional run that reported no error. */
  #committed: LedgerRow | undefined;
  readonly #inputs = new InputQueue<SchedulerInput>((input) => this.#handle(input));
  #run: { readonly token: bigint; readonly scope: AbortController } | undefined;
  #cancelWake: () => void = () => undefined;
  #idle: (() => void)[] = [];
  #unavailable = false;
  #tickets = 0;
  readonly #requests = new Map<number, (outcome: RequestOutcome) => void>();

  constructor(
    private job: Job,
    private method: (run: TransactionalJobRun) => unknown,
    private readonly options: JobSchedulerRunnerOptions,
  ) {
    this.#scheduler = new JobScheduler(job, options);
    this.#metrics = options.metrics ?? NO_METRICS;
  }

  elected(token: bigint, control = NOT_PAUSED): void {
    this.#step({ type: 'elected', token, control });
  }

  /** Whether a run is in progress, or a row is being written. */
  get busy(): boolean {
    return this.#scheduler.busy;
  }

  /** Follows a change of the registry. */
  control(control: SchedulerControl): void {
    this.#step({ type: 'control', control });
  }

  /** Follows a change of a job that was added at run time. A run in progress is unaffected. */
  update(job: Job, method: (run: TransactionalJobRun) => unknown, control: SchedulerControl): void {
    this.job = job;
    this.method = method;
    this.#step({ type: 'control', control, job });
  }

  /** Runs the job now. Repeatable: at most one run begins for each id. */
  request(request: RunRequest): Promise<RequestOutcome> {
    return new Promise((resolve) => {
      const ticket = (this.#tickets += 1);
      this.#requests.set(ticket, resolve);
      this.#step({ type: 'request', ticket, request });
    });
  }

  /** Begins no run until the next `control`. */
  hold(): void {
    this.#step({ type: 'hold' });
  }

  /** Ends the term, and aborts its run. */
  deposed(token: bigint, reason: unknown): void {
    if (this.#run?.token === token) {
      this.options.onCutShort?.(`the run of job ${this.job.name}`);
      abortInFreshContext(this.#run.scope, reason);
    }
    this.#step({ type: 'deposed', token });
  }

  /** Begins no further run in this term. Resolves when the run has ended and its outcome is recorded. */
  drain(token: bigint): Promise<void> {
    return new Promise((resolve) => {
      this.#idle.push(resolve);
      this.#step({ type: 'draining', token });
    });
  }

  /** Calls back once the job is removed and nothing of it goes on. */
  onceRemoved(done: () => void): void {
    if (!this.busy) return this.#scheduler.removed ? done() : undefined;
    this.#idle.push(() => this.onceRemoved(done));
  }

  /** Without the next times. */
  status(): Pick<JobStatus, 'schedule' | 'running'> {
    const { running } = this.#scheduler;
    return {
      schedule: this.job.times.text,
      running: running && { fireTime: running.fireTime, attempt: running.attempt },
    };
  }

  /** The nominal times of the next firings, at most that many. Each is computed when it is asked for. */
  nextTimes(limit: number): Iterable<number> {
    return this.#scheduler.nextTimes(limit, this.options.clock.now().wall);
  }

  #step(input: SchedulerInput): void {
    if (!this.#inputs.push(input) || this.#scheduler.busy) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  #handle(input: SchedulerInput): void {
    for (const effect of this.#scheduler.step(input, this.options.clock.now())) this.#perform(effect);
  }

  #perform(effect: SchedulerEffect): void {
    const { clock, logger } = this.options;
    switch (effect.type) {
      case 'wake':
        this.#cancelWake();
        this.#cancelWake = clock.after(effect.afterMs, () => this.#step({ type: 'tick' }));
        return;
      case 'load':
        return void this.#load(effect.call);
      case 'write':
        // A leader that has slept through its lease claims nothing: the run would not begin, and be lost.
        if (effect.row.event === 'claimed' && !this.options.leads(effect.token)) {
          return this.#step({ type: 'call-failed', call: effect.call, random: this.#random() });
        }
        return void this.#write(effect.call, effect.row, effect.token);
      case 'run':
        return void this.#begin(effect.claim);
      case 'settle':
        this.#requests.get(effect.ticket)?.(effect.outcome);
        this.#requests.delete(effect.ticket);
        return;
      case 'held':
        return this.options.onHeld?.(this.job.name);
      case 'report': {
        const { report } = effect;
        if (report.type === 'recorded') this.#count(report.row);
        const line = describeReport(this.job, report);
        if (line !== undefined) logger.warn(line, fieldsOfReport(this.job, report));
      }
    }
  }

  #count({ event, count, paused }: LedgerRow): void {
    if (event === 'scheduled' || event === 'claimed' || paused === true) return;
    this.#metrics.add('hedge.job.firings', { job: this.#label, outcome: event }, count);
  }

  /** The name in metrics, of which there are as many as methods of the app. */
  get #label(): string {
    return this.job.handler ?? this.job.name;
  }

  /** The transaction of a run writes `done`, and a read shows whether it was committed. */
  #countCommitted(row: LedgerRow | undefined): void {
    const claim = this.#committed;
    this.#committed = undefined;
    if (row === undefined || row.event !== 'done' || claim === undefined) return;
    if (row.token === claim.token && row.fireTime === claim.fireTime && row.attempt === claim.attempt) this.#count(row);
  }

  async #load(call: number): Promise<void> {
    const { log, key } = this.options;
    let input: SchedulerInput;
    try {
      const entry = await log.latest(key);
      const row = entry && decodeRow(entry);
      this.#countCommitted(row);
      input = { type: 'loaded', call, row };
    } catch (error) {
      input = this.#failed(call, error);
    }
    this.#answered(input);
  }

  async #write(call: number, row: LedgerRow, token: bigint): Promise<void> {
    const { log, lease, key, onWritten } = this.options;
    let input: SchedulerInput;
    try {
      const [outcome] = await log.append([this.#toAppend(row)], { lease, token });
      if (outcome === undefined || outcome instanceof HedgeError) {
        const repeated = outcome?.code === 'CONFLICT' && row.requested !== undefined;
        input = repeated ? { type: 'conflict', call, random: this.#random() } : this.#failed(call, outcome);
      } else {
        input = { type: 'written', call };
        onWritten?.(key, this.job.historyLimit, token, outcome.timestamp);
      }
    } catch (error) {
      input = this.#failed(call, error);
    }
    this.#answered(input);
  }

  #toAppend(row: LedgerRow): LogAppend {
    const { key, self } = this.options;
    return { key, id: rowIdOf(row), value: encodeRow(row), leader: self().address };
  }

  #answered(input: SchedulerInput): void {
    if (input.type === 'loaded' || input.type === 'written') this.#unavailable = false;
    this.#step(input);
  }

  #failed(call: number, error: unknown): SchedulerInput {
    const { logger } = this.options;
    const code = error instanceof HedgeError ? error.code : undefined;
    if (code === 'LEASE_LOST') return { type: 'fenced-off', call };
    // Once for each outage.
    if (!this.#unavailable) logger.warn(`Job ${this.job.name} waits for its ledger: ${messageOf(error)}`);
    this.#unavailable = true;
    return { type: code === 'CONFLICT' ? 'conflict' : 'call-failed', call, random: this.#random() };
  }

  #random(): number {
    return (this.options.random ?? Math.random)();
  }

  async #begin(claim: LedgerRow): Promise<void> {
    const { token } = claim;
    const { clock, leads } = this.options;
    if (!leads(token)) return this.#step({ type: 'not-begun' });
    const scope = guardedController();
    this.#run = { token, scope };
    const { mono: startedAt, wall } = clock.now();
    this.#metrics.record('hedge.job.lag', Math.max(0, wall - claim.fireTime) / 1_000, { job: this.#label });
    const durationMs = (): number => Math.round(clock.now().mono - startedAt);
    const error = await this.#runMethod(claim, scope.signal, durationMs);
    this.#run = undefined;
    const outcome = error === undefined ? 'done' : 'failed';
    if (claim.transactional === true && error === undefined) this.#committed = claim;
    this.#metrics.record('hedge.job.duration', durationMs() / 1_000, { job: this.#label, outcome });
    this.#step({ type: 'ended', end: { durationMs: durationMs(), ...(error !== undefined && { error }) } });
  }

  /** Calls the method, and waits for its transaction. @returns the error for the ledger, which it has logged */
  async #runMethod(claim: LedgerRow, signal: AbortSignal, durationMs: () => number): Promise<string | undefined> {
    const { fireTime: firedAt, attempt, token } = claim;
    const fireTime = new Date(firedAt);
    const name = `Job ${this.job.name} of ${fireTime.toISOString()}`;
    const one = this.#transactionOf(claim, name, durationMs, signal);
    const transaction = one?.begin ?? refuseTransaction;
    const run = withTokenInJson({ fireTime, attempt, fencingToken: token, signal, transaction });
    const attributes = {
      'hedge.job.name': this.job.name,
      'hedge.job.fire_time': fireTime.toISOString(),
      'hedge.attempt': attempt,
      'hedge.fencing_token': String(token),
    };
    const traced = (): Promise<unknown> => runTraced(`job ${this.#label}`, attributes, async () => this.method(run));
    const failure = await failureOf(() => inFreshContext(traced));
    const failed = {
      event: 'job.failed',
      job: this.job.name,
      fireTime: fireTime.toISOString(),
      attempt,
      token,
    } as const;
    if (one === undefined) return failure && this.#logFailure(`${name} failed`, failure, failed);
    const undone = await failureOf(() => one.end());
    if (undone !== undefined) {
      return this.#logFailure(`${name} failed in attempt ${attempt}`, failure ?? undone, failed);
    }
    if (failure !== undefined) this.#logFailure(`${name} is done, but its method threw after the commit`, failure);
    return undefined;
  }

  #transactionOf(
    claim: LedgerRow,
    name: string,
    durationMs: () => number,
    signal: AbortSignal,
  ): JobTransaction | undefined {
    const { transactions, lease } = this.options;
    if (claim.transactional !== true || transactions === undefined) return undefined;
    const fence = { lease, token: claim.token };
    const addDone = (tx: unknown): void | Promise<void> => {
      const done = outcomeOf(claim, { durationMs: durationMs() });
      return transactions.append(tx, this.#toAppend(done), fence);
    };
    return new JobTransaction(name, transactions, addDone, signal);
  }

  #logFailure(what: string, { thrown }: Failure, fields?: LogFields<'error'>): string {
    const error = messageOf(thrown);
    this.options.logger.error(`${what}: ${error}`, thrown instanceof Error ? thrown.stack : undefined, fields);
    return error;
  }
}

interface Failure {
  readonly thrown: unknown;
}

async function failureOf(work: () => unknown): Promise<Failure | undefined> {
  try {
    await work();
    return undefined;
  } catch (thrown) {
    return { thrown };
  }
}
