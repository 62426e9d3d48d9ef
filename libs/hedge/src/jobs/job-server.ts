import { onAbort } from '../common/async/on-abort.js';
import type { Clock } from '../common/clock.js';
import { HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import type { Logger } from '../common/line-logger.js';
import type { Backend } from '../database/backend.js';
import { jobKey, leaseName } from '../database/row-names.js';
import type { LeadershipSource } from '../election/leadership.js';
import type { LeaderRoute } from '../messaging/leader-route.js';
import type { IncomingRequest, Encoded } from '../messaging/message.js';
import { BatchedLog } from './batched-log.js';
import { type JobMethod, resolveJob } from './job.js';
import { decodeJobRequest, encodeStatuses } from './job-requests.js';
import { JobRunner } from './job-scheduler.runner.js';

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

/** The jobs of this pod: runs them while this pod leads, and serves the requests about them. */
export class JobServer {
  readonly #deps: JobServerDeps;
  readonly #places = new Map<string, string>();
  #runners: readonly JobRunner[] = [];

  constructor(deps: JobServerDeps) {
    this.#deps = deps;
  }

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
    const runners = methods.map((method) => {
      const job = resolveJob(method.place, method.times, method.options, leaseMs);
      this.#claimName(job.name, method.place);
      if (job.transactional && transactions === undefined) throw notTransactional(method.place, backend.name);
      const [lease, key] = [leaseName(group), jobKey(group, job.name)];
      const options = { log: batched, transactions, lease, key, leads, self, clock, retryMs, logger, onCutShort };
      return new JobRunner(job, (run) => method.call(run), options);
    });
    this.#runners = runners;
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

  /** Serves a request about jobs, while this pod leads. @throws HedgeError INVALID_ARGUMENT */
  async handle({ payload }: IncomingRequest): Promise<Encoded> {
    const action = decodeJobRequest(payload);
    const nextTimes = Math.min(action.value.nextTimes, MAX_NEXT_TIMES);
    return encodeStatuses({ jobs: this.#runners.map((runner) => runner.status(nextTimes)) });
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
