import type { LogEntry } from '../../libs/hedge/src/database/log-table.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { jitterOf, rangeOf, type FireTimes } from '../../libs/hedge/src/jobs/fire-times.js';
import type { Job } from '../../libs/hedge/src/jobs/job.js';
import { jobRegistryKey } from '../../libs/hedge/src/database/row-names.js';
import {
  decodeRegistryRow,
  type JobRecords,
  type RegistryRow,
} from '../../libs/hedge/src/jobs/registry/registry-row.js';
import { decodeRow, type JobEvent, type LedgerRow } from '../../libs/hedge/src/jobs/ledger.js';
import type { Random } from './random.js';
import { violated } from './violation.js';
import type { World } from './world.js';

/** The allowed delay of a leader at the end, in milliseconds: some runs, and some calls to the database. */
const MAX_LAG_MS = 5_000;

const RUN_OUTCOMES: readonly JobEvent[] = ['done', 'failed', 'lost'];
const REGISTRY_KEY = jobRegistryKey('g');

/** The job that is added, changed and removed at run time. */
export const ADDED_JOB = 'added';

/** The intervals of the jobs, in milliseconds. */
export const INTERVALS = [500, 1_000, 3_000];

/** The timetable with that text, as it is in the ledger. */
export function timesOf(text: string): FireTimes {
  const everyMs = Number(text);
  return { text, nextAfter: (ms) => (Math.floor(ms / everyMs) + 1) * everyMs };
}

/** A job as its ledger shows it, in the order of commits. */
interface Told {
  readonly job: Job;
  last: LedgerRow | undefined;
  /** The rows of the ledger, oldest first. */
  readonly rows: LedgerRow[];
  /**
   * The rows that the database has lost, and those that their leaders have added since then. A leader whose term it kept
   * continues after the last of them, and its earlier calls may add lost rows once more, late.
   */
  readonly lost: LedgerRow[];
  /** Of a transactional job: the firings whose writes are committed. */
  readonly counted: Set<number>;
  /** The claims that were run, by row. */
  readonly begun: Set<string>;
  /** The processes that run it now. */
  readonly running: Set<string>;
  /** The ids of the requested runs that are claimed. */
  readonly requested: Set<string>;
  /** Those whose claims the database has lost. */
  readonly lostRequests: Set<string>;
}

interface Flaw {
  readonly invariant: string;
  readonly message: string;
}

/** The jobs of a history, and the promises about them: J1 to J6, checked at each commit and each run. */
export class JobOracle {
  readonly all: readonly Job[];
  readonly #told: ReadonlyMap<string, Told>;
  /** The rows of the registry, oldest first. */
  readonly #registry: RegistryRow[] = [];
  /** The term in which each row was written: a `lost` row has the token of its claim. */
  readonly #terms = new WeakMap<LedgerRow, bigint>();
  /** The terms of rows of the registry that the database has lost. Their leaders still follow them. */
  readonly #lostChanges = new Set<bigint>();
  /** The changes that are in a row of the registry, or were. */
  readonly #recorded = new Set<string>();
  /** When each job was added last. It may be removed while its first row is being written. */
  readonly #addedAt = new Map<string, number>();
  #asked = 0;
  /** Set when faults are over, so that waiting work ends soon. */
  hurried = false;

  constructor(
    private readonly world: World,
    random: Random,
    transactionalJob: boolean,
  ) {
    const job = (name: string, catchUp: boolean, transactional: boolean): Job => {
      const times = timesOf(`${random.pick(INTERVALS)}`);
      const jitterMs = random.pick([0, 0, 200]);
      const jitter = (fireTime: number): number => jitterOf(name, fireTime, jitterMs);
      const graceMs = random.pick(name === ADDED_JOB ? [2_000, 6_000, 20_000] : [2_000, 6_000]);
      return { name, times, catchUp, transactional, graceMs, jitterMs, jitter, historyLimit: Infinity };
    };
    this.all = [
      job('plain', false, false),
      job('caught-up', true, false),
      job(ADDED_JOB, random.chance(0.5), false),
      ...(transactionalJob ? [job('transactional', random.chance(0.5), true)] : []),
    ];
    this.#told = new Map(
      this.all.map((job) => [
        job.name,
        {
          job,
          last: undefined,
          rows: [],
          lost: [],
          counted: new Set(),
          begun: new Set(),
          running: new Set(),
          requested: new Set(),
          lostRequests: new Set(),
        },
      ]),
    );
  }

  /** A pod asks for a change. @returns a name for it, which it gives as `by` */
  asked(): string {
    this.#asked += 1;
    return `change ${this.#asked}`;
  }

  /** The pod has the answer that its change was refused. */
  changeRefused(change: string): void {
    if (this.#recorded.has(change)) violated('J5', `${change} is refused, and in the registry`);
  }

  /** The pod has the answer that its change is durable. */
  acknowledged(change: string): void {
    if (!this.#recorded.has(change)) violated('J5', `${change} is acknowledged, and not in the registry`);
  }

  /** The pod has the answer that the requested run is claimed. */
  ranNow(name: string, id: string): void {
    const { requested, lostRequests } = this.#of(name);
    if (!requested.has(id) && !lostRequests.has(id))
      violated('J6', `${id} of ${name} is acknowledged, and not claimed`);
  }

  /** The pod has the answer that the run, which it requested once, did not begin. */
  refused(name: string, id: string): void {
    if (this.#of(name).requested.has(id)) violated('J6', `${id} of ${name} is refused, and claimed`);
  }

  /** The database has committed a row of the registry. */
  #changed(row: RegistryRow, lastToken: bigint): void {
    const what = row.changes.map(({ type, name, by }) => `${type} ${name} by ${by}`).join();
    this.world.note(row.pod, () => `registry ${what}`);
    if (row.token !== lastToken) violated('J5', `${what} in term ${row.token}, when the lease had ${lastToken}`);
    for (const { by } of row.changes) this.#recorded.add(by);
    this.#registry.push(row);
    for (const [name, { added }] of row.records) if (added !== undefined) this.#addedAt.set(name, added.at);
  }

  /**
   * No claim is written while the job is paused, and none for a firing that was due in a pause. After a new definition,
   * none is written by the old one, except of a firing that runs again or late.
   */
  #checkPause({ name, catchUp }: Job, row: LedgerRow, what: string): void {
    const { paused, resumedAt = 0, added } = this.#records.get(name) ?? {};
    if (name === ADDED_JOB && added === undefined && row.event === 'claimed') {
      if (!this.#lostChanges.has(row.token)) violated('J5', `${what}, while the job is removed`);
      this.world.count('jobs: claimed, and the addition was lost');
    }
    const replaced = added !== undefined && row.schedule !== String(added.definition.everyMs);
    if (row.event === 'claimed' && row.attempt === 1 && replaced && !catchUp) {
      if (!this.#lostChanges.has(row.token)) violated('J5', `${what}, by a definition that is replaced`);
      this.world.count('jobs: claimed, and the new definition was lost');
    }
    const passedOver = row.attempt === 1 && row.fireTime <= resumedAt && !catchUp;
    if (row.event === 'missed' && row.paused === true) this.world.count('jobs: missed in a pause');
    if (row.event !== 'claimed' || row.requested !== undefined || (paused === undefined && !passedOver)) return;
    if (this.#lostChanges.has(row.token)) return this.world.count('jobs: claimed, and the resumption was lost');
    violated('J5', `${what}, ${paused === undefined ? 'due during a pause' : 'while the job is paused'}`);
  }

  get #records(): JobRecords {
    return this.#registry.at(-1)?.records ?? new Map();
  }

  /** The database has committed a row of a ledger, or of the registry. */
  written(entry: LogEntry, lastToken: bigint): void {
    if (entry.key === REGISTRY_KEY) return this.#changed(decodeRegistryRow(entry), lastToken);
    const told = this.#of(entry.key.slice(entry.key.lastIndexOf('/') + 1));
    const row = decodeRow(entry);
    const what = `${told.job.name}: ${describe(row)} after ${told.last === undefined ? 'nothing' : describe(told.last)}`;
    this.world.count(`jobs: ${row.event}${row.attempt > 1 ? ' again' : ''}`);
    this.world.note(row.incarnation, () => `job ${what}`);
    this.#checkPause(told.job, row, what);
    if (row.event === 'claimed' && row.requested !== undefined) {
      const { id } = row.requested;
      if (told.requested.has(id)) violated('J6', `${what}: ${id} is claimed twice`);
      told.requested.add(id);
      if (this.#records.get(told.job.name)?.paused !== undefined) this.world.count('jobs: ran in a pause');
    }
    const counted = told.counted.has(row.fireTime);
    if (told.job.transactional && RUN_OUTCOMES.includes(row.event) && (row.event === 'done') !== counted) {
      violated('J4', `${what}, with its work committed ${counted ? 'once' : 'never'}`);
    }
    const addedAt = this.#addedAt.get(told.job.name);
    const flaw = flawOf(told.job, told.last, row, addedAt);
    const continued = told.lost.some(
      (lost) => this.#terms.get(lost) === row.token && flawOf(told.job, lost, row, addedAt) === undefined,
    );
    if (flaw !== undefined && !continued) violated(flaw.invariant, `${what} ${flaw.message}`);
    if (flaw !== undefined) this.world.count('jobs: continued after a lost row');
    if (row.event === 'scheduled' && told.last !== undefined) {
      this.world.count(row.schedule === told.last.schedule ? 'jobs: begun anew' : 'jobs: new timetable');
      if (row.revision !== undefined) this.world.count('jobs: new timetable again');
    }
    if (row.event !== 'lost' && row.token !== lastToken) violated('J1', `${what}, when the lease had ${lastToken}`);
    if (told.lost.some(({ token }) => token === row.token)) told.lost.push(row);
    told.rows.push(row);
    this.#terms.set(row, lastToken);
    told.last = row;
    // The same claim is committed again only when it was lost.
    if (row.event === 'claimed') told.begun.delete(describe(row));
  }

  /** The database has lost a row, the last one of its key: the only way in which a record may be gone. */
  lost(entry: LogEntry): void {
    if (entry.key === REGISTRY_KEY) {
      this.world.count('jobs: lost a change');
      this.#lostChanges.add(decodeRegistryRow(entry).token);
      this.#registry.pop();
      return;
    }
    const told = this.#of(entry.key.slice(entry.key.lastIndexOf('/') + 1));
    const row = told.rows.pop();
    if (row === undefined) throw new Error('a row was lost that was never written');
    this.world.count(`jobs: lost the record ${row.event}`);
    if (row.event === 'claimed' && row.requested !== undefined) {
      told.requested.delete(row.requested.id);
      told.lostRequests.add(row.requested.id);
    }
    told.lost.push(row);
    told.last = told.rows.at(-1);
  }

  /** A process begins to run a claim. @returns a callback for the end of the run. */
  began(job: Job, claim: LedgerRow, by: MemberId): () => void {
    const { last, lost, begun, running } = this.#of(job.name);
    const what = `${by.incarnation} runs ${job.name}, ${describe(claim)}`;
    const claimed = [...lost, last].some((row) => row?.event === 'claimed' && describe(row) === describe(claim));
    if (!claimed) violated('J1', `${what}, which is not claimed now`);
    if (begun.has(describe(claim))) violated('J1', `${what} again`);
    if (running.has(by.incarnation)) violated('J1', `${what} while another run goes on`);
    begun.add(describe(claim));
    running.add(by.incarnation);
    return () => running.delete(by.incarnation);
  }

  /** The writes of a run of a transactional job are committed. @returns a callback for the loss of that commit. */
  counted(job: Job, claim: LedgerRow): () => void {
    const { counted } = this.#of(job.name);
    if (counted.has(claim.fireTime)) violated('J4', `${job.name} commits the work of ${describe(claim)} once more`);
    counted.add(claim.fireTime);
    return () => {
      this.world.count('jobs: lost the commit of a run');
      counted.delete(claim.fireTime);
    };
  }

  /**
   * To call at the end: all firings that were due by the leader's clock are in the ledger, except of the last moments, and
   * a transactional job has committed its work once for each row `done`.
   */
  finish(leaderWall: number): void {
    for (const { job, last, rows, counted } of this.#told.values()) {
      if (this.#records.get(job.name)?.paused !== undefined) violated('J5', `${job.name} cannot be resumed`);
      if (job.name === ADDED_JOB && this.#records.get(job.name)?.added === undefined)
        violated('J5', `${job.name} cannot be added`);
      if (last === undefined) violated('J2', `${job.name} was never scheduled`);
      const done = rows.filter(({ event }) => event === 'done').length;
      if (job.transactional && done !== counted.size) {
        violated('J4', `${job.name} is done ${done} times, and its work is committed ${counted.size} times`);
      }
      const due = timesOf(last.schedule).nextAfter(last.through) ?? Infinity;
      if (due < leaderWall - MAX_LAG_MS) {
        violated('J2', `${job.name} stands at ${describe(last)}, ${leaderWall - due} ms after the next firing was due`);
      }
    }
  }

  #of(name: string): Told {
    const told = this.#told.get(name);
    if (told === undefined) throw new Error(`no job ${name}`);
    return told;
  }
}

/** Every row continues where the one before ended, and the outcome follows its claim. */
function flawOf(job: Job, last: LedgerRow | undefined, row: LedgerRow, addedAt: number | undefined): Flaw | undefined {
  const times = timesOf(row.schedule);
  const open = last?.event === 'claimed';
  if (row.event === 'done' || row.event === 'failed' || row.event === 'lost') {
    const follows = open && row.fireTime === last.fireTime && row.attempt === last.attempt && row.token === last.token;
    return follows ? undefined : { invariant: 'J3', message: 'is the outcome of no open claim' };
  }
  if (row.event === 'scheduled') {
    const again = last !== undefined && !open && addedAt !== undefined && last.through < addedAt;
    const changed = last !== undefined && !open && last.schedule !== row.schedule && last.through <= row.through;
    return last === undefined || again || changed ? undefined : { invariant: 'J2', message: 'begins anew' };
  }
  if (last !== undefined && last.schedule !== row.schedule)
    return { invariant: 'J2', message: 'has another timetable' };
  if (open) return { invariant: 'J3', message: 'passes over an open claim' };
  if (row.attempt > 1) {
    const follows = last?.fireTime === row.fireTime && last.attempt === row.attempt - 1;
    const again = job.transactional ? isNotDone(last) : last?.event === 'lost' && job.catchUp;
    return follows && again ? undefined : { invariant: 'J1', message: 'is run again without reason' };
  }
  if (job.transactional && isNotDone(last)) return { invariant: 'J4', message: 'gives up a firing that is not done' };
  const due = times.nextAfter(last?.through ?? 0);
  const own = row.event === 'claimed' && row.requested !== undefined && row.fireTime !== due;
  if (own && last !== undefined && row.fireTime > last.through && row.fireTime < (due ?? Infinity)) return undefined;
  if (last === undefined || row.fireTime !== due)
    return { invariant: row.fireTime > (due ?? 0) ? 'J2' : 'J1', message: 'leaves a gap, or repeats' };
  const { count } = rangeOf(times, row.fireTime, row.through);
  return row.count === count ? undefined : { invariant: 'J2', message: `are not ${row.count}` };
}

function isNotDone(last: LedgerRow | undefined): boolean {
  return last?.event === 'lost' || last?.event === 'failed';
}

function describe({ event, fireTime, through, attempt, token }: LedgerRow): string {
  const range = through === fireTime ? '' : `-${through - 1.7e12}`;
  return `${event} ${fireTime - 1.7e12}${range}/${attempt} of ${token}`;
}
