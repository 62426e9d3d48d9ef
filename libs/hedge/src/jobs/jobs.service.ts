import { forEachAtOnce } from '../common/async/for-each-at-once.js';
import { randomUUID } from 'node:crypto';
import { checkKeys } from '../common/validation/check-keys.js';
import type { StartGate } from '../common/async/start-gate.js';
import { atCaller, HedgeError } from '../common/errors.js';
import type { LogTable } from '../database/log-table.js';
import { jobKey } from '../database/row-names.js';
import { checkCallOptions } from '../messaging/call-options.js';
import type { Encoded } from '../messaging/message.js';
import type { Messenger } from '../messaging/messenger.js';
import type { JobAdded as JobAddedOnWire, JobStatus as JobStatusOnWire } from '../wire/hedge/v1/job.js';
import { checkJobName, type JobMethod } from './job.js';
import { checkOrigin, decodeStatuses, encodeJobRequest, JOB_REQUEST, type JobAction } from './job-requests.js';
import type { JobServer } from './job-server.js';
import { isFiring, toJobEntry, type JobEntry } from './ledger.js';
import { assertFires } from './fire-times.js';
import { RUN_ID_MS } from './ledger-trimmer.js';
import { checkDefinition, type JobDefinition } from './registry/job-definition.js';

export interface JobsServiceDeps {
  readonly gate: StartGate;
  readonly messenger: Messenger;
  readonly server: JobServer;
  readonly log: Pick<LogTable, 'history'>;
  readonly group: string;
  readonly defaultTimeoutMs: number;
  /** The name of this pod for changes without `by`. Called late, because the start may choose the port. */
  readonly pod: () => string;
}

export interface JobHistoryOptions {
  /** At most this many entries. Default: 100. */
  readonly limit?: number | undefined;
}

/** Options of a call that the leader answers. */
export interface JobCallOptions {
  /** Milliseconds for the whole call, waiting for a leader and retries included. Default: the module's `defaultTimeoutMs`, 10 s. */
  readonly timeoutMs?: number | undefined;
  /** Stops waiting: the call rejects with the reason of the signal. */
  readonly signal?: AbortSignal | undefined;
}

export interface JobListOptions extends JobCallOptions {
  /** The number of future firings to name for each job, 0 to 100. Default: 3. */
  readonly nextTimes?: number | undefined;
  /** The number of past firings to read for each job, 0 to 100. Default: 5. */
  readonly lastFirings?: number | undefined;
}

export interface JobChangeOptions extends JobCallOptions {
  /** For the people who see the job in `list` and in the log table. At most 1,000 characters. */
  readonly reason?: string | undefined;
  /** The person or system that changes the job, at most 200 characters. Default: the address of this pod. */
  readonly by?: string | undefined;
}

export interface JobRunOptions extends JobChangeOptions {
  /**
   * Names this run, 1 to 128 visible characters. Two calls with the same id begin one run. Give it to repeat a call whose
   * outcome is unknown. Default: a new UUID.
   */
  readonly id?: string | undefined;
}

/** A job of the group, as its leader sees it. A controller can return it. */
export interface JobStatus {
  readonly name: string;
  /** The timetable, such as `0 3 * * * Europe/Warsaw` or `every 15000 ms`. Empty for a job that is not runnable: see `added`. */
  readonly schedule: string;
  /** The nominal times of the next firings. */
  readonly nextTimes: readonly Date[];
  /** Present while the job is paused. Then `nextTimes` is empty. */
  readonly paused?: { readonly since: Date; readonly by: string; readonly reason?: string };
  /** Present for a job that was added at run time. */
  readonly added?: {
    readonly since: Date;
    readonly by: string;
    readonly handler: string;
    readonly data?: unknown;
    /** False while the leader has no method with that handler. Then the firings are missed. */
    readonly runnable: boolean;
  };
  /** The firing that runs now. */
  readonly running?: { readonly fireTime: Date; readonly attempt: number };
  /**
   * The outcomes of the last firings, the newest first: `done`, `failed`, `lost`, `missed` or `skipped`, and `claimed` for
   * one without an outcome yet. `history` has all rows.
   */
  readonly lastFirings: readonly JobEntry[];
}

const CHANGE_OPTIONS = Object.keys({ reason: 0, by: 0, timeoutMs: 0, signal: 0 } satisfies Record<
  keyof JobChangeOptions,
  0
>);

const RUN_OPTIONS = Object.keys({ id: 0, reason: 0, by: 0, timeoutMs: 0, signal: 0 } satisfies Record<
  keyof JobRunOptions,
  0
>);

const MAX_ENTRIES = 10_000;
const MAX_LISTED = 100;
/** Limit of the concurrent reads of a `list`. */
const MAX_READS = 8;

const LIST_OPTIONS = Object.keys({ nextTimes: 0, lastFirings: 0, timeoutMs: 0, signal: 0 } satisfies Record<
  keyof JobListOptions,
  0
>);

/**
 * The jobs of the group (`@LeaderCron`, `@LeaderInterval`, and those that `add` adds), the history of their firings, and
 * their control. Every pod can call it. The leader answers each call but `history`, which reads the database.
 *
 * Each job has a ledger in the log table, with the reserved key `__hedge/job/{group}/{name}`: two rows for each run, its
 * claim and its outcome. The pauses and the added jobs have the key `__hedge/jobs/{group}`: a row for each change, with the
 * person and the reason. The library needs only the last row of each key, and the rows of the last hour of a ledger, for
 * `runNow`. You may delete older rows with SQL.
 */
export class JobsService {
  readonly #deps: JobsServiceDeps;

  constructor(deps: JobsServiceDeps) {
    this.#deps = deps;
  }

  /**
   * The jobs that the leader runs, in the order of their names.
   *
   * @example
   * for (const { name, nextTimes, lastFirings } of await jobs.list()) console.log(name, nextTimes[0], lastFirings[0]?.event);
   * @throws HedgeError INVALID_ARGUMENT, NO_LEADER, DEADLINE_EXCEEDED, BACKEND_UNAVAILABLE; NO_HANDLER when the version of
   *   the leader does not know this request.
   */
  async list(options: JobListOptions = {}): Promise<JobStatus[]> {
    checkKeys('The options of list of jobs', options, LIST_OPTIONS);
    const { nextTimes = 3, lastFirings = 5 } = options;
    checkCount('nextTimes', nextTimes, 0, MAX_LISTED);
    checkCount('lastFirings', lastFirings, 0, MAX_LISTED);
    const action = (): JobAction => ({ $case: 'list', value: { nextTimes } });
    const reply = await this.#request('list', 'jobs', action, options);
    const statuses = decodeStatuses(reply).jobs.map((status) => toJobStatus(status));
    if (lastFirings > 0) {
      await forEachAtOnce(MAX_READS, statuses, async (status) => {
        status.lastFirings = await this.#lastFirings(status.name, lastFirings);
      });
    }
    return statuses.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /**
   * The history of the firings of a job, the newest first. Works on any pod, also for a job that this version of the app
   * does not contain any more. Rows that another program has written are left out.
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
    checkCount('limit', limit, 1, MAX_ENTRIES);
    await this.#deps.gate.pass(`history of job '${name}'`);
    return this.#read(name, limit);
  }

  /**
   * Runs a job now, on the leader, also while it is paused. Resolves when the run is claimed, which is before its end.
   *
   * The run is a firing as any other: its claim and its outcome are in the history, with this `id` as `requested.id`. It
   * runs at most once; once more with `catchUp` if its pod was lost; until its writes are committed with `transactional`.
   * The call is safe to repeat with the same `id` for an hour, and after that while the claim is among the rows that
   * `historyLimit` keeps.
   *
   * If a firing is due, or waits for a further attempt, then this firing runs. Of a paused job with `catchUp`, the last
   * firing of the pause runs, and not once more at its end. Otherwise `fireTime` is the time of the request, by the clock of
   * the leader. The next firings are unaffected.
   *
   * @example
   * const { id } = await jobs.runNow('nightly report', { reason: 'the report of Monday was wrong', by: user.email });
   * @returns the id of the run
   * @throws HedgeError CONFLICT while another run of the job goes on. Nothing was done.
   * @throws HedgeError INVALID_ARGUMENT, NO_LEADER, OVERLOADED, NO_HANDLER as `pause`. Nothing was done. Also
   *   INVALID_ARGUMENT for a `timeoutMs` of more than an hour.
   * @throws HedgeError DEADLINE_EXCEEDED, OUTCOME_UNKNOWN, BACKEND_UNAVAILABLE: the run was claimed once or not at all, or
   *   will be. Call again with the same `id`.
   */
  async runNow(name: string, options: JobRunOptions = {}): Promise<{ readonly id: string }> {
    checkJobName(name);
    checkKeys(`The options of runNow of job '${name}'`, options, RUN_OPTIONS);
    const { by, reason, id = randomUUID() } = options;
    checkOrigin(by, reason);
    if (typeof id !== 'string' || !/^[^\p{C}]{1,128}$/u.test(id)) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `The id of runNow of job '${name}' is no text of 1 to 128 visible characters.`,
      );
    }
    const { timeoutMs = this.#deps.defaultTimeoutMs } = options;
    if (timeoutMs > RUN_ID_MS) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `timeoutMs of runNow of job '${name}' is ${timeoutMs}. Give at most ${RUN_ID_MS}, the time for which its id counts.`,
      );
    }
    const action = (): JobAction => ({ $case: 'run', value: { name, id, ...this.#origin(by, reason) } });
    await this.#request('runNow', name, action, options);
    return { id };
  }

  /**
   * Pauses a job: no firing begins, under any leader, until `resume`, except by `runNow`. A run in progress goes on to its
   * end. When the promise resolves, the pause is durable. It survives changes of the leader, and restarts of all pods. To
   * pause a paused job changes nothing.
   *
   * A firing that falls due during the pause counts as `missed`: it does not run after the pause. With `catchUp`, the last
   * one of these runs at the end of the pause. A lost firing with `catchUp`, and a transactional firing that is not done, run
   * again after the pause.
   *
   * @example
   * await jobs.pause('nightly report', { reason: 'the warehouse moves', by: user.email });
   * @throws HedgeError INVALID_ARGUMENT for a job that the leader does not run. Nothing was changed.
   * @throws HedgeError NO_LEADER, OVERLOADED; NO_HANDLER when the version of the leader does not know this request. Nothing
   *   was changed.
   * @throws HedgeError DEADLINE_EXCEEDED: the job may be paused, or be paused later. Call again, or `resume` it.
   */
  async pause(name: string, options: JobChangeOptions = {}): Promise<void> {
    await this.#change('pause', name, options);
  }

  /**
   * Ends a pause: see `pause`. To resume a job that is not paused changes nothing.
   * @throws HedgeError as `pause`
   */
  async resume(name: string, options: JobChangeOptions = {}): Promise<void> {
    await this.#change('resume', name, options);
  }

  /**
   * Adds a job at run time, or changes the job of that name that was added before. A method with `@LeaderJob` runs it, with
   * `data` in its argument. When the promise resolves, the job is durable, and all leaders run it: add it once, and not on
   * each pod or at each start (which does no harm). It begins now: its first firing is the next nominal time. After a change
   * its history goes on, and no firing begins by the old definition any more. A pause stays. At most 500 jobs can be added.
   *
   * @example
   * await jobs.add({ name: `report of ${id}`, handler: 'tenant report', cron: '0 3 * * *', data: { tenant: id } });
   * @throws HedgeError INVALID_ARGUMENT for a wrong definition, the name of a decorated job, or more than the database can
   *   store for all added jobs together. Nothing was done.
   * @throws HedgeError as `pause`. The call is safe to repeat.
   */
  async add(definition: JobDefinition, options: JobChangeOptions = {}): Promise<void> {
    assertFires(checkDefinition(definition));
    const { name, ...rest } = definition;
    checkKeys(`The options of add of job '${name}'`, options, CHANGE_OPTIONS);
    const { by, reason } = options;
    checkOrigin(by, reason);
    const text = JSON.stringify(rest);
    const action = (): JobAction => ({ $case: 'add', value: { name, definition: text, ...this.#origin(by, reason) } });
    await this.#request('add', name, action, options);
  }

  /**
   * Removes a job that was added at run time. No firing begins any more; a run in progress goes on to its end, and is not
   * repeated. Its history stays.
   * @throws HedgeError INVALID_ARGUMENT for a decorated job, or a job that is not there. Nothing was done.
   * @throws HedgeError as `pause`
   */
  async remove(name: string, options: JobChangeOptions = {}): Promise<void> {
    await this.#change('remove', name, options);
  }

  /**
   * Runs these methods from now on while this pod leads. Called by the module.
   * @throws HedgeError INVALID_OPTIONS, see `JobServer.start`.
   * @internal
   */
  start(methods: readonly JobMethod[]): void {
    this.#deps.server.start(methods);
  }

  async #read(name: string, limit: number): Promise<JobEntry[]> {
    const { log, group } = this.#deps;
    const rows = await log.history(jobKey(group, name), { limit, order: 'newest-first' });
    return rows.flatMap((row) => toJobEntry(row) ?? []);
  }

  async #lastFirings(name: string, limit: number): Promise<JobEntry[]> {
    // A claim and an outcome for each firing, and two rows for a change of the timetable.
    const rows = await this.#read(name, 2 * limit + 2);
    return rows.filter(({ event }, index) => isFiring(event) || (event === 'claimed' && index === 0)).slice(0, limit);
  }

  async #change(method: 'pause' | 'resume' | 'remove', name: string, options: JobChangeOptions): Promise<void> {
    checkJobName(name);
    checkKeys(`The options of ${method} of job '${name}'`, options, CHANGE_OPTIONS);
    const { by, reason } = options;
    checkOrigin(by, reason);
    const action = (): JobAction => ({ $case: method, value: { name, ...this.#origin(by, reason) } });
    await this.#request(method, name, action, options);
  }

  #origin(by = this.#deps.pod(), reason = ''): { by: string; reason: string } {
    return { by, reason };
  }

  /** @param action called when this pod has started */
  async #request(method: string, name: string, action: () => JobAction, options: JobCallOptions): Promise<Encoded> {
    const { gate, messenger, defaultTimeoutMs } = this.#deps;
    const { timeoutMs = defaultTimeoutMs, signal } = options;
    checkCallOptions(method, name, timeoutMs, signal);
    const call = `${method} '${name}'`;
    await gate.pass(call);
    const payload = encodeJobRequest(action());
    const ifUnknown = 'It is safe to call again, runNow with the same id';
    const request = { to: 'leader' as const, type: JOB_REQUEST, topic: '', name: call, payload, ifUnknown };
    try {
      return await messenger.request({ ...request, timeoutMs, signal });
    } catch (error) {
      const unknown = error instanceof HedgeError && error.code === 'NO_HANDLER';
      throw atCaller(unknown ? olderLeader(call, error) : error, signal);
    }
  }
}

function toJobStatus({ name, schedule, nextTimes, running, paused, added }: JobStatusOnWire) {
  return {
    name,
    schedule,
    nextTimes: nextTimes.map((ms) => new Date(ms)),
    ...(paused && {
      paused: { since: new Date(paused.at), by: paused.by, ...(paused.reason !== '' && { reason: paused.reason }) },
    }),
    ...(added && { added: toAdded(added) }),
    ...(running && { running: { fireTime: new Date(running.fireTime), attempt: running.attempt } }),
    lastFirings: [] as readonly JobEntry[],
  };
}

function toAdded({ at, by, handler, data, runnable }: JobAddedOnWire) {
  const value = data === '' ? {} : { data: JSON.parse(data) as unknown };
  return { since: new Date(at), by, handler, ...value, runnable };
}

function checkCount(option: string, value: unknown, min: number, max: number): void {
  if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) return;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `"${option}" is ${String(value)}. Give a whole number from ${min} to ${max}.`,
  );
}

function olderLeader(call: string, cause: HedgeError): HedgeError {
  return new HedgeError(
    'NO_HANDLER',
    `${call} was refused: the leader runs a version of nestjs-hedge that does not know this request. Call again when the rolling update has ended.`,
    { cause },
  );
}
