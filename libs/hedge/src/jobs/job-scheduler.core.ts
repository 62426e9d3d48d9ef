import { backoffMs } from '../common/backoff.js';
import type { Instant } from '../common/clock.js';
import { rangeOf } from './fire-times.js';
import type { Job } from './job.js';
import type { JobEvent, LedgerRow } from './ledger.js';
import type { SchedulerEffect, SchedulerInput, SchedulerSettings } from './job-scheduler.messages.js';

/** How often a firing may be begun: with `catchUp`, a run that was lost is begun once more. */
const MAX_ATTEMPTS = 2;

/** A wall clock that was set ahead is noticed after this, since timers go by the monotonic one. */
const MAX_WAKE_MS = 10_000;

interface Term {
  readonly token: bigint;
  draining: boolean;
}

type State =
  /** Not leading, or about to give leadership back. */
  | { readonly at: 'rest' }
  /** `due` is the next firing to fall due. */
  | { readonly at: 'waiting'; readonly due: number | undefined }
  /** One call at a time. `row` is what it writes; without one it reads. */
  | { readonly at: 'calling'; readonly call: number; readonly row?: LedgerRow; tries: number; retryAt?: number }
  /** `nextDue` is the first firing to fall due after the run began. */
  | { readonly at: 'running'; readonly claim: LedgerRow; readonly nextDue: number | undefined; told: boolean };

/**
 * One job of the group, on one pod: decides when it runs, and what its ledger says.
 *
 * The ledger is a chain. Each row accounts for the nominal times from where the row before it ended, `through`, up to
 * its own `through`; and a row is written only when the one before it is known to be written. So the last row alone tells
 * all: whether a claim is open, and from when on nominal times are not yet accounted for. Since every row is fenced,
 * none of a former leader can follow once this one has been elected and has read.
 *
 * - J1 a firing is claimed at most once for each attempt, and run at most once for each claim: a claim is written before
 *   its run, and the next attempt only after the one before was recorded as lost.
 * - J2 no nominal time is passed over in silence: each is claimed, or part of a row `missed` or `skipped`.
 * - J3 each claim gets one outcome, as soon as somebody leads: of its own leader, or `lost` of the next one.
 *
 * Nominal times go by the leader's wall clock. One that is behind the ledger waits, and repeats nothing; one that was
 * ahead has recorded all it passed over.
 */
export class JobScheduler {
  #term: Term | undefined;
  #state: State = { at: 'rest' };
  #calls = 0;
  /** Nominal times up to here are accounted for. */
  #through = 0;
  /** The timetable that the ledger has now. */
  #schedule: string | undefined;
  /** A firing to be claimed next, however late: what `catchUp` makes good. */
  #owed: { readonly fireTime: number; readonly attempt: number } | undefined;
  /** It was reported that the ledger is ahead of this pod's clock, and it still is. */
  #toldBehind = false;
  /** When the last run of this term ended, by the wall clock. */
  #busyUntil = 0;
  /** What fell due up to here waited for this pod rather than for a run, by the wall clock. */
  #backlogUntil = 0;

  constructor(
    private readonly job: Job,
    private readonly settings: SchedulerSettings,
  ) {}

  /** Whether something is going on that a hand-over waits for: a run, or a row that is being written. */
  get busy(): boolean {
    return this.#state.at === 'running' || (this.#state.at === 'calling' && this.#state.row !== undefined);
  }

  step(input: SchedulerInput, now: Instant): readonly SchedulerEffect[] {
    if ('call' in input) {
      return this.#state.at === 'calling' && this.#state.call === input.call ? this.#answered(input, now) : [];
    }
    if (input.type === 'elected') return this.#elected(input.token);
    if (input.type === 'ended') return this.#ended(input.end, now);
    if (input.type === 'not-begun') return this.#leaveRun();
    if (input.type === 'tick') return this.#tick(now);
    if (this.#term === undefined || input.token !== this.#term.token) return [];
    if (input.type === 'deposed') return this.#deposed();
    this.#term.draining = true;
    return this.busy ? [] : this.#next(now);
  }

  #elected(token: bigint): readonly SchedulerEffect[] {
    this.#term = { token, draining: false };
    if (this.#state.at !== 'running') return this.#load();
    const { fireTime } = this.#state.claim;
    return [{ type: 'report', report: { type: 'runs-since-last-term', fireTime } }];
  }

  #deposed(): readonly SchedulerEffect[] {
    this.#term = undefined;
    if (this.#state.at !== 'running') this.#state = { at: 'rest' };
    return [];
  }

  #load(): readonly SchedulerEffect[] {
    return this.#call({ at: 'calling', call: 0, tries: 0 });
  }

  #call(state: Extract<State, { at: 'calling' }>): readonly SchedulerEffect[] {
    if (this.#term === undefined) return this.#deposed();
    const call = (this.#calls += 1);
    const { row, tries } = state;
    this.#state = { at: 'calling', call, tries: tries + 1, ...(row && { row }) };
    return [row === undefined ? { type: 'load', call } : { type: 'write', call, row, token: this.#term.token }];
  }

  #answered(input: Extract<SchedulerInput, { readonly call: number }>, now: Instant): readonly SchedulerEffect[] {
    const state = this.#state as Extract<State, { at: 'calling' }>;
    if (input.type === 'loaded') return this.#loaded(input.row, now);
    if (input.type === 'fenced-off') return this.#deposed();
    const { call, tries, row } = state;
    if (input.type === 'written') return row === undefined ? [] : this.#written(row, now);
    const { retryMs } = this.settings;
    const pauseMs = backoffMs(tries, retryMs, 4 * retryMs, input.random);
    // After a conflict the ledger is read again.
    const again = input.type === 'call-failed' && row !== undefined ? { row } : {};
    this.#state = { at: 'calling', call, tries, ...again, retryAt: now.mono + pauseMs };
    return [{ type: 'wake', afterMs: pauseMs }];
  }

  #loaded(row: LedgerRow | undefined, now: Instant): readonly SchedulerEffect[] {
    if (this.#term === undefined) return [];
    const wall = Math.floor(now.wall);
    this.#busyUntil = 0;
    this.#owed = undefined;
    if (row === undefined) {
      // A job that was never seen begins now, and says so: the next leader then knows what fell due since.
      this.#schedule = undefined;
      this.#through = wall;
      return this.#next(now);
    }
    this.#through = row.through;
    this.#schedule = row.schedule;
    this.#toldBehind = false;
    const effects = this.#reportBehind(now);
    if (row.event === 'claimed') return [...effects, ...this.#write({ ...row, event: 'lost' })];
    this.#oweLost(row);
    return [...effects, ...this.#next(now)];
  }

  #written(row: LedgerRow, now: Instant): readonly SchedulerEffect[] {
    this.#through = row.through;
    this.#schedule = row.schedule;
    const recorded: SchedulerEffect[] = [{ type: 'report', report: { type: 'recorded', row } }];
    if (row.event !== 'claimed') {
      this.#oweLost(row);
      return [...recorded, ...this.#next(now)];
    }
    this.#owed = undefined;
    const nextDue = this.job.times.nextAfter(Math.max(row.through, now.wall));
    this.#state = { at: 'running', claim: row, nextDue, told: false };
    return [...recorded, { type: 'run', claim: row }, ...this.#wakeFor(nextDue, now)];
  }

  #oweLost({ event, fireTime, attempt }: LedgerRow): void {
    if (event !== 'lost' || !this.job.catchUp || attempt >= MAX_ATTEMPTS) return;
    this.#owed = { fireTime, attempt: attempt + 1 };
  }

  #ended({ durationMs, error }: { durationMs: number; error?: string }, now: Instant): readonly SchedulerEffect[] {
    if (this.#state.at !== 'running') return [];
    const { claim } = this.#state;
    // The next term has another fence: what became of this run is for its leader to say.
    if (claim.token !== this.#term?.token) return this.#leaveRun();
    this.#busyUntil = now.wall;
    const event = error === undefined ? 'done' : 'failed';
    return this.#write({ ...claim, event, durationMs, ...(error !== undefined && { error }) });
  }

  /** Leaves a run to the ledger of the next term, which is this pod's own if it has been elected meanwhile. */
  #leaveRun(): readonly SchedulerEffect[] {
    this.#state = { at: 'rest' };
    return this.#term === undefined ? [] : this.#load();
  }

  #tick(now: Instant): readonly SchedulerEffect[] {
    const state = this.#state;
    if (state.at === 'rest') return [];
    if (state.at === 'waiting') {
      const { due } = state;
      if (due !== undefined && due <= now.wall) return this.#next(now);
      return [...this.#reportBehind(now), ...this.#wakeFor(due, now)];
    }
    if (state.at === 'calling') {
      if (state.retryAt === undefined) return [];
      if (now.mono >= state.retryAt) return this.#call(state);
      return [{ type: 'wake', afterMs: state.retryAt - now.mono }];
    }
    const { nextDue: due } = state;
    if (state.told || due === undefined) return [];
    if (due > now.wall) return this.#wakeFor(due, now);
    state.told = true;
    return [{ type: 'report', report: { type: 'still-running', fireTime: due } }];
  }

  /** Nothing is going on, and the ledger's last row is known: what comes next? */
  #next(now: Instant): readonly SchedulerEffect[] {
    const { job } = this;
    if (this.#term === undefined || this.#term.draining) {
      this.#state = { at: 'rest' };
      return [];
    }
    if (this.#owed !== undefined) return this.#claim(this.#owed.fireTime, this.#owed.attempt);
    const wall = Math.floor(now.wall);
    const tooOld = wall - job.graceMs - 1;
    if (this.#schedule !== job.times.text) {
      // A time that the old timetable has accounted for is not run again, nor one that it had no part in missed.
      const from = Math.max(this.#through, tooOld);
      return this.#write(this.#row('scheduled', from, { schedule: job.times.text }));
    }
    const due = job.times.nextAfter(this.#through);
    if (due === undefined || due > wall) {
      this.#state = { at: 'waiting', due };
      // Also during a term: a clock that was set back, or set right after it was ahead, silences the job.
      return [...this.#reportBehind(now), ...this.#wakeFor(due, now)];
    }
    if (due <= tooOld) return this.#passOver('missed', due, tooOld);
    if (due > this.#busyUntil) this.#backlogUntil = wall;
    else if (due > this.#backlogUntil) return this.#passOver('skipped', due, this.#busyUntil);
    return this.#claim(due, 1);
  }

  /** Once, as long as the ledger stays ahead of this pod's clock. */
  #reportBehind(now: Instant): readonly SchedulerEffect[] {
    const through = this.#through;
    const byMs = through - Math.floor(now.wall);
    const told = this.#toldBehind;
    this.#toldBehind = byMs > this.job.graceMs;
    if (told || !this.#toldBehind) return [];
    return [{ type: 'report', report: { type: 'clock-behind', through, byMs } }];
  }

  #passOver(event: 'missed' | 'skipped', first: number, until: number): readonly SchedulerEffect[] {
    const all = rangeOf(this.job.times, first, until);
    if (!this.job.catchUp) return this.#writeRange(event, all);
    this.#owed = { fireTime: all.last, attempt: 1 };
    if (all.last === first) return this.#claim(first, 1);
    return this.#writeRange(event, rangeOf(this.job.times, first, all.last - 1));
  }

  #writeRange(
    event: 'missed' | 'skipped',
    { first, last, count }: { first: number; last: number; count: number },
  ): readonly SchedulerEffect[] {
    return this.#write(this.#row(event, first, { through: last, count }));
  }

  #claim(fireTime: number, attempt: number): readonly SchedulerEffect[] {
    return this.#write(this.#row('claimed', fireTime, { attempt }));
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
