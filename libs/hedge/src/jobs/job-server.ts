import { onAbort } from '../common/async/on-abort.js';
import type { Clock } from '../common/clock.js';
import { HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import type { Logger } from '../common/line-logger.js';
import type { Backend } from '../database/backend.js';
import { jobKey, jobRegistryKey, leaseName } from '../database/row-names.js';
import type { LeadershipSource } from '../election/leadership.js';
import type { LeaderRoute } from '../messaging/leader-route.js';
import { notLeading } from '../messaging/leader-route.js';
import { type Encoded, type IncomingRequest, NO_PAYLOAD } from '../messaging/message.js';
import type { JobRun, JobStatus } from '../wire/hedge/v1/job.js';
import { BatchedLog } from './batched-log.js';
import { type JobMethod, resolveJob } from './job.js';
import { decodeJobRequest, encodeStatuses } from './job-requests.js';
import { controlOf } from './job-scheduler.messages.js';
import { JobRunner } from './job-scheduler.runner.js';
import { LedgerTrimmer } from './ledger-trimmer.js';
import { decodeRow } from './ledger.js';
import { JobRegistryRunner } from './registry/job-registry.runner.js';
import type { JobRecords } from './registry/registry-row.js';

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
}

/** Limit of the future firings that a request can ask for. */
const MAX_NEXT_TIMES = 100;
/** Limit of the rows in which a repeated request is searched. */
const MAX_SEARCHED = 1_000;

/** The jobs of this pod: runs them while this pod leads, and serves the requests about them. */
export class JobServer {
  readonly #deps: JobServerDeps;
  readonly #places = new Map<string, string>();
  readonly #runners = new Map<string, JobRunner>();
  readonly #registry: JobRegistryRunner;
  readonly #trimmer: LedgerTrimmer;

  constructor(deps: JobServerDeps) {
    this.#deps = deps;
    const { backend, group, self, clock, retryMs, logger } = deps;
    this.#trimmer = new LedgerTrimmer(backend.log, clock);
    this.#registry = new JobRegistryRunner({
      log: backend.log,
      lease: leaseName(group),
      key: jobRegistryKey(group),
      pod: () => self().address,
      clock,
      retryMs,
      logger,
      onWritten: this.#onWritten,
      schedulers: {
        start: (token, records) => this.#each((runner, name) => runner.elected(token, controlOf(records.get(name)))),
        hold: (name) => this.#runners.get(name)?.hold(),
        apply: (names, records) => this.#apply(names, records),
      },
    });
  }

  readonly #onWritten = (key: string, keep: number, token: bigint): void =>
    this.#trimmer.written(key, keep, { lease: leaseName(this.#deps.group), token });

  /**
   * Runs these methods from now on while this pod leads.
   * @throws HedgeError INVALID_OPTIONS when two jobs have the same name, or for a transactional job whose backend takes
   *   part in no transaction of the application.
   */
  start(methods: readonly JobMethod[]): void {
    const { backend, group, election, self, clock, retryMs, leaseMs, logger, onCutShort } = this.#deps;
    const leads = (token: bigint): boolean => election.leads(token);
    const { transactions } = backend;
    const batched = new BatchedLog(backend.log);
    const onHeld = (name: string): void => this.#registry.held(name);
    for (const method of methods) {
      const job = resolveJob(method.place, method.times, method.options, { leaseMs, group });
      this.#claimName(job.name, method.place);
      if (job.transactional && transactions === undefined) throw notTransactional(method.place, backend.name);
      const [lease, key] = [leaseName(group), jobKey(group, job.name)];
      const shared = { log: batched, transactions, lease, key, leads, self, clock, retryMs, logger };
      const options = { ...shared, onCutShort, onHeld, onWritten: this.#onWritten };
      this.#runners.set(job.name, new JobRunner(job, (run) => method.call(run), options));
    }
    if (methods.length === 0) return;
    election.onElected(({ fencingToken, signal }) => {
      // One listener for all jobs: Node warns of more than ten on a signal.
      onAbort(signal, () => {
        this.#each((runner) => runner.deposed(fencingToken, signal.reason));
        this.#registry.deposed(fencingToken);
      });
      // Reads the pauses, and then starts the jobs.
      this.#registry.elected(fencingToken);
    });
    election.onDrain(async ({ fencingToken }) => {
      this.#registry.drain(fencingToken);
      await Promise.all(Array.from(this.#runners.values(), (runner) => runner.drain(fencingToken)));
    });
  }

  /** Serves a request about jobs, while this pod leads. @throws HedgeError INVALID_ARGUMENT, NOT_LEADER */
  async handle({ payload }: IncomingRequest): Promise<Encoded> {
    const action = decodeJobRequest(payload);
    if (action.$case === 'list') return encodeStatuses({ jobs: await this.#statuses(action.value.nextTimes) });
    if (action.$case === 'run') {
      await this.#run(action.value);
    } else {
      const { name, by, reason } = action.value;
      this.#runner(name);
      await this.#registry.change({ type: action.$case, name, by, ...(reason !== '' && { reason }) });
    }
    return NO_PAYLOAD;
  }

  /** @throws HedgeError CONFLICT when another run of the job goes on; INVALID_ARGUMENT, NOT_LEADER, BACKEND_UNAVAILABLE */
  async #run({ name, id, by, reason }: JobRun): Promise<void> {
    const outcome = await this.#runner(name).request({ id, by, ...(reason !== '' && { reason }) });
    if (outcome === 'not-leading') throw notLeading();
    if (outcome === 'claimed' || (await this.#wasClaimed(name, id))) return;
    throw new HedgeError(
      'CONFLICT',
      `Job '${name}' runs now, so runNow began no other run. Call it again when the run has ended: JobsService.list() names the runs in progress.`,
    );
  }

  /** Whether the run was claimed before: by an earlier leader, or by an earlier call with this id. */
  async #wasClaimed(name: string, id: string): Promise<boolean> {
    const { backend, group } = this.#deps;
    const rows = await backend.log.history(jobKey(group, name), { limit: MAX_SEARCHED, order: 'newest-first' });
    return rows.some((entry) => decodeRow(entry).requested?.id === id);
  }

  async #statuses(nextTimes: number): Promise<JobStatus[]> {
    if (this.#runners.size === 0) return [];
    const records = await this.#registry.records();
    return Array.from(this.#runners, ([name, runner]) => {
      const paused = records.get(name)?.paused;
      const times = paused === undefined ? Math.min(nextTimes, MAX_NEXT_TIMES) : 0;
      return { ...runner.status(times), paused: paused && { reason: '', ...paused } };
    });
  }

  #apply(names: readonly string[], records: JobRecords): void {
    for (const name of names) this.#runners.get(name)?.control(controlOf(records.get(name)));
  }

  #each(action: (runner: JobRunner, name: string) => void): void {
    this.#runners.forEach(action);
  }

  #runner(name: string): JobRunner {
    const runner = this.#runners.get(name);
    if (runner !== undefined) return runner;
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `There is no job '${name.slice(0, 128)}' on the leader, so nothing was done. JobsService.list() has the names of all jobs.`,
    );
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

function notTransactional(place: string, backend: string): HedgeError {
  return new HedgeError(
    'INVALID_OPTIONS',
    `${place} is a transactional job, but the backend (${backend}) takes part in no transaction of the application. Use a backend in the database of the application, as nestjs-hedge/postgres, or remove { transactional: true }.`,
  );
}
