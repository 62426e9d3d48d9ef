import { backoffMs } from '../common/backoff.js';
import type { Instant } from '../common/clock.js';
import { rangeOf, type FiringRange } from './fire-times.js';
import type { Job } from './job.js';
import { outcomeOf, type JobEvent, type LedgerRow, type RunRequest } from './ledger.js';
import {
  NOT_PAUSED,
  type RequestOutcome,
  type RunEnd,
  type SchedulerControl,
  type SchedulerEffect,
  type SchedulerInput,
  type SchedulerSettings,
} from './job-scheduler.messages.js';

/** Limit of the attempts of a firing: with `catchUp`, a lost run is repeated once. Transactional jobs have no limit. */
const MAX_ATTEMPTS = 2;

/** The pause before a leader repeats its own transactional run doubles with each attempt. `graceMs` may end it earlier. */
const MIN_RERUN_MS = 1_000;
const MAX_RERUN_MS = 60_000;

/** The answer to the commit of a run was a success, and its `done` row is not in the ledger. */
const NOT_COMMITTED =
  'The transaction did not reach the ledger of the job. Pass a data source of the database with the tables of Hedge to run.transaction, and do not call it inside of another transaction.';

/** Longest timer. A wall clock that was set ahead is noticed after this time, because timers use the monotonic clock. */
const MAX_WAKE_MS = 10_000;

interface LeaderTerm {
  readonly token: bigint;
  draining: boolean;
}

/**
 * A call to the ledger, one at a time: it writes `row`, or reads without one. If the read finds the claim of the last run
 * still open, `ifOpen` is the outcome of that run.
 */
interface Calling {
  readonly at: 'calling';
  readonly call: number;
  readonly row?: LedgerRow;
  readonly ifOpen?: LedgerRow;
  readonly tries: number;
  readonly retryAt?: number;
}

type State =
  /** Not leading, or about to hand over the leadership. */
  | { readonly at: 'rest' }
  /** `due` is the start of the next firing, with its jitter. */
  | { readonly at: 'waiting'; readonly due: number | undefined }
  | Calling
  /** `nextDue` is the first firing after the beginning of the run. */
  | { readonly at: 'running'; readonly claim: LedgerRow; readonly nextDue: number | undefined; reported: boolean };

/**
 * One job of the group, on one pod: decides when the job runs, and which rows its ledger gets.
 *
 * The ledger is a chain. Each row accounts for the nominal times from the end of the previous row, `through`, up to its own
 * `through`. A row is written only when the previous row is known to be written. So the last row is enough to know whether
 * a claim is open, and which nominal times are not accounted for yet. Every row is fenced, so a former leader can write
 * none after this leader was elected and has read the ledger.
 *
 * - J1 a firing is claimed at most once for each attempt, and runs at most once for each claim: a claim is written before
 *   its run, and the next attempt only after the previous one was recorded as lost.
 * - J2 no nominal time is passed over silently: each is claimed, or part of a row `missed` or `skipped`.
 * - J3 each claim gets one outcome as soon as there is a leader: from its own leader, or `lost` from the next.
 * - J4 of a transactional job, a claimed firing runs again until it is `done`, and the writes of exactly one of its runs are
 *   committed. The transaction of the run writes `done`. All outcomes of a claim have the same row id, so the next attempt,
 *   which begins only after `lost` or `failed` was written for the previous one, excludes that `done` is written later.
 * - J5 while the job is paused it claims nothing but requested runs, also no further attempt. A firing that was due during
 *   the pause counts as missed.
 * - J6 a requested run is claimed at most once, under any leader: the row id of its claim is the id of the request. It
 *   begins the next attempt of a firing that waits for one, the firing that is due, or the one that `catchUp` runs late.
 *   Otherwise it is a firing at the present time, at which no nominal time is passed over.
 *
 * Nominal times are compared with the wall clock of the leader. A leader whose clock is behind the ledger waits and repeats
 * nothing. A leader whose clock was ahead has recorded all the times that it passed over.
 */
export class JobScheduler {
  #term: LeaderTerm | undefined;
  #state: State = { at: 'rest' };
  #calls = 0;
  /** Nominal times up to here are accounted for. */
  #through = 0;
  /** The present timetable in the ledger. */
  #schedule: string | undefined;
  /** The number of rows `scheduled` at the end of the ledger that have the same time. */
  #revisions = 0;
  /** A firing to claim next, however late, because of `catchUp` or `transactional`. Not before that monotonic time. */
  #rerun: { readonly fireTime: number; readonly attempt: number; readonly notBefore: number } | undefined;
  /** The ledger is ahead of the clock of this pod, and that was reported. */
  #reportedBehind = false;
  /** The end of the last run of this term, by the wall clock. */
  #busyUntil = 0;
  /** Firings due up to this time waited for this pod, and not for the end of a run. By the wall clock. */
  #backlogUntil = 0;
  #control = NOT_PAUSED;
  /** `answered` once `held` was returned. Both end with the next control. */
  #hold: 'none' | 'asked' | 'answered' = 'none';
  /** Requested runs that are not claimed yet. None waits during a run. */
  #requests: readonly { readonly ticket: number; readonly request: RunRequest }[] = [];

  constructor(
    private job: Job,
    private readonly settings: SchedulerSettings,
  ) {}

  /** Whether a hand-over must wait: a run is in progress, or a row is being written. */
  get busy(): boolean {
    return this.#state.at === 'running' || (this.#state.at === 'calling' && this.#state.row !== undefined);
  }

  /** The claim of the run in progress. */
  get running(): LedgerRow | undefined {
    return this.#state.at === 'running' ? this.#state.claim : undefined;
  }

  /** The job was added at run time, and is removed. */
  get removed(): boolean {
    return this.#control.removed;
  }

  /** The nominal times of the next firings, at most that many. Each is computed when it is asked for. */
  *nextTimes(limit: number, wall: number): Generator<number, void> {
    const { times } = this.job;
    let from = Math.max(this.#through, wall);
    for (let count = 0; count < limit; count += 1) {
      const next = times.nextAfter(from);
      if (next === undefined) return;
      yield next;
      from = next;
    }
  }

  step(input: SchedulerInput, now: Instant): readonly SchedulerEffect[] {
    const effects = this.#handle(input, now);
    if (this.#hold !== 'asked' || this.#claiming) return effects;
    this.#hold = 'answered';
    return [...effects, { type: 'held' }];
  }

  /** Whether a claim is being written, and its outcome is not known yet. */
  get #claiming(): boolean {
    return this.#state.at === 'calling' && this.#state.row?.event === 'claimed';
  }

  #handle(input: SchedulerInput, now: Instant): readonly SchedulerEffect[] {
    if ('call' in input) {
      return this.#state.at === 'calling' && this.#state.call === input.call ? this.#answered(input, now) : [];
    }
    if (input.type === 'elected') return [...this.#deposed(), ...this.#elected(input.token, input.control)];
    if (input.type === 'request') return this.#requested(input, now);
    if (input.type === 'control') return this.#controlled(input, now);
    if (input.type === 'ended') return this.#ended(input.end, now);
    if (input.type === 'not-begun') return this.#leaveRun();
    if (input.type === 'tick') return this.#tick(now);
    if (input.type === 'hold') {
      this.#hold = 'asked';
      return [];
    }
    if (this.#term === undefined || input.token !== this.#term.token) return [];
    if (input.type === 'deposed') return this.#deposed();
    this.#term.draining = true;
    return this.busy ? [] : this.#next(now);
  }

  #elected(token: bigint, control: SchedulerControl): readonly SchedulerEffect[] {
    this.#term = { token, draining: false };
    this.#control = control;
    this.#hold = 'none';
    this.#busyUntil = 0;
    if (this.#state.at !== 'running') return this.#load();
    const { fireTime } = this.#state.claim;
    return [{ type: 'report', report: { type: 'runs-since-last-term', fireTime } }];
  }

  #controlled(
    { control, job = this.job }: Extract<SchedulerInput, { readonly type: 'control' }>,
    now: Instant,
  ): readonly SchedulerEffect[] {
    const wasRemoved = this.#control.removed;
    this.#control = control;
    this.job = job;
    this.#hold = 'none';
    const idle = this.#state.at === 'waiting' || (this.#state.at === 'rest' && wasRemoved);
    return idle ? this.#next(now) : [];
  }

  #deposed(): readonly SchedulerEffect[] {
    this.#term = undefined;
    return this.#state.at === 'running' ? [] : this.#rest();
  }

  #rest(): readonly SchedulerEffect[] {
    this.#state = { at: 'rest' };
    return this.#settle(() => 'not-leading');
  }

  #requested(
    { ticket, request }: Extract<SchedulerInput, { readonly type: 'request' }>,
    now: Instant,
  ): readonly SchedulerEffect[] {
    const state = this.#state;
    this.#requests = [...this.#requests, { ticket, request }];
    if (state.at === 'rest' || this.#term === undefined) return this.#settle(() => 'not-leading');
    if (state.at === 'running') return this.#settleAt(state.claim);
    return state.at === 'waiting' ? this.#next(now) : [];
  }

  /** @param outcome undefined for a request that waits on */
  #settle(outcome: (request: RunRequest) => RequestOutcome | undefined): readonly SchedulerEffect[] {
    const all = this.#requests.map((one) => ({ ...one, outcome: outcome(one.request) }));
    this.#requests = all.filter((one) => one.outcome === undefined);
    return all.flatMap(({ ticket, outcome }) => (outcome === undefined ? [] : [{ type: 'settle', ticket, outcome }]));
  }

  /** The run of this claim begins, or goes on. */
  #settleAt({ requested }: LedgerRow): readonly SchedulerEffect[] {
    return this.#settle(({ id }) => (id === requested?.id ? 'claimed' : 'running'));
  }

  #load(ifOpen?: LedgerRow): readonly SchedulerEffect[] {
    return this.#call({ at: 'calling', call: 0, tries: 0, ...(ifOpen && { ifOpen }) });
  }

  #call(state: Omit<Calling, 'retryAt'>): readonly SchedulerEffect[] {
    if (this.#term === undefined) return this.#deposed();
    const call = (this.#calls += 1);
    const { row, ifOpen, tries } = state;
    this.#state = { at: 'calling', call, tries: tries + 1, ...(row && { row }), ...(ifOpen && { ifOpen }) };
    return [row === undefined ? { type: 'load', call } : { type: 'write', call, row, token: this.#term.token }];
  }

  #answered(input: Extract<SchedulerInput, { readonly call: number }>, now: Instant): readonly SchedulerEffect[] {
    const { row, ...state } = this.#state as Calling;
    if (input.type === 'loaded') return this.#loaded(input.row, state.ifOpen, now);
    if (input.type === 'fenced-off') return this.#deposed();
    if (input.type === 'written') return row === undefined ? [] : this.#written(row, now);
    const { retryMs } = this.settings;
    const pauseMs = backoffMs(state.tries, retryMs, 4 * retryMs, input.random);
    // After a conflict, the ledger is read again.
    const again = input.type === 'call-failed' && row !== undefined ? { row } : {};
    this.#state = { ...state, ...again, retryAt: now.mono + pauseMs };
    // An earlier leader has claimed the requested run.
    const claimed = input.type === 'conflict' && row?.event === 'claimed' ? row.requested?.id : undefined;
    const settled = this.#settle(({ id }) => (id === claimed ? 'claimed' : undefined));
    return [...settled, { type: 'wake', afterMs: pauseMs }];
  }

  #loaded(row: LedgerRow | undefined, ifOpen: LedgerRow | undefined, now: Instant): readonly SchedulerEffect[] {
    if (this.#term === undefined) return [];
    const wall = Math.floor(now.wall);
    this.#rerun = undefined;
    if (row === undefined) {
      // A new job begins now, and its first row records that: so the next leader knows the firings since then.
      this.#schedule = undefined;
      this.#through = wall;
      this.#revisions = 0;
      return this.#next(now);
    }
    this.#followRow(row);
    this.#reportedBehind = false;
    const effects = this.#reportBehind(now);
    if (row.event === 'claimed') return [...effects, ...this.#write(ifOpen ?? { ...row, event: 'lost' })];
    this.#planRerun(row, now);
    return [...effects, ...this.#next(now)];
  }

  /** This row is the last one of the ledger. */
  #followRow({ event, through, schedule, revision = 0 }: LedgerRow): void {
    this.#through = through;
    this.#schedule = schedule;
    this.#revisions = event === 'scheduled' ? revision + 1 : 0;
  }

  #written(row: LedgerRow, now: Instant): readonly SchedulerEffect[] {
    this.#followRow(row);
    const recorded: SchedulerEffect[] = [{ type: 'report', report: { type: 'recorded', row } }];
    if (row.event !== 'claimed') {
      this.#planRerun(row, now);
      return [...recorded, ...this.#next(now)];
    }
    this.#rerun = undefined;
    const nextDue = this.job.times.nextAfter(Math.max(row.through, now.wall));
    this.#state = { at: 'running', claim: row, nextDue, reported: false };
    return [...recorded, ...this.#settleAt(row), { type: 'run', claim: row }, ...this.#wakeFor(nextDue, now)];
  }

  #planRerun({ event, fireTime, attempt, token, transactional = false }: LedgerRow, now: Instant): void {
    const { job } = this;
    if (fireTime <= this.#control.addedAt) return;
    // A run from before the job became transactional may have committed a part of its work.
    const untilDone = job.transactional && transactional;
    const again = untilDone
      ? event === 'lost' || event === 'failed'
      : event === 'lost' && job.catchUp && attempt < MAX_ATTEMPTS;
    if (!again) return;
    const own = token === this.#term?.token;
    const maxMs = Math.min(MAX_RERUN_MS, job.graceMs);
    const pauseMs = untilDone && own ? Math.min(maxMs, MIN_RERUN_MS * 2 ** Math.min(attempt - 1, 30)) : 0;
    this.#rerun = { fireTime, attempt: attempt + 1, notBefore: now.mono + pauseMs };
  }

  #ended(end: RunEnd, now: Instant): readonly SchedulerEffect[] {
    if (this.#state.at !== 'running') return [];
    const { claim } = this.#state;
    // The next term has another fence: its leader records the outcome of this run.
    if (claim.token !== this.#term?.token) return this.#leaveRun();
    this.#busyUntil = now.wall;
    // The transaction has written `done`. The ledger confirms that, not the answer to the commit.
    if (claim.transactional === true && end.error === undefined) {
      return this.#load(outcomeOf(claim, { ...end, error: NOT_COMMITTED }));
    }
    return this.#write(outcomeOf(claim, end));
  }

  /** Leaves the outcome of a run to the next leader, which is this pod itself if it was elected meanwhile. */
  #leaveRun(): readonly SchedulerEffect[] {
    this.#state = { at: 'rest' };
    return this.#term === undefined ? [] : this.#load();
  }

  #tick(now: Instant): readonly SchedulerEffect[] {
    const state = this.#state;
    if (state.at === 'rest') return [];
    if (state.at === 'waiting') {
      const { due } = state;
      if (this.#rerun !== undefined) return this.#next(now);
      if (due !== undefined && due <= now.wall) return this.#next(now);
      return [...this.#reportBehind(now), ...this.#wakeFor(due, now)];
    }
    if (state.at === 'calling') {
      if (state.retryAt === undefined) return [];
      if (now.mono >= state.retryAt) return this.#call(state);
      return [{ type: 'wake', afterMs: state.retryAt - now.mono }];
    }
    const { nextDue: due } = state;
    if (state.reported || due === undefined) return [];
    if (due > now.wall) return this.#wakeFor(due, now);
    state.reported = true;
    return [{ type: 'report', report: { type: 'still-running', fireTime: due } }];
  }

  /** Decides the next step, when no call or run is in progress and the last row of the ledger is known. */
  #next(now: Instant): readonly SchedulerEffect[] {
    const { job } = this;
    const { paused, removed, addedAt } = this.#control;
    if (removed) this.#rerun = undefined;
    if (this.#term === undefined || this.#term.draining || removed) return this.#rest();
    const request = this.#requests[0]?.request;
    if (this.#hold !== 'none' || (paused && request === undefined)) {
      this.#state = { at: 'waiting', due: undefined };
      return [];
    }
    if (this.#rerun !== undefined) {
      const { fireTime, attempt, notBefore } = this.#rerun;
      if (request !== undefined || now.mono >= notBefore) return this.#claim(fireTime, attempt, request);
      this.#state = { at: 'waiting', due: undefined };
      return [{ type: 'wake', afterMs: notBefore - now.mono }];
    }
    const wall = Math.floor(now.wall);
    const tooOld = Math.max(wall - job.jitterMs - job.graceMs - 1, this.#control.resumedAt);
    if (this.#schedule !== job.times.text || this.#through < addedAt) {
      // Times that the old timetable accounted for do not run again. Earlier times of the new timetable are not `missed`.
      const from = Math.max(this.#through, tooOld, addedAt);
      const revision = from === this.#through && this.#revisions > 0 ? { revision: this.#revisions } : {};
      return this.#write(this.#row('scheduled', from, { schedule: job.times.text, ...revision }));
    }
    const due = job.times.nextAfter(this.#through);
    if (due !== undefined && due <= wall && paused) return this.#passOver('missed', due, wall, request);
    const start = due && due + job.jitter(due);
    if (due === undefined || start === undefined || start > wall) {
      // No firing is to start now. The ledger may be ahead of the clock.
      const present = Math.max(wall, this.#through + 1);
      if (request !== undefined && (due === undefined || due > present)) return this.#claim(present, 1, request);
      if (request !== undefined && due !== undefined && due <= wall) return this.#claim(due, 1, request);
      this.#state = { at: 'waiting', due: start };
      // Reported during a term, too: the job pauses when a clock is set back, or corrected after it was ahead.
      return [...this.#reportBehind(now), ...this.#wakeFor(start, now)];
    }
    if (due <= tooOld) return this.#passOver('missed', due, tooOld, request);
    // A firing that could still wait for the end of the run, within its jitter, is not skipped.
    const busyUntil = this.#busyUntil - job.jitterMs;
    if (due > busyUntil) this.#backlogUntil = wall;
    else if (due > this.#backlogUntil) return this.#passOver('skipped', due, busyUntil, request);
    return this.#claim(due, 1, request);
  }

  /** Reports once when the ledger is ahead of the clock of this pod. */
  #reportBehind(now: Instant): readonly SchedulerEffect[] {
    const through = this.#through;
    const byMs = through - Math.floor(now.wall);
    const reported = this.#reportedBehind;
    this.#reportedBehind = byMs > this.job.graceMs;
    if (reported || !this.#reportedBehind) return [];
    return [{ type: 'report', report: { type: 'clock-behind', through, byMs } }];
  }

  /** @param request takes the firing that `catchUp` runs */
  #passOver(
    event: 'missed' | 'skipped',
    first: number,
    until: number,
    request: RunRequest | undefined,
  ): readonly SchedulerEffect[] {
    const all = rangeOf(this.job.times, first, until);
    if (!this.job.catchUp) return this.#writeRange(event, all);
    this.#rerun = { fireTime: all.last, attempt: 1, notBefore: 0 };
    if (all.last === first) return this.#claim(first, 1, request);
    return this.#writeRange(event, rangeOf(this.job.times, first, all.last - 1));
  }

  #writeRange(event: 'missed' | 'skipped', { first, last, count }: FiringRange): readonly SchedulerEffect[] {
    const paused = event === 'missed' && (this.#control.paused || first <= this.#control.resumedAt);
    return this.#write(this.#row(event, first, { through: last, count, ...(paused && { paused }) }));
  }

  #claim(fireTime: number, attempt: number, requested?: RunRequest): readonly SchedulerEffect[] {
    const { transactional } = this.job;
    const more = { attempt, ...(transactional && { transactional }), ...(requested && { requested }) };
    return this.#write(this.#row('claimed', fireTime, more));
  }

  #write(row: LedgerRow): readonly SchedulerEffect[] {
    return this.#call({ at: 'calling', call: 0, row, tries: 0 });
  }

  #row(event: JobEvent, fireTime: number, more: Partial<LedgerRow>): LedgerRow {
    const { address, incarnation } = this.settings.self();
    return {
      event,
      fireTime,
      through: fireTime,
      count: 1,
      attempt: 0,
      pod: address,
      incarnation,
      token: this.#term?.token ?? 0n,
      schedule: this.#schedule ?? this.job.times.text,
      ...more,
    };
  }

  #wakeFor(due: number | undefined, now: Instant): readonly SchedulerEffect[] {
    if (due === undefined) return [];
    return [{ type: 'wake', afterMs: Math.min(MAX_WAKE_MS, Math.max(1, due - now.wall)) }];
  }
}
