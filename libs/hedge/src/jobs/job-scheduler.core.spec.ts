import { beforeEach, describe, expect, it } from '@jest/globals';
import { intervalTimes } from './fire-times.js';
import type { Job } from './job.js';
import { rowIdOf, type LedgerRow } from './ledger.js';
import { JobScheduler } from './job-scheduler.core.js';
import {
  NOT_PAUSED,
  REMOVED,
  type SchedulerControl,
  type SchedulerEffect,
  type SchedulerInput,
} from './job-scheduler.messages.js';

const MINUTE = 60_000;
/** A whole number of minutes. */
const T0 = 1_700_000_040_000;
const JOB: Job = {
  name: 'j',
  times: intervalTimes(MINUTE),
  catchUp: false,
  transactional: false,
  graceMs: 3 * MINUTE,
  jitterMs: 0,
  jitter: () => 0,
  historyLimit: 1_000,
};

/** One pod with the core, a ledger that answers at once by default, and manual clocks. */
class Bench {
  wall = T0;
  /** The time for which the machine slept. The monotonic clock does not count it. */
  slept = 0;
  answers = true;
  readonly pending: SchedulerEffect[] = [];
  readonly running: LedgerRow[] = [];
  readonly reports: string[] = [];
  wakeAfterMs: number | undefined;
  control = NOT_PAUSED;
  readonly answered: string[] = [];
  #tickets = 0;
  /** How often the scheduler has answered a hold. */
  held = 0;
  readonly scheduler: JobScheduler;

  constructor(
    readonly ledger: LedgerRow[] = [],
    job: Partial<Job> = {},
    readonly address = 'a:1',
  ) {
    const self = () => ({ address: this.address, incarnation: this.address });
    this.scheduler = new JobScheduler({ ...JOB, ...job }, { self, retryMs: 100 });
  }

  step(input: SchedulerInput): void {
    for (const effect of this.scheduler.step(input, { mono: this.wall - this.slept, wall: this.wall })) {
      if (effect.type === 'run') this.running.push(effect.claim);
      else if (effect.type === 'wake') this.wakeAfterMs = effect.afterMs;
      else if (effect.type === 'held') this.held += 1;
      else if (effect.type === 'settle') this.answered.push(`${effect.ticket} ${effect.outcome}`);
      else if (effect.type !== 'report') this.#call(effect);
      else if (effect.report.type !== 'recorded') this.reports.push(effect.report.type);
    }
  }

  #call(effect: SchedulerEffect): void {
    if (this.answers) this.answer(effect);
    else this.pending.push(effect);
  }

  answer(effect: SchedulerEffect): void {
    if (effect.type === 'load') this.step({ type: 'loaded', call: effect.call, row: this.ledger.at(-1) });
    if (effect.type !== 'write') return;
    // As the log table: the same row is written once, and another one with its id is a conflict.
    const there = this.ledger.find((row) => rowIdOf(row) === rowIdOf(effect.row));
    if (there !== undefined && there !== effect.row) {
      return this.step({ type: 'conflict', call: effect.call, random: 0 });
    }
    if (there === undefined) this.ledger.push(effect.row);
    this.step({ type: 'written', call: effect.call });
  }

  at(minutes: number): this {
    this.wall = T0 + minutes * MINUTE;
    this.step({ type: 'tick' });
    return this;
  }

  /** The machine sleeps, and wakes up. No timer is due yet. */
  sleep(minutes: number): this {
    this.wall += minutes * MINUTE;
    this.slept += minutes * MINUTE;
    return this;
  }

  elect(token = 1n): this {
    this.step({ type: 'elected', token, control: this.control });
    return this;
  }

  ask(id: string): this {
    this.#tickets += 1;
    this.step({ type: 'request', ticket: this.#tickets, request: { id, by: 'ann' } });
    return this;
  }

  follow(control: SchedulerControl): this {
    this.step({ type: 'control', control });
    return this;
  }

  /** As the registry does it: a hold, the commit, then the new control. */
  pause(): this {
    this.step({ type: 'hold' });
    this.control = { ...this.control, paused: true };
    this.step({ type: 'control', control: this.control });
    return this;
  }

  resume(): this {
    this.control = { ...NOT_PAUSED, resumedAt: this.wall };
    this.step({ type: 'control', control: this.control });
    return this;
  }

  /** Ends the last run. */
  end(error?: string): this {
    this.step({ type: 'ended', end: { durationMs: 5, ...(error !== undefined && { error }) } });
    return this;
  }

  /** Minutes and events of the rows: `claimed 1`, `missed 2-4 (3)`. */
  get rows(): string[] {
    return this.ledger.map(({ event, fireTime, through, count, attempt }) => {
      const times = through === fireTime ? `${minute(fireTime)}` : `${minute(fireTime)}-${minute(through)} (${count})`;
      return `${event} ${times}${attempt > 1 ? ` attempt ${attempt}` : ''}`;
    });
  }
}

function minute(ms: number): number {
  return Math.floor((ms - T0) / MINUTE);
}

function added(minutes: number): SchedulerControl {
  return { ...NOT_PAUSED, addedAt: T0 + minutes * MINUTE };
}

/** The ledger of a leader that claimed minute 1 and was lost then. */
function lostInMinute1(): LedgerRow[] {
  const first = new Bench().elect().at(1);
  return first.ledger;
}

/** The transaction of the last run commits `done`. */
function commit(bench: Bench): void {
  bench.ledger.push({ ...bench.running.at(-1)!, event: 'done', durationMs: 5 });
}

describe('job scheduler', () => {
  let pod: Bench;
  beforeEach(() => {
    pod = new Bench();
  });

  it('J1: claims each firing before its run, and records the outcome', () => {
    pod.elect();
    expect(pod.rows).toEqual(['scheduled 0']);
    expect(pod.wakeAfterMs).toBe(10_000);
    pod.at(1);
    expect(pod.rows).toEqual(['scheduled 0', 'claimed 1']);
    expect(pod.running).toMatchObject([{ fireTime: T0 + MINUTE, attempt: 1, token: 1n }]);
    pod.end().at(2).end('boom');
    expect(pod.rows.slice(2)).toEqual(['done 1', 'claimed 2', 'failed 2']);
    expect(pod.ledger.at(-1)).toMatchObject({ durationMs: 5, error: 'boom', pod: 'a:1' });
  });

  it('J1: does nothing while another pod leads', () => {
    pod.at(5);
    pod.elect().step({ type: 'deposed', token: 1n });
    pod.at(6);
    expect(pod.rows).toEqual(['scheduled 5']);
  });

  it('J1: repeats a write without an answer as the same row, and runs only after its answer', () => {
    pod.elect();
    pod.answers = false;
    pod.at(1);
    const [write] = pod.pending.splice(0) as Extract<SchedulerEffect, { type: 'write' }>[];
    pod.step({ type: 'call-failed', call: write!.call, random: 0.5 });
    expect(pod.running).toEqual([]);
    pod.at(2);
    const [again] = pod.pending.splice(0) as Extract<SchedulerEffect, { type: 'write' }>[];
    expect(again!.row).toBe(write!.row);
    pod.step({ type: 'written', call: write!.call });
    expect(pod.running).toEqual([]);
    pod.answer(again!);
    expect(pod.running).toHaveLength(1);
  });

  it('J1: runs nothing more in this term after the fence rejected a claim', () => {
    pod.elect();
    pod.answers = false;
    pod.at(1);
    pod.step({ type: 'fenced-off', call: (pod.pending[0] as { call: number }).call });
    pod.answers = true;
    pod.at(2);
    expect([pod.rows, pod.running]).toEqual([['scheduled 0'], []]);
    expect(pod.scheduler.busy).toBe(false);
  });

  it('J1: reads the ledger again when a row exists with another value', () => {
    pod.elect();
    pod.answers = false;
    pod.at(1);
    const [write] = pod.pending.splice(0) as Extract<SchedulerEffect, { type: 'write' }>[];
    pod.ledger.push({ ...write!.row, event: 'claimed', token: 2n }, { ...write!.row, event: 'done' });
    pod.step({ type: 'conflict', call: write!.call, random: 0 });
    pod.answers = true;
    pod.at(2);
    expect(pod.rows.slice(3)).toEqual(['claimed 2']);
  });

  it('J2: runs each firing that was due during a change of the leader', () => {
    pod.elect().at(1).end();
    const next = new Bench(pod.ledger, {}, 'b:1');
    next.wall = T0 + 3 * MINUTE;
    next.elect(2n).at(3.5).end().end();
    expect(next.reports).toEqual([]);
    expect(next.rows.slice(3)).toEqual(['claimed 2', 'done 2', 'claimed 3', 'done 3']);
  });

  it('J2: records firings older than the grace time as missed, in one row', () => {
    pod.elect().at(1).end();
    const next = new Bench(pod.ledger, {}, 'b:1');
    next.wall = T0 + 10 * MINUTE;
    next.elect(2n);
    expect(next.rows.slice(3)).toEqual(['missed 2-6 (5)', 'claimed 7']);
  });

  it('J2: with catchUp, runs the last missed firing, also when the leader changes in between', () => {
    pod.elect().at(1).end();
    const next = new Bench(pod.ledger, { catchUp: true }, 'b:1');
    next.wall = T0 + 10 * MINUTE;
    next.elect(2n);
    expect(next.rows.slice(3)).toEqual(['missed 2-5 (4)', 'claimed 6']);
    const third = new Bench(pod.ledger.slice(0, -1), { catchUp: true }, 'c:1');
    third.wall = T0 + 10 * MINUTE;
    third.elect(3n);
    expect(third.rows.slice(4)).toEqual(['claimed 6']);
  });

  it('J2: counts at most 100 missed firings, and passes over all of them', () => {
    pod.elect().at(1).end();
    pod.at(100_000);
    expect(pod.rows.slice(3)).toEqual(['missed 2-99996 (100)', 'claimed 99997']);
  });

  it('J2: skips firings that are due during a run, and reports that during the run', () => {
    pod.elect().at(1).at(2).at(3);
    expect(pod.reports).toEqual(['still-running']);
    pod.at(3.5).end().at(4);
    expect(pod.rows.slice(1)).toEqual(['claimed 1', 'done 1', 'skipped 2-3 (2)', 'claimed 4']);
  });

  it('J2: with catchUp, runs the last skipped firing', () => {
    pod = new Bench([], { catchUp: true }).elect().at(1).at(3.5).end();
    expect(pod.rows.slice(1)).toEqual(['claimed 1', 'done 1', 'skipped 2', 'claimed 3']);
  });

  it('J2: counts the sleep of its machine as lateness', () => {
    pod.elect().at(1).end();
    pod.sleep(2.5).step({ type: 'tick' });
    expect(pod.rows.slice(-1)).toEqual(['claimed 2']);
    pod.end().end();
    pod.sleep(10).step({ type: 'tick' });
    expect(pod.rows.slice(-2)).toEqual(['missed 4-10 (7)', 'claimed 11']);
  });

  it('J3: records a run without an outcome as lost', () => {
    const next = new Bench(lostInMinute1(), {}, 'b:1');
    next.wall += MINUTE;
    next.elect(2n).at(2);
    expect(next.rows.slice(1)).toEqual(['claimed 1', 'lost 1', 'claimed 2']);
    expect(next.ledger[2]).toMatchObject({ pod: 'a:1', token: 1n });
  });

  it('J3: with catchUp, repeats a lost run once', () => {
    const second = new Bench(lostInMinute1(), { catchUp: true }, 'b:1');
    second.wall += MINUTE;
    second.elect(2n);
    expect(second.running).toMatchObject([{ fireTime: T0 + MINUTE, attempt: 2, token: 2n }]);
    const third = new Bench(second.ledger, { catchUp: true }, 'c:1');
    third.wall += MINUTE;
    third.elect(3n).at(2);
    expect(third.rows.slice(2)).toEqual(['lost 1', 'claimed 1 attempt 2', 'lost 1 attempt 2', 'claimed 2']);
  });

  it('J3: makes the second attempt later when its leader is lost before it began', () => {
    const ledger = lostInMinute1();
    ledger.push({ ...ledger.at(-1)!, event: 'lost' });
    const third = new Bench(ledger, { catchUp: true }, 'c:1');
    third.elect(3n);
    expect(third.running).toMatchObject([{ attempt: 2 }]);
  });

  it('J3: leaves the outcome of a run to the next leader after the end of its term', () => {
    pod.elect().at(1).step({ type: 'deposed', token: 1n });
    pod.end();
    expect(pod.rows).toEqual(['scheduled 0', 'claimed 1']);
  });

  it('J1: waits in a new term for the run of an earlier term of the same pod', () => {
    pod.elect().at(1).step({ type: 'deposed', token: 1n });
    pod.elect(2n).at(2);
    expect(pod.reports).toContain('runs-since-last-term');
    expect(pod.running).toHaveLength(1);
    pod.end();
    expect(pod.rows.slice(1)).toEqual(['claimed 1', 'lost 1', 'claimed 2']);
  });

  it('J3: records a claimed run that did not begin as lost', () => {
    pod.elect().at(1).step({ type: 'deposed', token: 1n });
    pod.step({ type: 'not-begun' });
    pod.elect(2n);
    expect(pod.rows.slice(1)).toEqual(['claimed 1', 'lost 1']);
  });

  it('begins no run during a hand-over, and lets a run end', () => {
    pod.elect().at(1).step({ type: 'draining', token: 1n });
    expect(pod.scheduler.busy).toBe(true);
    pod.at(2).end();
    expect(pod.rows.slice(1)).toEqual(['claimed 1', 'done 1']);
    expect(pod.scheduler.busy).toBe(false);
  });

  it('J1: repeats nothing when its clock is behind the ledger', () => {
    pod.elect().at(30);
    const claimed = pod.ledger.length;
    const next = new Bench(pod.end().ledger, {}, 'b:1');
    next.wall = T0 + 10 * MINUTE;
    next.elect(2n).at(11).at(20);
    expect(next.reports).toEqual(['clock-behind']);
    expect(next.ledger.slice(claimed)).toEqual(pod.ledger.slice(claimed));
  });

  it('reports once that its clock was set back during a term, and again when that happens again', () => {
    pod.elect().at(30).end().at(40).end();
    const behind = (): number => pod.reports.filter((type) => type === 'clock-behind').length;
    pod.at(20).at(21).at(22);
    expect(behind()).toBe(1);
    pod.at(41).end();
    pod.at(30);
    expect(behind()).toBe(2);
    expect(pod.rows.at(-1)).toBe('done 41');
  });

  it('reports that the job pauses after a clock that was an hour ahead is corrected', () => {
    pod.elect().at(1).end();
    pod.at(61);
    for (let left = 4; left > 0; left -= 1) pod.end();
    expect(pod.reports).not.toContain('clock-behind');
    pod.at(2).at(3);
    expect(pod.reports.filter((type) => type === 'clock-behind')).toHaveLength(1);
  });

  it('J2: has accounted for all firings that a clock jumped over, when it jumps back', () => {
    pod.elect().at(60);
    for (let left = 4; left > 0; left -= 1) pod.end();
    pod.at(1).at(59).at(60).at(61);
    expect(pod.rows[1]).toBe('missed 1-56 (56)');
    expect(pod.rows.slice(-2)).toEqual(['done 60', 'claimed 61']);
  });

  it('adopts a changed timetable without recording its earlier times as missed', () => {
    pod.elect().at(1).end();
    const hourly = new Bench(pod.ledger, { times: intervalTimes(60 * MINUTE) }, 'b:1');
    hourly.wall = T0 + 2 * MINUTE;
    hourly.elect(2n);
    expect(hourly.rows.slice(3)).toEqual(['scheduled 1']);
    const back = new Bench(hourly.ledger, {}, 'c:1');
    back.wall = T0 + 100 * MINUTE;
    back.elect(3n);
    expect(back.rows.slice(4)).toEqual(['scheduled 96', 'claimed 97']);
  });

  describe('of a transactional job', () => {
    const transactional = { transactional: true };
    beforeEach(() => {
      pod = new Bench([], transactional).elect().at(1);
    });

    it('J4: reads from the ledger that the transaction of a run has written `done`', () => {
      commit(pod);
      pod.answers = false;
      pod.end();
      expect(pod.pending).toMatchObject([{ type: 'load' }]);
      pod.answers = true;
      pod.answer(pod.pending[0]!);
      pod.at(2);
      expect(pod.rows.slice(1)).toEqual(['claimed 1', 'done 1', 'claimed 2']);
      expect(pod.ledger.slice(1)).toMatchObject([transactional, transactional, transactional]);
    });

    it('J4: repeats that read after a failure, and then decides by the ledger', () => {
      pod.answers = false;
      pod.end();
      pod.step({ type: 'call-failed', call: (pod.pending[0] as { call: number }).call, random: 0 });
      pod.answers = true;
      pod.at(1.1);
      expect(pod.rows.slice(1)).toEqual(['claimed 1', 'failed 1']);
      expect(pod.ledger.at(-1)?.error).toContain('did not reach the ledger');
    });

    it('J4: runs a failed firing again after a pause that doubles up to a minute, until it is done', () => {
      const pauses: number[] = [];
      for (let attempt = 1; attempt <= 9; attempt += 1) {
        pod.end('no paper');
        expect(pod.rows.at(-1)).toBe(`failed 1${attempt > 1 ? ` attempt ${attempt}` : ''}`);
        const failedAt = pod.wall;
        while (pod.rows.at(-1)!.startsWith('failed')) {
          pod.wall += pod.wakeAfterMs!;
          pod.step({ type: 'tick' });
        }
        pauses.push((pod.wall - failedAt) / 1_000);
        expect(pod.running.at(-1)).toMatchObject({ fireTime: T0 + MINUTE, attempt: attempt + 1 });
      }
      expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60]);
      commit(pod);
      pod.end();
      expect(pod.rows.at(-3)).toBe('done 1 attempt 10');
    });

    it('J4: makes no pause that is longer than the grace time', () => {
      pod = new Bench([], { transactional: true, graceMs: 5_000 }).elect().at(1);
      for (let attempt = 1; attempt < 4; attempt += 1) pod.end('no paper').at(1 + attempt / 10);
      expect(pod.end('no paper').wakeAfterMs).toBe(5_000);
    });

    it('J4: does not shorten the pause when the timer or the firing is early, or the wall clock jumps', () => {
      for (let attempt = 1; attempt < 4; attempt += 1) pod.end('no paper').at(1 + attempt / 4);
      pod.end('no paper');
      const rows = pod.ledger.length;
      const mono = pod.wall;
      for (const wall of [mono, mono + 60 * MINUTE]) {
        const effects = pod.scheduler.step({ type: 'tick' }, { mono: mono + 7_999, wall });
        expect(effects).toEqual([{ type: 'wake', afterMs: 1 }]);
      }
      expect(pod.ledger).toHaveLength(rows);
    });

    it('J4: excludes that an unknown commit happens later, before it runs the firing again', () => {
      pod.answers = false;
      pod.end('the connection broke during the commit');
      expect(pod.pending).toMatchObject([{ type: 'write', row: { event: 'failed', attempt: 1 } }]);
      pod.step({ type: 'call-failed', call: (pod.pending.shift() as { call: number }).call, random: 0 });
      pod.at(2);
      expect(pod.pending).toMatchObject([{ type: 'write', row: { event: 'failed', attempt: 1 } }]);
      expect(pod.running).toHaveLength(1);
      commit(pod);
      pod.answers = true;
      pod.step({ type: 'conflict', call: (pod.pending.shift() as { call: number }).call, random: 0 });
      pod.at(2.5);
      expect(pod.rows.slice(1)).toEqual(['claimed 1', 'done 1', 'claimed 2']);
    });

    it('J4: the next leader runs a firing again at once, whatever its attempt and its outcome', () => {
      for (let attempt = 1; attempt <= 3; attempt += 1) pod.end('no paper').at(1 + attempt);
      const next = new Bench(pod.ledger, transactional, 'b:1');
      next.wall = pod.wall;
      next.elect(2n);
      expect(next.rows.slice(-2)).toEqual(['lost 1 attempt 4', 'claimed 1 attempt 5']);
      next.end('no paper');
      const third = new Bench(pod.ledger, transactional, 'c:1');
      third.wall = next.wall;
      third.elect(3n);
      expect(third.rows.slice(-2)).toEqual(['failed 1 attempt 5', 'claimed 1 attempt 6']);
    });

    it('J4: writes no outcome after the end of its term', () => {
      pod.step({ type: 'deposed', token: 1n });
      pod.end('LEASE_LOST');
      expect(pod.rows).toEqual(['scheduled 0', 'claimed 1']);
    });

    it('J4: elected again during its run, it reads whether that run was committed after all', () => {
      pod.step({ type: 'deposed', token: 1n });
      commit(pod);
      pod.elect(2n).end('the answer was lost').at(2);
      expect(pod.rows.slice(1)).toEqual(['claimed 1', 'done 1', 'claimed 2']);
    });

    it('J2: skips the firings that were due while one was repeated, or runs the last of them with catchUp', () => {
      pod.end('no paper').at(3);
      commit(pod);
      pod.at(3.5).end();
      expect(pod.rows.slice(1)).toEqual([
        'claimed 1',
        'failed 1',
        'claimed 1 attempt 2',
        'done 1 attempt 2',
        'skipped 2-3 (2)',
      ]);
      const caughtUp = new Bench([], { transactional: true, catchUp: true }).elect().at(1).end('no paper').at(3);
      commit(caughtUp);
      caughtUp.at(3.5).end();
      expect(caughtUp.rows.slice(-3)).toEqual(['done 1 attempt 2', 'skipped 2', 'claimed 3']);
    });

    it('begins no attempt during a hand-over, for which a pause does not wait', () => {
      pod.end('no paper').step({ type: 'draining', token: 1n });
      expect(pod.scheduler.busy).toBe(false);
      pod.at(2);
      expect(pod.rows.at(-1)).toBe('failed 1');
    });

    it('does not repeat a run from before the job was transactional, which may have committed something', () => {
      const before = lostInMinute1();
      const next = new Bench(before, transactional, 'b:1');
      next.wall = T0 + 2 * MINUTE;
      next.elect(2n);
      expect(next.rows.slice(1)).toEqual(['claimed 1', 'lost 1', 'claimed 2']);
    });

    it('is not repeated after the job became an ordinary one', () => {
      pod.end('no paper');
      const next = new Bench(pod.ledger, {}, 'b:1');
      next.wall = T0 + 2 * MINUTE;
      next.elect(2n);
      expect(next.rows.slice(1)).toEqual(['claimed 1', 'failed 1', 'claimed 2']);
    });
  });

  it('computes the next firing only once while it waits for it', () => {
    let asked = 0;
    const times = intervalTimes(MINUTE);
    const counting = { text: times.text, nextAfter: (ms: number) => ((asked += 1), times.nextAfter(ms)) };
    const bench = new Bench([], { times: counting }).elect();
    const before = asked;
    for (let tick = 0; tick < 50; tick += 1) bench.at(tick / 100);
    expect(asked).toBe(before);
    expect(bench.at(1).rows.at(-1)).toBe('claimed 1');
  });

  describe('pause', () => {
    it('J5: claims nothing while it is paused, and records the firings of the pause as missed at its end', () => {
      pod.elect().at(1).end().pause();
      expect(pod.held).toBe(1);
      pod.at(2).at(3).at(3.5).resume();
      expect(pod.rows.slice(-2)).toEqual(['done 1', 'missed 2-3 (2)']);
      expect(pod.ledger.at(-1)).toMatchObject({ paused: true });
      pod.at(4);
      expect(pod.rows.at(-1)).toBe('claimed 4');
    });

    it('runs the last firing of the pause at its end with catchUp', () => {
      pod = new Bench([], { catchUp: true });
      pod.elect().at(1).end().pause().at(4.5).resume();
      expect(pod.rows.slice(-2)).toEqual(['missed 2-3 (2)', 'claimed 4']);
    });

    it('lets a run in progress end, and records its outcome', () => {
      pod.elect().at(1).pause();
      expect(pod.held).toBe(1);
      pod.at(2).end();
      expect(pod.rows.slice(-2)).toEqual(['claimed 1', 'done 1']);
      pod.at(3);
      expect(pod.rows.at(-1)).toBe('done 1');
    });

    it('J5: answers a hold only when the outcome of a claim in flight is known', () => {
      pod.elect();
      pod.answers = false;
      pod.at(1);
      pod.step({ type: 'hold' });
      expect(pod.held).toBe(0);
      const [claim] = pod.pending;
      if (claim?.type !== 'write') throw new Error('no claim');
      pod.step({ type: 'call-failed', call: claim.call, random: 0 });
      expect(pod.held).toBe(0);
      pod.at(1.1);
      const again = pod.pending[1]!;
      expect(again).toMatchObject({ type: 'write', row: claim.row });
      pod.answer(again);
      expect([pod.held, pod.running.length]).toEqual([1, 1]);
    });

    it('J5: holds further attempts of a lost or failed firing until the end of the pause', () => {
      const paused = { ...NOT_PAUSED, paused: true };
      const next = new Bench(lostInMinute1(), { catchUp: true });
      next.control = paused;
      next.at(1.2).elect(2n).at(2.5);
      expect(next.rows.at(-1)).toBe('lost 1');
      next.resume();
      expect(next.rows.at(-1)).toBe('claimed 1 attempt 2');

      pod = new Bench([], { transactional: true });
      pod.elect().at(1).end('deadlock').pause().at(1.5).at(2);
      expect(pod.rows.at(-1)).toBe('failed 1');
      pod.resume();
      expect(pod.rows.at(-1)).toBe('claimed 1 attempt 2');
    });

    it('J5: follows a pause of an earlier term, and its end', () => {
      const { ledger } = new Bench().elect().at(1).end();
      const next = new Bench(ledger);
      next.control = { ...NOT_PAUSED, paused: true };
      next.at(1.5).elect(2n).at(2);
      expect(next.rows.at(-1)).toBe('done 1');
      // Resumed by a leader that was lost before it wrote the row.
      const later = new Bench(ledger);
      later.control = { ...NOT_PAUSED, resumedAt: T0 + 2.5 * MINUTE };
      later.at(2.6).elect(3n);
      expect(later.rows.at(-1)).toBe('missed 2');
    });
  });

  describe('a requested run', () => {
    it('J6: is claimed at the time of the request, answered then, and leaves the next firings alone', () => {
      pod.elect().at(0.5).ask('x');
      expect(pod.rows).toEqual(['scheduled 0', 'claimed 0']);
      expect(pod.ledger.at(-1)).toMatchObject({ fireTime: T0 + 0.5 * MINUTE, requested: { id: 'x', by: 'ann' } });
      expect(pod.answered).toEqual(['1 claimed']);
      pod.end().at(1);
      expect(pod.rows.slice(-2)).toEqual(['done 0', 'claimed 1']);
      expect(pod.ledger.at(-2)).toMatchObject({ requested: { id: 'x' } });
      expect(pod.ledger.at(-1)).not.toHaveProperty('requested');
    });

    it('is refused while another run goes on, but not if the run is its own', () => {
      pod.elect().at(0.5).ask('x').ask('y').ask('x');
      expect(pod.answered).toEqual(['1 claimed', '2 running', '3 claimed']);
    });

    it('waits for a call in flight, and takes the firing that is due by then', () => {
      pod.elect();
      pod.answers = false;
      pod.at(1);
      const [claim] = pod.pending;
      pod.ask('x');
      expect(pod.answered).toEqual([]);
      pod.answer(claim!);
      expect(pod.answered).toEqual(['1 running']);
      pod = new Bench();
      pod.answers = false;
      pod.elect().ask('y');
      pod.answers = true;
      pod.answer(pod.pending[0]!);
      expect(pod.answered).toEqual(['1 claimed']);
    });

    it('J6: begins nothing when the table has its claim, and is answered', () => {
      pod.elect();
      pod.answers = false;
      pod.at(0.5).ask('x');
      const [claim] = pod.pending;
      if (claim?.type !== 'write') throw new Error('no claim');
      pod.step({ type: 'conflict', call: claim.call, random: 0 });
      expect(pod.answered).toEqual(['1 claimed']);
      pod.answers = true;
      pod.at(1);
      expect(pod.rows).toEqual(['scheduled 0', 'claimed 1']);
      expect(pod.ledger.at(-1)).not.toHaveProperty('requested');
    });

    it('runs while the job is paused, after the missed firings of the pause are recorded', () => {
      pod.elect().at(1).end().pause().at(3.5).ask('x');
      expect(pod.rows.slice(-2)).toEqual(['missed 2-3 (2)', 'claimed 3']);
      expect(pod.ledger.at(-1)).toMatchObject({ fireTime: T0 + 3.5 * MINUTE });
      pod.end().at(4.5).resume();
      expect(pod.rows.slice(-2)).toEqual(['done 3', 'missed 4']);
    });

    it('runs the last firing of the pause with catchUp, and the end of the pause does not run it again', () => {
      pod = new Bench([], { catchUp: true });
      pod.elect().at(1).end().pause().at(3.5).ask('x');
      expect(pod.rows.slice(-2)).toEqual(['missed 2', 'claimed 3']);
      expect(pod.ledger.at(-1)).toMatchObject({ fireTime: T0 + 3 * MINUTE, requested: { id: 'x' } });
      expect(pod.answered).toEqual(['1 claimed']);
      pod.end().at(3.7).resume();
      expect(pod.rows.at(-1)).toBe('done 3');
      pod.pause().at(4.5).ask('y');
      expect(pod.rows.at(-1)).toBe('claimed 4');
      pod.end().at(5.5).ask('z').end();
      expect(pod.rows.slice(-2)).toEqual(['claimed 5', 'done 5']);
    });

    it('leaves the catch-up of a pause to the next leader when its own is lost before the claim', () => {
      pod = new Bench([], { catchUp: true });
      pod.elect().at(1).end().pause().at(3.5);
      pod.answers = false;
      pod.ask('x');
      pod.answers = true;
      const [missed] = pod.pending;
      if (missed?.type !== 'write') throw new Error('no row');
      const next = new Bench([...pod.ledger, missed.row], { catchUp: true });
      next.control = pod.control;
      next.at(3.6).elect(2n);
      expect(next.rows.at(-1)).toBe('missed 2');
      next.resume();
      expect(next.rows.at(-1)).toBe('claimed 3');
    });

    it('takes the firing that catchUp runs after missed or skipped ones', () => {
      pod = new Bench([], { catchUp: true }).elect().at(1).end();
      const next = new Bench(pod.ledger, { catchUp: true }, 'b:1');
      next.wall = T0 + 10 * MINUTE;
      next.answers = false;
      next.elect(2n).ask('x');
      next.answers = true;
      next.answer(next.pending[0]!);
      expect(next.rows.slice(-2)).toEqual(['missed 2-5 (4)', 'claimed 6']);
      expect([next.ledger.at(-1)?.requested?.id, next.answered]).toEqual(['x', ['1 claimed']]);
    });

    it('begins the next attempt of a firing that waits for one', () => {
      pod = new Bench([], { transactional: true });
      pod.elect().at(1).end('deadlock').pause().ask('x');
      expect(pod.rows.at(-1)).toBe('claimed 1 attempt 2');
      expect(pod.answered).toEqual(['1 claimed']);
      pod.end('deadlock').at(2);
      expect(pod.rows.at(-1)).toBe('failed 1 attempt 2');
    });

    it('is lost with its pod, and runs once more with catchUp', () => {
      const { ledger } = new Bench([], { catchUp: true }).elect().at(0.5).ask('x');
      const next = new Bench(ledger, { catchUp: true }).at(0.6).elect(2n);
      expect(next.rows.slice(-3)).toEqual(['claimed 0', 'lost 0', 'claimed 0 attempt 2']);
      expect(next.ledger.at(-1)).not.toHaveProperty('requested');
    });

    it('is refused without a term, and when the term ends before its claim', () => {
      pod.ask('x').elect();
      pod.answers = false;
      pod.at(0.5).ask('y');
      pod.step({ type: 'deposed', token: 1n });
      pod.ask('z');
      expect(pod.answered).toEqual(['1 not-leading', '2 not-leading', '3 not-leading']);
    });

    it('does not pass over a firing when the ledger is ahead of the clock', () => {
      pod.elect().at(1).end();
      pod.at(0.5).ask('x');
      expect(pod.ledger.at(-1)).toMatchObject({ event: 'claimed', fireTime: T0 + MINUTE + 1 });
    });
  });

  describe('jitter', () => {
    const late = { jitterMs: MINUTE / 2, jitter: () => MINUTE / 4 };

    it('starts each firing late, with its nominal time', () => {
      pod = new Bench([], late);
      pod.elect().at(1);
      expect(pod.rows).toEqual(['scheduled 0']);
      pod.at(1.25);
      expect(pod.ledger.at(-1)).toMatchObject({ event: 'claimed', fireTime: T0 + MINUTE });
    });

    it('skips no firing whose run before ended within its jitter', () => {
      pod = new Bench([], late);
      pod.elect().at(1.25).at(2.1).end().at(2.25);
      expect(pod.rows.slice(-2)).toEqual(['done 1', 'claimed 2']);
      pod.at(3.6).end();
      expect(pod.rows.slice(-2)).toEqual(['done 2', 'skipped 3']);
    });

    it('adds to the grace of a late firing', () => {
      const { ledger } = new Bench([], late).elect();
      const next = new Bench(ledger, late).at(4.4).elect(2n);
      expect(next.rows.at(-1)).toBe('claimed 1');
      const later = new Bench(new Bench([], late).elect().ledger, late).at(4.6).elect(2n);
      expect(later.rows.slice(-2)).toEqual(['missed 1', 'claimed 2']);
    });

    it('does not delay a requested run, which takes the firing that waits', () => {
      pod = new Bench([], late);
      pod.elect().at(1.1).ask('x');
      expect(pod.ledger.at(-1)).toMatchObject({ event: 'claimed', fireTime: T0 + MINUTE, requested: { id: 'x' } });
    });
  });

  describe('a job that is added at run time', () => {
    it('claims nothing when it is removed, and begins anew when it is added again', () => {
      pod.control = added(0);
      pod.elect().at(1).end();
      pod.follow(REMOVED).at(2).at(3);
      expect(pod.rows.at(-1)).toBe('done 1');
      pod.at(3.5).follow(added(3.5));
      expect(pod.rows.slice(-2)).toEqual(['done 1', 'scheduled 3']);
      pod.at(4);
      expect(pod.rows.at(-1)).toBe('claimed 4');
    });

    it('lets a run in progress end after its removal, and repeats nothing of it', () => {
      pod = new Bench([], { transactional: true });
      pod.elect().at(1).follow(REMOVED).end('deadlock');
      expect(pod.rows.at(-1)).toBe('failed 1');
      pod.at(2).follow(added(2));
      expect(pod.rows.slice(-2)).toEqual(['failed 1', 'scheduled 2']);
    });

    it('records a lost run of the time before its removal, and does not repeat it', () => {
      const next = new Bench(lostInMinute1(), { catchUp: true });
      next.control = added(3);
      next.at(3.2).elect(2n);
      expect(next.rows.slice(-2)).toEqual(['lost 1', 'scheduled 3']);
    });

    it('follows each of several new timetables at once, also before its first firing', () => {
      pod.control = added(0);
      pod.elect();
      for (const minutes of [3, 5, 3, 1]) {
        pod.step({ type: 'control', control: pod.control, job: { ...JOB, times: intervalTimes(minutes * MINUTE) } });
        expect(pod.ledger.at(-1)?.schedule).toBe(`every ${minutes * MINUTE} ms`);
      }
      pod.at(1);
      expect(pod.rows.at(-1)).toBe('claimed 1');
      pod.end();
      const next = new Bench(pod.ledger, { times: intervalTimes(2 * MINUTE) }, 'b:1');
      next.wall = pod.wall;
      next.elect(2n);
      next.step({ type: 'control', control: NOT_PAUSED, job: { ...JOB, times: intervalTimes(4 * MINUTE) } });
      expect(next.ledger.at(-1)).toMatchObject({ event: 'scheduled', revision: 1, schedule: 'every 240000 ms' });
      expect(new Set(next.ledger.map(rowIdOf)).size).toBe(next.ledger.length);
    });

    it('follows a new timetable after the run in progress', () => {
      pod.elect().at(1);
      pod.step({ type: 'control', control: NOT_PAUSED, job: { ...JOB, times: intervalTimes(3 * MINUTE) } });
      pod.end();
      expect(pod.rows.slice(-2)).toEqual(['done 1', 'scheduled 1']);
      pod.at(2);
      expect(pod.rows.at(-1)).toBe('scheduled 1');
    });
  });
});
