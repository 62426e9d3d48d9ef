import type { LogEntry } from '../../libs/hedge/src/database/log-table.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { rangeOf } from '../../libs/hedge/src/jobs/fire-times.js';
import type { Job } from '../../libs/hedge/src/jobs/job.js';
import { decodeRow, type LedgerRow } from '../../libs/hedge/src/jobs/ledger.js';
import type { Random } from './random.js';
import { violated } from './violation.js';
import type { World } from './world.js';

/** The allowed delay of a leader at the end, in milliseconds: some runs, and some calls to the database. */
const MAX_LAG_MS = 5_000;

/** A job as its ledger shows it, in the order of commits. */
interface Told {
  readonly job: Job;
  last: LedgerRow | undefined;
  /** The claims that were run, by row. */
  readonly begun: Set<string>;
  /** The processes that run it now. */
  readonly running: Set<string>;
}

/** The jobs of a history, and the promises about them: J1, J2 and J3, checked at each commit and each run. */
export class JobOracle {
  readonly all: readonly Job[];
  readonly #told: ReadonlyMap<string, Told>;
  /** Set when faults are over, so that waiting work ends soon. */
  hurried = false;

  constructor(
    private readonly world: World,
    random: Random,
  ) {
    this.all = [false, true].map((catchUp) => {
      const everyMs = random.pick([500, 1_000, 3_000]);
      const times = { text: `${everyMs}`, nextAfter: (ms: number) => (Math.floor(ms / everyMs) + 1) * everyMs };
      return { name: catchUp ? 'caught-up' : 'plain', times, catchUp, graceMs: random.pick([2_000, 6_000]) };
    });
    this.#told = new Map(
      this.all.map((job) => [job.name, { job, last: undefined, begun: new Set(), running: new Set() }]),
    );
  }

  /** The database has committed a row of a ledger. */
  written(entry: LogEntry, lastToken: bigint): void {
    const told = this.#of(entry.key.slice(entry.key.lastIndexOf('/') + 1));
    const row = decodeRow(entry);
    const what = `${told.job.name}: ${describe(row)} after ${told.last === undefined ? 'nothing' : describe(told.last)}`;
    this.world.count(`jobs: ${row.event}${row.attempt > 1 ? ' again' : ''}`);
    this.world.note(row.incarnation, () => `job ${what}`);
    this.#checkChain(told, row, what);
    if (row.event !== 'lost' && row.token !== lastToken) violated('J1', `${what}, when the lease had ${lastToken}`);
    told.last = row;
  }

  /** A process begins to run a claim. @returns a callback for the end of the run. */
  began(job: Job, claim: LedgerRow, by: MemberId): () => void {
    const { last, begun, running } = this.#of(job.name);
    const what = `${by.incarnation} runs ${job.name}, ${describe(claim)}`;
    if (last?.event !== 'claimed' || describe(last) !== describe(claim))
      violated('J1', `${what}, which is not claimed now`);
    if (begun.has(describe(claim))) violated('J1', `${what} again`);
    if (running.has(by.incarnation)) violated('J1', `${what} while another run goes on`);
    begun.add(describe(claim));
    running.add(by.incarnation);
    return () => running.delete(by.incarnation);
  }

  /** To call at the end: all firings that were due by the leader's clock are in the ledger, except of the last moments. */
  finish(leaderWall: number): void {
    for (const { job, last } of this.#told.values()) {
      if (last === undefined) violated('J2', `${job.name} was never scheduled`);
      const due = job.times.nextAfter(last.through) ?? Infinity;
      if (due < leaderWall - MAX_LAG_MS) {
        violated('J2', `${job.name} stands at ${describe(last)}, ${leaderWall - due} ms after the next firing was due`);
      }
    }
  }

  /** Every row continues where the one before ended, and the outcome follows its claim. */
  #checkChain({ job, last }: Told, row: LedgerRow, what: string): void {
    const open = last?.event === 'claimed';
    switch (row.event) {
      case 'done':
      case 'failed':
      case 'lost':
        if (!open || row.fireTime !== last.fireTime || row.attempt !== last.attempt || row.token !== last.token) {
          violated('J3', `${what} is the outcome of no open claim`);
        }
        return;
      case 'scheduled':
        if (last !== undefined) violated('J2', `${what} begins anew`);
        return;
      case 'claimed':
      case 'missed':
      case 'skipped': {
        if (open) violated('J3', `${what} passes over an open claim`);
        if (row.attempt > 1) {
          const lost = last?.event === 'lost' && last.fireTime === row.fireTime && last.attempt === row.attempt - 1;
          if (!lost || !job.catchUp) violated('J1', `${what} is run again without reason`);
          return;
        }
        const due = job.times.nextAfter(last?.through ?? 0);
        if (last === undefined || row.fireTime !== due)
          violated(row.fireTime > (due ?? 0) ? 'J2' : 'J1', `${what} leaves a gap, or repeats`);
        const { count } = rangeOf(job.times, row.fireTime, row.through);
        if (row.count !== count) violated('J2', `${what} are not ${row.count}`);
      }
    }
  }

  #of(name: string): Told {
    const told = this.#told.get(name);
    if (told === undefined) throw new Error(`no job ${name}`);
    return told;
  }
}

function describe({ event, fireTime, through, attempt, token }: LedgerRow): string {
  const range = through === fireTime ? '' : `-${through - 1.7e12}`;
  return `${event} ${fireTime - 1.7e12}${range}/${attempt} of ${token}`;
}
