import { checkKeys } from '../common/validation/check-keys.js';
import { onAbort } from '../common/async/on-abort.js';
import type { Backend } from '../database/backend.js';
import { jobKey, leaseName } from '../database/row-names.js';
import type { Logger } from '../common/line-logger.js';
import type { Clock } from '../common/clock.js';
import { HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import type { StartGate } from '../common/async/start-gate.js';
import type { LeadershipSource } from '../election/leadership.js';
import type { LeaderRoute } from '../messaging/leader-route.js';
import { BatchedLog } from './batched-log.js';
import type { FireTimes } from './fire-times.js';
import { checkJobName, type JobOptions, resolveJob, type TransactionalJobRun } from './job.js';
import { JobRunner } from './job-scheduler.runner.js';
import { toJobEntry, type JobEntry } from './ledger.js';
import type { Metrics } from '../telemetry/metrics.js';

export interface JobsServiceDeps {
  readonly gate: StartGate;
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

/** A method that runs at certain times. */
export interface JobMethod {
  /** The name for messages, such as `ReportService.nightly`. */
  readonly place: string;
  readonly times: FireTimes;
  readonly options: JobOptions;
  call(run: TransactionalJobRun): unknown;
}

export interface JobHistoryOptions {
  /** At most this many entries. Default: 100. */
  readonly limit?: number | undefined;
}

const MAX_ENTRIES = 10_000;

/**
 * The jobs of the group (`@LeaderCron`, `@LeaderInterval`) and the history of their firings.
 *
 * Each job has a ledger in the log table, with the reserved key `__hedge/job/{group}/{name}`: two rows for each run, its
 * claim and its outcome. The library needs only the last row, so you may delete older rows with SQL at any time.
 */
export class JobsService {
  readonly #deps: JobsServiceDeps;
  readonly #places = new Map<string, string>();

  constructor(deps: JobsServiceDeps) {
    this.#deps = deps;
  }

  /**
   * The history of the firings of a job, the newest first. Works on any pod, also for a job that this version of the app
   * does not contain any more.
   *
   * @example
   * const [last] = await jobs.history('nightly report', { limit: 1 });
   * if (last?.event === 'failed') alert(last.error);
   * @throws HedgeError INVALID_ARGUMENT, BACKEND_UNAVAILABLE
   */
  async history(name: string, options: JobHistoryOptions = {}): Promise<JobEntry[]> {
    checkJobName(name);
    checkKeys(`The options of history of job '${name}'`, options, ['limit']);
    const { limit = 100 } = options;
    if (!Number.isInteger(limit) || limit < 1 || limit > MAX_ENTRIES) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `"limit" is ${String(limit)}. Give a whole number from 1 to ${MAX_ENTRIES}.`,
      );
    }
    await this.#deps.gate.pass(`history of job '${name}'`);
    const { backend, group } = this.#deps;
    return (await backend.log.history(jobKey(group, name), { limit, order: 'newest-first' })).map(toJobEntry);
  }

  /**
   * Runs these methods from now on while this pod leads. Called by the module.
   * @throws HedgeError INVALID_OPTIONS when two jobs have the same name, or for a transactional job whose backend takes
   *   part in no transaction of the application.
   * @internal
   */
  start(methods: readonly JobMethod[]): void {
    const { backend, group, election, self, clock, retryMs, leaseMs, logger, onCutShort, metrics } = this.#deps;
    const leads = (token: bigint): boolean => election.leads(token);
    const { transactions } = backend;
    const batched = new BatchedLog(backend.log);
    const runners = methods.map((method) => {
      const job = resolveJob(method.place, method.times, method.options, leaseMs);
      this.#claimName(job.name, method.place);
      if (job.transactional && transactions === undefined) throw notTransactional(method.place, backend.name);
      const [lease, key] = [leaseName(group), jobKey(group, job.name)];
      const options = {
        log: batched,
        transactions,
        lease,
        key,
        leads,
        self,
        clock,
        retryMs,
        logger,
        onCutShort,
        metrics,
      };
      return new JobRunner(job, (run) => method.call(run), options);
    });
    if (runners.length === 0) return;
    election.onElected(({ fencingToken, signal }) => {
      const deposed = (): void => runners.forEach((runner) => runner.deposed(fencingToken, signal.reason));
      // One listener for all jobs: Node warns of more than ten on a signal.
      onAbort(signal, deposed);
      for (const runner of runners) runner.elected(fencingToken);
    });
    election.onDrain(async ({ fencingToken }) => {
      await Promise.all(runners.map((runner) => runner.drain(fencingToken)));
    });
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
