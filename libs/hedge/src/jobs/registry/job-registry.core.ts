import { backoffMs } from '../../common/backoff.js';
import type { Instant } from '../../common/clock.js';
import { changed, type JobChange, type JobRecords, type RegistryRow } from './registry-row.js';
import type { RegistryEffect, RegistryInput, RegistrySettings } from './job-registry.messages.js';

interface Request {
  readonly ticket: number;
  readonly change: JobChange | undefined;
}

interface LeaderTerm {
  readonly token: bigint;
  draining: boolean;
  started: boolean;
}

/** A call to the database, one at a time: it writes `row`, or reads without one. */
interface Calling {
  readonly at: 'calling';
  readonly call: number;
  readonly row?: RegistryRow;
  /** The changes that the row contains, or that wait for the end of a read. */
  readonly batch: readonly Request[];
  /** The row of the batch was refused. The read shows whether an earlier attempt has written it. */
  readonly refused?: { readonly row: RegistryRow; readonly problem: string };
  readonly tries: number;
  readonly retryAt?: number;
}

type State =
  /** Not leading. */
  | { readonly at: 'rest' }
  | { readonly at: 'ready' }
  /** Waits until these jobs claim nothing more. */
  | { readonly at: 'holding'; readonly batch: readonly Request[]; readonly names: Set<string> }
  | Calling;

const NO_RECORDS: JobRecords = new Map();

/**
 * The pauses of all jobs of the group, and the jobs that were added at run time, on one pod. While the pod leads, it changes
 * them and gives them to the schedulers of the jobs.
 *
 * The registry is one key of the log, and each row has the state of all jobs. A row is written only when the row before is
 * known to be written, and every row is fenced. So the last row is the state, and no late write of a former leader or of
 * an earlier call can undo it.
 *
 * J5: the scheduler of a job claims nothing from the commit of its pause to the commit of its resumption, under any leader.
 * - A scheduler starts in a term only when the registry was read in that term.
 * - A pause, the removal of a job and a new definition of a job are written only when the scheduler of this leader is held:
 *   it has no claim in flight, and begins none. Claims of earlier leaders are fenced off.
 *
 * A row that the database refuses blocks no other change: its changes are tried again in smaller rows, and the one that is
 * refused alone is answered.
 */
export class JobRegistry {
  #term: LeaderTerm | undefined;
  #state: State = { at: 'rest' };
  #calls = 0;
  /** The number of the last row of this term. */
  #number = 0;
  #records: JobRecords = NO_RECORDS;
  #waiting: Request[] = [];
  /** The most changes of the next row. Halves when a row is refused, and doubles when one is written. */
  #batchLimit = Infinity;

  constructor(private readonly settings: RegistrySettings) {}

  /** The present records, while this pod leads. */
  get records(): JobRecords {
    return this.#records;
  }

  step(input: RegistryInput, now: Instant): readonly RegistryEffect[] {
    if ('call' in input) {
      return this.#state.at === 'calling' && this.#state.call === input.call ? this.#answered(input, now) : [];
    }
    switch (input.type) {
      case 'elected':
        return [...this.#deposed(), ...this.#elected(input.token)];
      case 'deposed':
        return input.token === this.#term?.token ? this.#deposed() : [];
      case 'draining':
        if (input.token === this.#term?.token) this.#term.draining = true;
        return [];
      case 'request':
        if (this.#term === undefined) return [{ type: 'settle', ticket: input.ticket, outcome: 'not-leading' }];
        this.#waiting.push(input);
        return this.#next(now);
      case 'held':
        return this.#held(input.name, now);
      case 'tick':
      default:
        return this.#tick(now);
    }
  }

  #elected(token: bigint): readonly RegistryEffect[] {
    this.#term = { token, draining: false, started: false };
    this.#number = 0;
    this.#batchLimit = Infinity;
    return this.#call({ at: 'calling', call: 0, batch: [], tries: 0 });
  }

  #deposed(): readonly RegistryEffect[] {
    const state = this.#state;
    const open = [...('batch' in state ? state.batch : []), ...this.#waiting.splice(0)];
    this.#term = undefined;
    this.#state = { at: 'rest' };
    this.#records = NO_RECORDS;
    return settled(open, 'not-leading');
  }

  #call({ row, batch, refused, tries }: Omit<Calling, 'retryAt'>): readonly RegistryEffect[] {
    if (this.#term === undefined) return this.#deposed();
    const call = (this.#calls += 1);
    this.#state = { at: 'calling', call, batch, tries: tries + 1, ...(row && { row }), ...(refused && { refused }) };
    return [row === undefined ? { type: 'load', call } : { type: 'write', call, row, token: this.#term.token }];
  }

  #answered(input: Extract<RegistryInput, { readonly call: number }>, now: Instant): readonly RegistryEffect[] {
    const { row, ...state } = this.#state as Calling;
    if (input.type === 'fenced-off') return this.#deposed();
    if (input.type === 'loaded') return this.#loaded(input.row, state, now);
    if (input.type === 'written') return row === undefined ? [] : this.#written(row.records, state.batch, now);
    if (input.type === 'refused') {
      if (row === undefined) return [];
      return this.#call({ ...state, refused: { row, problem: input.problem }, tries: 0 });
    }
    const { retryMs } = this.settings;
    const pauseMs = backoffMs(state.tries, retryMs, 4 * retryMs, input.random);
    // After a conflict, the registry is read again.
    const again = input.type === 'call-failed' && row !== undefined ? { row } : {};
    this.#state = { ...state, ...again, retryAt: now.mono + pauseMs };
    return [{ type: 'wake', afterMs: pauseMs }];
  }

  #loaded(row: RegistryRow | undefined, { batch, refused }: Calling, now: Instant): readonly RegistryEffect[] {
    const term = this.#term;
    if (term === undefined) return [];
    const records = row?.records ?? NO_RECORDS;
    this.#records = records;
    if (refused !== undefined) {
      const written = row?.token === refused.row.token && row.number === refused.row.number;
      return written ? this.#written(records, batch, now) : this.#refused(batch, refused.problem, now);
    }
    if (batch.length > 0) return this.#apply(batch, now);
    this.#state = { at: 'ready' };
    const starts = !term.started && !term.draining;
    term.started ||= starts;
    const start: RegistryEffect[] = starts ? [{ type: 'start', token: term.token, records }] : [];
    return [...start, ...this.#next(now)];
  }

  #tick(now: Instant): readonly RegistryEffect[] {
    const state = this.#state;
    if (state.at !== 'calling' || state.retryAt === undefined) return [];
    if (now.mono >= state.retryAt) return this.#call(state);
    return [{ type: 'wake', afterMs: state.retryAt - now.mono }];
  }

  /** Begins with the waiting changes, all together, when those before are durable. */
  #next(now: Instant): readonly RegistryEffect[] {
    if (this.#state.at !== 'ready' || this.#waiting.length === 0) return [];
    const batch = this.#waiting.splice(0, this.#batchLimit);
    const names = new Set(changesOf(batch).flatMap(({ type, name }) => (type === 'resume' ? [] : [name])));
    if (names.size === 0) return this.#apply(batch, now);
    this.#state = { at: 'holding', batch, names };
    return [...names].map((name) => ({ type: 'hold', name }));
  }

  #held(name: string, now: Instant): readonly RegistryEffect[] {
    const state = this.#state;
    if (state.at !== 'holding' || !state.names.delete(name) || state.names.size > 0) return [];
    return this.#apply(state.batch, now);
  }

  #apply(batch: readonly Request[], now: Instant): readonly RegistryEffect[] {
    const changes = changesOf(batch);
    if (changes.length === 0) return this.#written(this.#records, batch, now);
    // Written also if it changes nothing: the database may have lost the row before.
    const records = changes.reduce((all, change) => changed(all, change, Math.floor(now.wall)), this.#records);
    const row: RegistryRow = {
      token: this.#term?.token ?? 0n,
      number: (this.#number += 1),
      pod: this.settings.pod(),
      changes,
      records,
    };
    return this.#call({ at: 'calling', call: 0, row, batch, tries: 0 });
  }

  #written(records: JobRecords, batch: readonly Request[], now: Instant): readonly RegistryEffect[] {
    this.#records = records;
    this.#batchLimit *= 2;
    return [...this.#applied(batch), ...settled(batch, 'done'), ...this.#next(now)];
  }

  #refused(batch: readonly Request[], problem: string, now: Instant): readonly RegistryEffect[] {
    const applied = this.#applied(batch);
    const [only, ...others] = batch;
    if (only !== undefined && others.length === 0) {
      return [...applied, { type: 'settle', ticket: only.ticket, outcome: 'refused', problem }, ...this.#next(now)];
    }
    this.#batchLimit = Math.ceil(batch.length / 2);
    this.#waiting.unshift(...batch);
    return [...applied, ...this.#next(now)];
  }

  /** The schedulers of these jobs follow the present records, which ends their hold. */
  #applied(batch: readonly Request[]): readonly RegistryEffect[] {
    this.#state = { at: 'ready' };
    const names = [...new Set(changesOf(batch).map(({ name }) => name))];
    return [{ type: 'apply', names, records: this.#records }];
  }
}

function changesOf(requests: readonly Request[]): readonly JobChange[] {
  return requests.flatMap(({ change }) => (change === undefined ? [] : [change]));
}

function settled(requests: readonly Request[], outcome: 'done' | 'not-leading'): readonly RegistryEffect[] {
  return requests.map(({ ticket }) => ({ type: 'settle', ticket, outcome }));
}
