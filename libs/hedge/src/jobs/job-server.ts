import { EventLoopYielder } from '../common/async/event-loop-yielder.js';
import { onAbort } from '../common/async/on-abort.js';
import { withTokenInJson } from '../common/token-in-json.js';
import type { Clock } from '../common/clock.js';
import { HedgeError, messageOf } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import type { Logger } from '../common/line-logger.js';
import type { Backend } from '../database/backend.js';
import type { Fence, LogPosition } from '../database/log-table.js';
import { jobKey, jobRegistryKey, leaseName } from '../database/row-names.js';
import type { LeadershipSource } from '../election/leadership.js';
import type { LeaderRoute } from '../messaging/leader-route.js';
import { notLeading } from '../messaging/leader-route.js';
import { type Encoded, type IncomingRequest, NO_PAYLOAD } from '../messaging/message.js';
import type { JobAdd, JobAdded, JobRun, JobStatus } from '../wire/hedge/v1/job.js';
import type { Metrics } from '../telemetry/metrics.js';
import { BatchedLog } from './batched-log.js';
import { assertFires } from './fire-times.js';
import { type Job, type JobMethod, resolveJob, type TransactionalJobRun } from './job.js';
import { checkOrigin, decodeJobRequest, encodeStatuses } from './job-requests.js';
import { controlOf, REMOVED, type SchedulerControl } from './job-scheduler.messages.js';
import { JobRunner } from './job-scheduler.runner.js';
import { LedgerTrimmer, RUN_ID_MS } from './ledger-trimmer.js';
import { requestedRowId } from './ledger.js';
import { JobRegistryRunner } from './registry/job-registry.runner.js';
import { checkDefinition } from './registry/job-definition.js';
import type { AddedJob, JobRecord, JobRecords } from './registry/registry-row.js';

export interface JobServerDeps {
  readonly backend: Pick<Backend, 'name' | 'log' | 'transactions'>;
  readonly group: string;
  readonly election: LeadershipSource & Pick<LeaderRoute, 'leads'>;
  readonly self: () => MemberId;
  readonly clock: Clock;
  readonly retryMs: number;
  readonly leaseMs: number;
  readonly logger: Logger;
  readonly onCutShort?: ((what: string) => void) | undefined;
  readonly metrics?: Metrics | undefined;
}

/** Limit of the future firings that a request can ask for. */
const MAX_NEXT_TIMES = 100;
/** Limit of the jobs that are added at run time: each row of the registry has all of them. */
const MAX_ADDED = 500;
const RUN_ID_NS = BigInt(RUN_ID_MS) * 1_000_000n;
/** The place of no row: an append that must follow it is never made. */
const NOWHERE: LogPosition = { timestamp: 0n, id: '' };

/** The jobs of this pod: runs them while this pod leads, and serves the requests about them. */
export class JobServer {
  readonly #deps: JobServerDeps;
  readonly #places = new Map<string, string>();
  /** By name. */
  readonly #handlers = new Map<string, JobMethod>();
  readonly #runners = new Map<string, JobRunner>();
  /** The jobs whose `add` is not in the registry yet. */
  readonly #adding = new Set<string>();
  readonly #log: BatchedLog;
  readonly #registry: JobRegistryRunner;
  readonly #trimmer: LedgerTrimmer;
  /** The token while the jobs run, and the leadership is not handed over. */
  #term: bigint | undefined;

  constructor(deps: JobServerDeps) {
    this.#deps = deps;
    const { backend, group, self, clock, retryMs, logger } = deps;
    this.#log = new BatchedLog(backend.log);
    this.#trimmer = new LedgerTrimmer(backend.log, clock, logger);
    this.#registry = new JobRegistryRunner({
      log: backend.log,
      lease: leaseName(group),
      key: jobRegistryKey(group),
      pod: () => self().address,
      clock,
      retryMs,
      logger,
      onWritten: (key, keep, token) => this.#trimmer.written(key, keep, this.#fence(token)),
      schedulers: {
        start: (token, records) => this.#startTerm(token, records),
        hold: (name) => this.#hold(name),
        apply: (names, records) => names.forEach((name) => this.#follow(name, records.get(name))),
      },
    });
  }

  #fence(token: bigint): Fence {
    return { lease: leaseName(this.#deps.group), token };
  }

  /**
   * Runs these methods from now on while this pod leads.
   * @throws HedgeError INVALID_OPTIONS when two jobs or two handlers have the same name, or for a transactional job whose
   *   backend takes part in no transaction of the application.
   */
  start(methods: readonly JobMethod[]): void {
    const { backend, group, election, leaseMs } = this.#deps;
    for (const method of methods) {
      const { place, times, options } = method;
      if (times === undefined) {
        this.#addHandler(options.name ?? '', method);
        continue;
      }
      const job = resolveJob(place, times, options, { leaseMs, group });
      this.#claimName(job.name, place);
      if (job.transactional && backend.transactions === undefined) throw notTransactional(place, backend.name);
      this.#runners.set(
        job.name,
        this.#makeRunner(job, (run) => method.call(run)),
      );
    }
    if (methods.length === 0) return;
    election.onElected(({ fencingToken, signal }) => {
      // One listener for all jobs: Node warns of more than ten on a signal.
      onAbort(signal, () => {
        this.#term = undefined;
        this.#runners.forEach((runner) => runner.deposed(fencingToken, signal.reason));
        this.#registry.deposed(fencingToken);
      });
      // Reads the registry, and then starts the jobs.
      this.#registry.elected(fencingToken);
    });
    election.onDrain(async ({ fencingToken }) => {
      this.#term = undefined;
      this.#registry.drain(fencingToken);
      await Promise.all(Array.from(this.#runners.values(), (runner) => runner.drain(fencingToken)));
    });
  }

  /** Serves a request about jobs, while this pod leads. @throws HedgeError INVALID_ARGUMENT, NOT_LEADER */
  async handle({ payload, signal }: IncomingRequest): Promise<Encoded> {
    const action = decodeJobRequest(payload);
    if (action.$case === 'list') {
      return encodeStatuses({ jobs: await this.#statuses(action.value.nextTimes, signal) });
    }
    const { name, by, reason } = action.value;
    checkOrigin(by, reason);
    switch (action.$case) {
      case 'run':
        await this.#run(action.value);
        return NO_PAYLOAD;
      case 'add':
        await this.#add(action.value);
        return NO_PAYLOAD;
      case 'remove':
        this.#assertNotDecorated(name, 'Remove its decorator to end it, or pause it.');
        break;
      case 'pause':
      case 'resume':
        break;
    }
    await this.#recordOf(name);
    await this.#registry.change({ type: action.$case, name, by, ...(reason !== '' && { reason }) });
    return NO_PAYLOAD;
  }

  /** Then this pod does not follow the registry. */
  get #hasNoMethods(): boolean {
    return this.#places.size + this.#handlers.size === 0;
  }

  async #add({ name, by, reason, definition: text }: JobAdd): Promise<void> {
    const { backend } = this.#deps;
    const definition = definitionOf(name, text);
    this.#assertNotDecorated(name, 'Choose another name.');
    if (this.#hasNoMethods) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `Job '${name}' cannot be added: the leader has no jobs at all. Deploy the method with @LeaderJob('${definition.handler}') first.`,
      );
    }
    if (definition.transactional === true && backend.transactions === undefined) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `Job '${name}' cannot be added: the backend (${backend.name}) takes part in no transaction of the application. Remove { transactional: true }.`,
      );
    }
    const records = await this.#registry.records();
    const others = new Set(this.#adding);
    for (const [other, { added }] of records) if (added !== undefined) others.add(other);
    others.delete(name);
    if (others.size >= MAX_ADDED) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `Job '${name}' cannot be added: the group has ${others.size} added jobs, and ${MAX_ADDED} are allowed. Remove some, or let one job do the work of several.`,
      );
    }
    this.#adding.add(name);
    try {
      await this.#registry.change({ type: 'add', name, by, definition, ...(reason !== '' && { reason }) });
    } finally {
      this.#adding.delete(name);
    }
  }

  /**
   * The record of a job in this term; undefined for a decorated job that was never changed.
   * @throws HedgeError INVALID_ARGUMENT when there is no such job; NOT_LEADER
   */
  async #recordOf(name: string): Promise<JobRecord | undefined> {
    if (this.#hasNoMethods) throw unknownJob(name);
    const record = (await this.#registry.records()).get(name);
    if (!this.#places.has(name) && record?.added === undefined) throw unknownJob(name);
    return record;
  }

  /** @throws HedgeError CONFLICT when another run of the job goes on; INVALID_ARGUMENT, NOT_LEADER, BACKEND_UNAVAILABLE */
  async #run({ name, id, by, reason }: JobRun): Promise<void> {
    const record = await this.#recordOf(name);
    const runner = this.#runners.get(name);
    if (runner === undefined) throw notRunnable(name, record?.added?.definition.handler ?? '');
    const outcome = await runner.request({ id, by, ...(reason !== '' && { reason }) });
    if (outcome === 'not-leading') {
      // The job was removed meanwhile, or this pod leads no more.
      await this.#recordOf(name);
      throw notLeading();
    }
    if (outcome === 'claimed' || (await this.#wasClaimed(name, id))) return;
    throw new HedgeError(
      'CONFLICT',
      `Job '${name}' runs now, so runNow began no other run. Call it again when the run has ended: JobsService.list(), or nestjs-hedge jobs ls, names the runs in progress.`,
    );
  }

  /** Whether the run was claimed before: by an earlier leader, or by an earlier call with this id. */
  async #wasClaimed(name: string, id: string): Promise<boolean> {
    const { backend, group, self } = this.#deps;
    const append = { id: requestedRowId(id), value: '', leader: self().address };
    // Finds the row among any number of rows: it makes this append, which is never made, a CONFLICT.
    const claim = { key: jobKey(group, name), append, condition: { follows: NOWHERE } };
    const [outcome] = await backend.log.appendIf([[claim]]);
    return outcome instanceof HedgeError && outcome.code === 'CONFLICT';
  }

  /** @param signal ends a search that nobody waits for any more */
  async #statuses(nextTimes: number, signal: AbortSignal): Promise<JobStatus[]> {
    if (this.#hasNoMethods) return [];
    const records = await this.#registry.records();
    const names = new Set([
      ...this.#places.keys(),
      ...[...records].flatMap(([name, { added }]) => (added ? [name] : [])),
    ]);
    const statuses: JobStatus[] = [];
    const yielder = new EventLoopYielder();
    for (const name of names) {
      const record = records.get(name);
      const runner = this.#runners.get(name);
      const status = {
        ...(runner?.status() ?? { schedule: '', running: undefined }),
        name,
        nextTimes: [] as number[],
        paused: record?.paused && { reason: '', ...record.paused },
        added: this.#places.has(name) ? undefined : record?.added && addedStatus(record.added, runner !== undefined),
      };
      statuses.push(status);
      if (status.paused !== undefined) continue;
      for (const time of runner?.nextTimes(Math.min(nextTimes, MAX_NEXT_TIMES)) ?? []) {
        status.nextTimes.push(time);
        // A rare time of a cron expression takes milliseconds.
        await yielder.next();
        signal.throwIfAborted();
      }
    }
    return statuses;
  }

  /** The registry was read in this term. */
  #startTerm(token: bigint, records: JobRecords): void {
    const controls = new Map<string, SchedulerControl>();
    for (const name of new Set([...this.#runners.keys(), ...records.keys()])) {
      controls.set(name, this.#follow(name, records.get(name)));
    }
    this.#term = token;
    this.#runners.forEach((runner, name) => runner.elected(token, controls.get(name) ?? REMOVED));
  }

  /** Begins no run of the job until `#follow` is called. */
  #hold(name: string): void {
    const runner = this.#runners.get(name);
    if (runner === undefined) this.#registry.held(name);
    else runner.hold();
  }

  /**
   * Gives the record of a job to its runner, and makes or removes the runner of an added job.
   * @returns what the runner may do. It may begin nothing if no method of this pod can run the job.
   */
  #follow(name: string, record: JobRecord | undefined): SchedulerControl {
    const runner = this.#runners.get(name);
    if (this.#places.has(name)) {
      const control = controlOf(record);
      runner?.control(control);
      return control;
    }
    const added = record && this.#resolveAdded(name, record);
    if (added === undefined) {
      runner?.control(REMOVED);
      // A run in progress goes on, and its outcome is recorded.
      runner?.onceRemoved(() => this.#runners.delete(name));
      return REMOVED;
    }
    const control = controlOf(record);
    if (runner !== undefined) {
      runner.update(added.job, added.call, control);
    } else {
      const made = this.#makeRunner(added.job, added.call);
      this.#runners.set(name, made);
      if (this.#term !== undefined) made.elected(this.#term, control);
    }
    return control;
  }

  /** @returns undefined for a job that no method of this pod can run */
  #resolveAdded(name: string, { added }: JobRecord) {
    if (added === undefined) return undefined;
    const { handler: handlerName, data, ...options } = added.definition;
    const handler = this.#handlers.get(handlerName);
    try {
      if (handler === undefined) throw new Error(`it has no method with @LeaderJob('${handlerName}')`);
      const times = checkDefinition({ name, ...added.definition });
      const { leaseMs, group } = this.#deps;
      const job = { ...resolveJob(name, times, { ...options, name }, { leaseMs, group }), handler: handlerName };
      // A copy: the method may change it, and the definition is written again with each change of a job.
      const call = (run: TransactionalJobRun): unknown =>
        handler.call(withTokenInJson({ ...run, data: structuredClone(data) }));
      return { job, call };
    } catch (error) {
      this.#deps.logger.warn(`Job ${name} does not run on this pod: ${messageOf(error)}`);
      return undefined;
    }
  }

  #makeRunner(job: Job, call: (run: TransactionalJobRun) => unknown): JobRunner {
    const { backend, group, election, self, clock, retryMs, logger, onCutShort, metrics } = this.#deps;
    return new JobRunner(job, call, {
      log: this.#log,
      transactions: backend.transactions,
      lease: leaseName(group),
      key: jobKey(group, job.name),
      leads: (token) => election.leads(token),
      self,
      clock,
      retryMs,
      logger,
      onCutShort,
      metrics,
      onHeld: (name) => this.#registry.held(name),
      onWritten: (key, keep, token, timestamp) =>
        this.#trimmer.written(key, keep, this.#fence(token), timestamp - RUN_ID_NS),
    });
  }

  /** @throws HedgeError INVALID_ARGUMENT */
  #assertNotDecorated(name: string, fix: string): void {
    const place = this.#places.get(name);
    if (place === undefined) return;
    throw new HedgeError('INVALID_ARGUMENT', `Job '${name}' is declared by ${place} on the leader. ${fix}`);
  }

  #addHandler(name: string, method: JobMethod): void {
    const other = this.#handlers.get(name);
    if (other !== undefined) {
      throw new HedgeError(
        'INVALID_OPTIONS',
        `${other.place} and ${method.place} both have @LeaderJob('${name}'). Give each its own name.`,
      );
    }
    this.#handlers.set(name, method);
  }

  #claimName(name: string, place: string): void {
    const other = this.#places.get(name);
    if (other !== undefined) {
      const both =
        other === place
          ? `${place} declares the job '${name}' twice: two modules provide its class, or it has two timetables. Provide the class in one module, and give`
          : `${other} and ${place} both declare the job '${name}', and would share one ledger. Give`;
      throw new HedgeError('INVALID_OPTIONS', `${both} each job its own name: { name: '…' }.`);
    }
    this.#places.set(name, place);
  }
}

function addedStatus({ at, by, definition }: AddedJob, runnable: boolean): JobAdded {
  const { handler, data } = definition;
  return { at, by, handler, data: data === undefined ? '' : JSON.stringify(data), runnable };
}

/** @throws HedgeError INVALID_ARGUMENT */
function definitionOf(name: string, text: string): AddedJob['definition'] {
  let definition: AddedJob['definition'];
  try {
    definition = JSON.parse(text) as AddedJob['definition'];
  } catch (cause) {
    throw new HedgeError('INVALID_ARGUMENT', 'A job was not added: its definition is not JSON.', { cause });
  }
  assertFires(checkDefinition({ ...definition, name }));
  return definition;
}

function unknownJob(name: string): HedgeError {
  return new HedgeError(
    'INVALID_ARGUMENT',
    `There is no job '${name.slice(0, 128)}' on the leader, so nothing was done. JobsService.list(), or nestjs-hedge jobs ls, has the names of all jobs.`,
  );
}

function notRunnable(name: string, handler: string): HedgeError {
  return new HedgeError(
    'INVALID_ARGUMENT',
    `Job '${name}' cannot run, so nothing was done: the leader has no method with @LeaderJob('${handler}'). Deploy the method first, or see the log of the leader.`,
  );
}

function notTransactional(place: string, backend: string): HedgeError {
  return new HedgeError(
    'INVALID_OPTIONS',
    `${place} is a transactional job, but the backend (${backend}) takes part in no transaction of the application. Use a backend in the database of the application, as nestjs-hedge/postgres, or remove { transactional: true }.`,
  );
}
