import type { AppendOutcome } from '../database/log-table.js';
import { backoffMs } from '../common/backoff.js';
import { HedgeError, messageOf } from '../common/errors.js';
import type {
  GroupCommitEffect,
  GroupCommitInput,
  GroupCommitLimits,
  PutOutcome,
  PutRow,
} from './group-commit.messages.js';

interface Waiter {
  readonly ticket: number;
  readonly deadline: number;
}

interface Pending {
  readonly row: PutRow;
  readonly bytes: number;
  readonly waiters: Waiter[];
  /** An earlier try ended without an answer, so the row may be there already. */
  maybeWritten: boolean;
  /** Why the last try failed. */
  trouble?: unknown;
}

/**
 * Group commit: turns concurrent puts into few transactions. Pure: `step` takes an input and the time, and
 * returns what to do; the driver (`GroupCommitter`, or the simulation) does it and feeds the results back.
 *
 * - One append is in flight at a time, and what arrives meanwhile is the next one: so the batch grows with
 *   the load by itself. Puts with different fences never share a transaction.
 * - A repeated put (same key and id) joins the one that is pending; with another value it is a CONFLICT.
 * - BACKEND_UNAVAILABLE: the same rows again after a pause that grows, while the next try comes before each
 *   put's own deadline; its DEADLINE_EXCEEDED says why the last try failed. To repeat is safe, because an append is idempotent by (key, id) (K1).
 * - A batch that the database will never take is halved until the row at fault stands alone and fails.
 * - Once a try of a row ended without an answer, a later refusal is reported as OUTCOME_UNKNOWN: it cannot
 *   tell that the earlier try did nothing.
 * - An overwrite goes alone, and is tried again only after the database said that it surely did not happen.
 */
export class GroupCommit {
  readonly #pending = new Map<string, Pending>();
  readonly #queues = new Map<bigint, Pending[]>();
  readonly #again: Pending[][] = [];
  readonly #overwriting = new Map<number, Pending>();
  #overwrites: Pending[] = [];
  #batch: Pending[] | undefined;
  #runs = 0;
  #puts = 0;
  #bytes = 0;
  #failures = 0;
  #notBefore = -Infinity;
  #wakeAt: number | undefined;
  #effects: GroupCommitEffect[] = [];

  constructor(private readonly limits: GroupCommitLimits) {}

  /** Puts that are not settled yet. */
  get unsettled(): number {
    return this.#puts;
  }

  /** @param now milliseconds on any clock that never goes back. */
  step(input: GroupCommitInput, now: number): readonly GroupCommitEffect[] {
    this.#effects = [];
    switch (input.type) {
      case 'put':
        this.#admit(input);
        this.#wake(Math.max(now, this.#notBefore));
        return this.#effects;
      case 'flush':
        this.#wakeAt = undefined;
        break;
      case 'appended':
        this.#appended(input.outcomes);
        break;
      case 'append-failed':
        this.#appendFailed(input.error, input.random, now);
        break;
      case 'overwritten': {
        const pending = this.#takeOverwrite(input.run);
        this.#failures = 0;
        this.#settle(pending, { timestamp: input.timestamp });
        break;
      }
      case 'overwrite-failed':
        this.#overwriteFailed(input.run, input.error, input.random, now);
        break;
    }
    this.#start(now);
    return this.#effects;
  }

  #admit(input: { ticket: number; row: PutRow; deadline: number }): void {
    const { ticket, row } = input;
    const refuse = (error: HedgeError): void => void this.#effects.push({ type: 'settle', ticket, outcome: error });
    const bytes = Buffer.byteLength(row.key) + Buffer.byteLength(row.value);
    if (this.#puts >= this.limits.maxQueuedPuts || this.#bytes + bytes > this.limits.maxQueuedBytes) {
      return refuse(
        new HedgeError(
          'OVERLOADED',
          `put "${row.key}" was refused: ${this.#puts} puts (${this.#bytes} bytes) already wait on the leader. Nothing was written; try again later.`,
        ),
      );
    }
    const name = identity(row);
    const same = this.#pending.get(name);
    if (same === undefined) {
      const pending: Pending = { row, bytes, waiters: [input], maybeWritten: false };
      this.#pending.set(name, pending);
      this.#bytes += bytes;
      this.#enqueue(pending);
    } else if (same.row.value === row.value && same.row.overwrite === row.overwrite && same.row.fence === row.fence) {
      same.waiters.push(input);
    } else {
      return refuse(
        new HedgeError('CONFLICT', `put "${row.key}" with id ${row.id} is already under way with another value.`),
      );
    }
    this.#puts += 1;
  }

  #enqueue(pending: Pending): void {
    if (pending.row.overwrite) {
      this.#overwrites.push(pending);
      return;
    }
    const queue = this.#queues.get(pending.row.fence);
    if (queue === undefined) this.#queues.set(pending.row.fence, [pending]);
    else queue.push(pending);
  }

  /** Starts what may start now. */
  #start(now: number): void {
    if (now < this.#notBefore) {
      if (this.#pending.size > 0) this.#wake(this.#notBefore);
      return;
    }
    if (this.#batch === undefined) {
      this.#batch = this.#nextBatch(now);
      const fence = this.#batch?.[0]?.row.fence;
      if (this.#batch !== undefined && fence !== undefined) {
        this.#effects.push({ type: 'append', rows: this.#batch.map((pending) => pending.row), fence });
      }
    }
    while (this.#overwriting.size < this.limits.maxOverwrites) {
      const pending = this.#overwrites.shift();
      if (pending === undefined) break;
      if (this.#expired(pending, now)) continue;
      const run = (this.#runs += 1);
      this.#overwriting.set(run, pending);
      this.#effects.push({ type: 'overwrite', run, row: pending.row });
    }
  }

  #nextBatch(now: number): Pending[] | undefined {
    for (let again = this.#again.pop(); again !== undefined; again = this.#again.pop()) {
      const alive = again.filter((pending) => !this.#expired(pending, now));
      if (alive.length > 0) return alive;
    }
    for (const [fence, queue] of this.#queues) {
      const batch: Pending[] = [];
      let bytes = 0;
      let taken = 0;
      for (const pending of queue) {
        bytes += pending.bytes;
        const full = batch.length >= this.limits.maxBatchRows || bytes > this.limits.maxBatchBytes;
        if (full && batch.length > 0) break;
        taken += 1;
        if (this.#expired(pending, now)) bytes -= pending.bytes;
        else batch.push(pending);
      }
      // What is left goes behind the other fences, so that none of them starves.
      this.#queues.delete(fence);
      if (taken < queue.length) this.#queues.set(fence, queue.slice(taken));
      if (batch.length > 0) return batch;
    }
    return undefined;
  }

  #takeBatch(): Pending[] {
    const batch = this.#batch;
    if (batch === undefined) throw new Error('a result came in, but no append is in flight');
    this.#batch = undefined;
    return batch;
  }

  #takeOverwrite(run: number): Pending {
    const pending = this.#overwriting.get(run);
    if (pending === undefined) throw new Error(`a result came in, but overwrite ${run} is not in flight`);
    this.#overwriting.delete(run);
    return pending;
  }

  #appended(outcomes: readonly AppendOutcome[]): void {
    this.#failures = 0;
    for (const [index, pending] of this.#takeBatch().entries()) {
      this.#settle(pending, outcomes[index] ?? unknownOutcome(pending.row, 'the driver gave no outcome'));
    }
  }

  #appendFailed(error: unknown, random: number, now: number): void {
    const batch = this.#takeBatch();
    const known = error instanceof HedgeError && (error.code === 'LEASE_LOST' || error.code === 'INVALID_ARGUMENT');
    if (!known) for (const pending of batch) pending.maybeWritten = true;
    if (error instanceof HedgeError && error.code === 'BACKEND_UNAVAILABLE') {
      this.#pause(random, now);
      // Nobody need wait for a next try that would come too late for him.
      const alive = batch.filter(
        (pending) => !this.#expired(Object.assign(pending, { trouble: error }), this.#notBefore),
      );
      if (alive.length > 0) this.#again.push(alive);
    } else if (batch.length === 1 || (error instanceof HedgeError && error.code === 'LEASE_LOST')) {
      for (const pending of batch) this.#settle(pending, refusal(pending, error));
    } else {
      const half = batch.length >>> 1;
      this.#again.push(batch.slice(half), batch.slice(0, half));
    }
  }

  #overwriteFailed(run: number, error: unknown, random: number, now: number): void {
    const pending = this.#takeOverwrite(run);
    if (error instanceof HedgeError && error.code === 'BACKEND_UNAVAILABLE') {
      this.#pause(random, now);
      pending.trouble = error;
      if (!this.#expired(pending, this.#notBefore)) this.#overwrites.push(pending);
      return;
    }
    if (!(error instanceof HedgeError)) pending.maybeWritten = true;
    this.#settle(pending, refusal(pending, error));
  }

  #pause(random: number, now: number): void {
    this.#failures += 1;
    this.#notBefore = now + backoffMs(this.#failures, this.limits.retryMs, this.limits.retryMs * 4, random);
    this.#wake(this.#notBefore);
  }

  #wake(at: number): void {
    if (this.#wakeAt !== undefined) return;
    this.#wakeAt = at;
    this.#effects.push({ type: 'wake', at });
  }

  /** Answers the waiters whose deadline has passed; true when none is left and the row is dropped. */
  #expired(pending: Pending, now: number): boolean {
    const { row, waiters, maybeWritten, trouble } = pending;
    const why = trouble === undefined ? '' : ` (${messageOf(trouble)})`;
    for (let index = waiters.length - 1; index >= 0; index -= 1) {
      const waiter = waiters[index];
      if (waiter === undefined || waiter.deadline > now) continue;
      waiters.splice(index, 1);
      this.#puts -= 1;
      const outcome = new HedgeError(
        'DEADLINE_EXCEEDED',
        maybeWritten
          ? `put "${row.key}" ran out of time while the database did not take it${why}. It may have been written: read the key before you write it again.`
          : `put "${row.key}" ran out of time before it was written${why}. Nothing was written.`,
        { details: { id: row.id, started: maybeWritten }, retryable: !maybeWritten, cause: trouble },
      );
      this.#effects.push({ type: 'settle', ticket: waiter.ticket, outcome });
    }
    if (waiters.length > 0) return false;
    this.#drop(pending);
    return true;
  }

  #settle(pending: Pending, outcome: PutOutcome): void {
    this.#puts -= pending.waiters.length;
    this.#drop(pending);
    for (const { ticket } of pending.waiters) this.#effects.push({ type: 'settle', ticket, outcome });
  }

  #drop(pending: Pending): void {
    this.#pending.delete(identity(pending.row));
    this.#bytes -= pending.bytes;
  }
}

/** The length tells where the key ends, so two rows never share a name. */
function identity(row: PutRow): string {
  return `${row.key.length}:${row.key}${row.id}`;
}

function refusal(pending: Pending, error: unknown): HedgeError {
  if (error instanceof HedgeError && !pending.maybeWritten) return error;
  return unknownOutcome(pending.row, messageOf(error), error);
}

function unknownOutcome(row: PutRow, why: string, cause?: unknown): HedgeError {
  return new HedgeError(
    'OUTCOME_UNKNOWN',
    `put "${row.key}" may or may not have been written (${why}). Read the key before you write it again.`,
    { details: { id: row.id }, cause },
  );
}
