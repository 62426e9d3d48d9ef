import { isSamePosition, isTombstone } from '../database/log-table.js';
import { backoffMs } from '../common/backoff.js';
import { HedgeError, messageOf } from '../common/errors.js';
import type {
  GroupCommitEffect,
  GroupCommitInput,
  GroupCommitLimits,
  PutItem,
  PutOutcome,
  PutRow,
  PutTransaction,
  Write,
} from './group-commit.messages.js';

interface Waiter {
  readonly ticket: number;
  readonly deadline: number;
}

interface PendingWrite<W extends Write = Write> {
  readonly write: W;
  readonly bytes: number;
  readonly waiters: Waiter[];
  /** An earlier attempt ended without an answer, so it may have been written. */
  maybeWritten: boolean;
  /** The error of the last attempt. */
  lastError?: unknown;
}

/**
 * Group commit: combines concurrent puts into few transactions. Pure: `step` accepts an input and the time, and returns
 * effects. The runner (`GroupCommitter`, or the simulation) performs them and passes the results back.
 *
 * - One append is in flight at a time. Puts that arrive meanwhile form the next batch, so the batch grows with the load.
 *   Puts with different fences never share a transaction.
 * - A repeated put (same key and id) joins the pending one. With another value it fails with CONFLICT.
 * - After BACKEND_UNAVAILABLE, the same rows are retried after a growing pause, as long as the next attempt begins before
 *   the deadline of each put. DEADLINE_EXCEEDED names the error of the last attempt. A retry is safe, because an append is
 *   idempotent by (key, id) (K1).
 * - A batch that the database rejects is halved until the row at fault is alone and fails.
 * - After an attempt of a row without an answer, a later rejection is reported as OUTCOME_UNKNOWN: the earlier attempt may
 *   have written the row.
 * - Puts with conditions (`PutTransaction`) share transactions of the database of their own, at most one for each key in a
 *   transaction. The database checks the conditions in the transaction that appends the rows, and knows a row that an earlier
 *   attempt has written. So its answer is final, whatever the outcome of earlier attempts was (K4). A `PutTransaction` is
 *   never split (K5).
 * - No overwrite runs beside puts with conditions: on PostgreSQL, every other write of the log makes these run again. When
 *   both wait, they take turns.
 * - An overwrite has its own transaction. It is retried only after the database reported that it did not happen.
 */
export class GroupCommit {
  readonly #pending = new Map<string, PendingWrite>();
  /** The appends that wait, by `queueOf`: those of one queue may share a transaction. */
  readonly #queues = new Map<string, PendingWrite[]>();
  readonly #again: PendingWrite[][] = [];
  readonly #overwriting = new Map<number, PendingWrite<PutRow>>();
  #overwrites: PendingWrite<PutRow>[] = [];
  /** Who goes first when both wait. */
  #turn: 'overwrites' | 'conditions' = 'overwrites';
  #batch: PendingWrite[] | undefined;
  #runs = 0;
  #puts = 0;
  #bytes = 0;
  #failures = 0;
  #conditionFailures = 0;
  #notBefore = -Infinity;
  #wakeAt: number | undefined;
  /** Writes with conditions start no earlier. Other writes may make these fail, so they must not hold up the others. */
  #conditionsNotBefore = -Infinity;
  #effects: GroupCommitEffect[] = [];

  constructor(private readonly limits: GroupCommitLimits) {}

  /** The number of puts that are not settled. */
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
        const pending = this.#endOverwrite(input.run);
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

  #admit(input: { ticket: number; write: Write; deadline: number }): void {
    const { ticket, write } = input;
    const refuse = (error: HedgeError): void => void this.#effects.push({ type: 'settle', ticket, outcome: error });
    const bytes = bytesOf(write);
    if (this.#puts >= this.limits.maxQueuedPuts || this.#bytes + bytes > this.limits.maxQueuedBytes) {
      return refuse(
        new HedgeError(
          'OVERLOADED',
          `${nameOf(write)} was refused: ${this.#puts} puts (${this.#bytes} bytes) already wait on the leader. Nothing was written; try again later.`,
        ),
      );
    }
    const name = identity(write);
    const same = this.#pending.get(name);
    if (same === undefined) {
      const pending: PendingWrite = { write, bytes, waiters: [input], maybeWritten: false };
      this.#pending.set(name, pending);
      this.#bytes += bytes;
      this.#enqueue(pending);
    } else if (isSameWrite(same.write, write)) {
      same.waiters.push(input);
    } else {
      return refuse(
        new HedgeError(
          'CONFLICT',
          `${nameOf(write)} was refused: a put with the same id ${firstRow(write).id} and another value is in progress.`,
        ),
      );
    }
    this.#puts += 1;
  }

  #enqueue(pending: PendingWrite): void {
    if (isOverwrite(pending)) {
      this.#overwrites.push(pending);
      return;
    }
    const name = queueOf(pending.write);
    const queue = this.#queues.get(name);
    if (queue === undefined) this.#queues.set(name, [pending]);
    else queue.push(pending);
  }

  /** Writes that are tried again go before later ones of their keys: a renewal before the deletion of an expired version. */
  #enqueueFirst(batch: readonly PendingWrite[]): void {
    const [first] = batch;
    if (first === undefined) return;
    const name = queueOf(first.write);
    this.#queues.set(name, [...batch, ...(this.#queues.get(name) ?? [])]);
  }

  /** Starts the transactions that may start now. */
  #start(now: number): void {
    if (now < this.#notBefore) {
      if (this.#pending.size > 0) this.#wake(this.#notBefore);
      return;
    }
    this.#startOverwrites(now);
    this.#startBatch(now);
    // Puts with conditions, for which they waited, may have expired.
    this.#startOverwrites(now);
    if (now < this.#conditionsNotBefore && this.#conditionWaits()) this.#wake(this.#conditionsNotBefore);
  }

  #startBatch(now: number): void {
    if (this.#batch !== undefined) return;
    this.#batch = this.#nextBatch(now);
    const [first] = this.#batch ?? [];
    if (this.#batch === undefined || first === undefined) return;
    const { fence } = first.write;
    const writes = this.#batch.map(({ write }) => write);
    if (isConditional(this.#batch)) {
      this.#turn = 'overwrites';
      this.#effects.push({ type: 'append-if', transactions: writes.filter(isTransaction), fence });
    } else {
      this.#effects.push({ type: 'append', rows: writes.filter(isRow), fence });
    }
  }

  #startOverwrites(now: number): void {
    if (this.#overwrites.length === 0 || isConditional(this.#batch)) return;
    if (this.#turn === 'conditions' && now >= this.#conditionsNotBefore && this.#conditionWaits()) return;
    while (this.#overwriting.size < this.limits.maxOverwrites) {
      const pending = this.#overwrites.shift();
      if (pending === undefined) break;
      if (this.#expired(pending, now)) continue;
      const run = (this.#runs += 1);
      this.#overwriting.set(run, pending);
      this.#turn = 'conditions';
      this.#effects.push({ type: 'overwrite', run, row: pending.write });
    }
  }

  #conditionWaits(): boolean {
    return [...this.#again, ...this.#queues.values()].some(isConditional);
  }

  #nextBatch(now: number): PendingWrite[] | undefined {
    const conditionsMayStart = this.#overwriting.size === 0 && now >= this.#conditionsNotBefore;
    const mayStart = (batch: readonly PendingWrite[]): boolean =>
      batch.length > 0 && (conditionsMayStart || !isConditional(batch));
    for (let place = this.#again.length - 1; place >= 0; place -= 1) {
      const again = this.#again[place] ?? [];
      if (!mayStart(again)) continue;
      this.#again.splice(place, 1);
      const alive = again.filter((pending) => !this.#expired(pending, now));
      if (alive.length > 0) return alive;
    }
    for (const [name, queue] of this.#queues) {
      if (!mayStart(queue)) continue;
      const { batch, rest } = this.#fill(queue, now);
      // The rest of the queue goes behind the other queues, so that none starves.
      this.#queues.delete(name);
      if (rest.length > 0) this.#queues.set(name, rest);
      if (batch.length > 0) return batch;
    }
    return undefined;
  }

  /** Splits a queue into the writes of the next transaction of the database and the rest. */
  #fill(queue: readonly PendingWrite[], now: number): { batch: PendingWrite[]; rest: PendingWrite[] } {
    const { maxBatchRows, maxTransactionItems, maxBatchBytes } = this.limits;
    const batch: PendingWrite[] = [];
    const rest: PendingWrite[] = [];
    const keys = new Set<string>();
    let rows = 0;
    let bytes = 0;
    let full = false;
    for (const pending of queue) {
      const { write } = pending;
      const items = isTransaction(write) ? write.items : [write];
      const most = isTransaction(write) ? maxTransactionItems : maxBatchRows;
      full ||= batch.length > 0 && (rows + items.length > most || bytes + pending.bytes > maxBatchBytes);
      if (full || (isTransaction(write) && items.some(({ key }) => keys.has(key)))) {
        rest.push(pending);
        // So that no later write of its keys goes first.
        for (const { key } of items) keys.add(key);
      } else if (!this.#expired(pending, now)) {
        batch.push(pending);
        for (const { key } of items) keys.add(key);
        rows += items.length;
        bytes += pending.bytes;
      }
    }
    return { batch, rest };
  }

  #endBatch(): PendingWrite[] {
    const batch = this.#batch;
    if (batch === undefined) throw new Error('A result arrived, but no append is in flight');
    this.#batch = undefined;
    return batch;
  }

  #endOverwrite(run: number): PendingWrite<PutRow> {
    const pending = this.#overwriting.get(run);
    if (pending === undefined) throw new Error(`A result arrived, but overwrite ${run} is not in flight`);
    this.#overwriting.delete(run);
    return pending;
  }

  #appended(outcomes: readonly PutOutcome[]): void {
    const batch = this.#endBatch();
    this.#failures = 0;
    if (isConditional(batch)) this.#conditionFailures = 0;
    for (const [index, pending] of batch.entries()) {
      this.#settle(pending, outcomes[index] ?? unknownOutcome(pending.write, 'the driver gave no outcome'));
    }
  }

  #appendFailed(error: unknown, random: number, now: number): void {
    const batch = this.#endBatch();
    const known = error instanceof HedgeError && (error.code === 'LEASE_LOST' || error.code === 'INVALID_ARGUMENT');
    if (!known) for (const pending of batch) pending.maybeWritten = true;
    if (error instanceof HedgeError && error.code === 'BACKEND_UNAVAILABLE') {
      const conditional = isConditional(batch);
      const next = conditional ? this.#pauseConditions(random, now) : this.#pause(random, now);
      // Fails at once the callers for whom the next attempt would be too late.
      const alive = batch.filter((pending) => !this.#expired(Object.assign(pending, { lastError: error }), next));
      if (conditional) this.#enqueueFirst(alive);
      else if (alive.length > 0) this.#again.push(alive);
    } else if (batch.length === 1 || (error instanceof HedgeError && error.code === 'LEASE_LOST')) {
      for (const pending of batch) this.#settle(pending, refusal(pending, error));
    } else {
      const half = batch.length >>> 1;
      this.#again.push(batch.slice(half), batch.slice(0, half));
    }
  }

  #overwriteFailed(run: number, error: unknown, random: number, now: number): void {
    const pending = this.#endOverwrite(run);
    if (error instanceof HedgeError && error.code === 'BACKEND_UNAVAILABLE') {
      this.#pause(random, now);
      pending.lastError = error;
      if (!this.#expired(pending, this.#notBefore)) this.#overwrites.push(pending);
      return;
    }
    if (!(error instanceof HedgeError)) pending.maybeWritten = true;
    this.#settle(pending, refusal(pending, error));
  }

  /** @returns when the next transaction may start */
  #pause(random: number, now: number): number {
    this.#failures += 1;
    this.#notBefore = now + this.#pauseMs(this.#failures, random);
    this.#wake(this.#notBefore);
    return this.#notBefore;
  }

  #pauseConditions(random: number, now: number): number {
    this.#conditionFailures += 1;
    this.#conditionsNotBefore = now + this.#pauseMs(this.#conditionFailures, random);
    return this.#conditionsNotBefore;
  }

  #pauseMs(failures: number, random: number): number {
    const { retryMs } = this.limits;
    return backoffMs(failures, retryMs, 4 * retryMs, random);
  }

  #wake(at: number): void {
    if (this.#wakeAt !== undefined && this.#wakeAt <= at) return;
    this.#wakeAt = at;
    this.#effects.push({ type: 'wake', at });
  }

  /** Fails the waiters whose deadline has passed. @returns true when no waiter is left and the row was dropped. */
  #expired(pending: PendingWrite, now: number): boolean {
    const { write, waiters, maybeWritten, lastError } = pending;
    const why = lastError === undefined ? '' : ` (${messageOf(lastError)})`;
    for (let index = waiters.length - 1; index >= 0; index -= 1) {
      const waiter = waiters[index];
      if (waiter === undefined || waiter.deadline > now) continue;
      waiters.splice(index, 1);
      this.#puts -= 1;
      const outcome = new HedgeError(
        'DEADLINE_EXCEEDED',
        maybeWritten
          ? `${nameOf(write)} ran out of time before the database confirmed it${why}. It may have been written: read the key before you write it again.`
          : `${nameOf(write)} ran out of time before it was written${why}. Nothing was written.`,
        { details: { id: firstRow(write).id, started: maybeWritten }, retryable: !maybeWritten, cause: lastError },
      );
      this.#effects.push({ type: 'settle', ticket: waiter.ticket, outcome });
    }
    if (waiters.length > 0) return false;
    this.#drop(pending);
    return true;
  }

  #settle(pending: PendingWrite, outcome: PutOutcome): void {
    this.#puts -= pending.waiters.length;
    this.#drop(pending);
    for (const { ticket } of pending.waiters) this.#effects.push({ type: 'settle', ticket, outcome });
  }

  #drop(pending: PendingWrite): void {
    this.#pending.delete(identity(pending.write));
    this.#bytes -= pending.bytes;
  }
}

function isRow(write: Write): write is PutRow {
  return !isTransaction(write);
}

function isTransaction(write: Write): write is PutTransaction {
  return 'items' in write;
}

/** All writes of a batch, and of a queue, are of one kind. */
function isConditional([first]: readonly PendingWrite[] = []): boolean {
  return first !== undefined && isTransaction(first.write);
}

function isOverwrite(pending: PendingWrite): pending is PendingWrite<PutRow> {
  return isRow(pending.write) && pending.write.overwrite;
}

/** The row that identifies a write. */
function firstRow(write: Write): { readonly key: string; readonly id: string } {
  if (!isTransaction(write)) return write;
  for (const { key, append } of write.items) if (append !== undefined) return { key, id: append.id };
  throw new Error('A transaction has no row');
}

/**
 * The name of a write. It contains the length of the key, so that two rows never have the same name. A put that this process
 * tries again in a later term, under another fence, is another write of the same row.
 */
function identity(write: Write): string {
  const { key, id } = firstRow(write);
  return `${write.fence} ${key.length}:${key}${id}`;
}

function bytesOf(write: Write): number {
  if (isRow(write)) return Buffer.byteLength(write.key) + Buffer.byteLength(write.value);
  return write.items.reduce(
    (sum, { key, append }) => sum + Buffer.byteLength(key) + Buffer.byteLength(append?.value ?? ''),
    0,
  );
}

/** The name of the queue of an append. */
function queueOf(write: Write): string {
  return `${write.fence} ${isTransaction(write) ? 'if' : 'always'}`;
}

function isSameWrite(a: Write, b: Write): boolean {
  if (isRow(a)) return isRow(b) && a.value === b.value && a.overwrite === b.overwrite;
  if (isRow(b)) return false;
  return a.items.length === b.items.length && a.items.every((item, i) => isSameItem(item, b.items[i]!));
}

function isSameItem(a: PutItem, b: PutItem): boolean {
  return (
    a.key === b.key &&
    a.append?.id === b.append?.id &&
    a.append?.value === b.append?.value &&
    (a.condition === undefined) === (b.condition === undefined) &&
    isSamePosition(a.condition?.follows, b.condition?.follows)
  );
}

/** The name of the call, for errors. */
function nameOf(write: Write): string {
  const { key, id } = firstRow(write);
  if (isTransaction(write) && write.items.length > 1) return `transaction of ${write.items.length} keys with "${key}"`;
  return `${isTombstone({ id }) ? 'delete' : 'put'} "${key}"`;
}

function refusal(pending: PendingWrite, error: unknown): HedgeError {
  if (error instanceof HedgeError && !pending.maybeWritten) return error;
  return unknownOutcome(pending.write, messageOf(error), error);
}

function unknownOutcome(write: Write, why: string, cause?: unknown): HedgeError {
  return new HedgeError(
    'OUTCOME_UNKNOWN',
    `${nameOf(write)} may or may not have been written (${why}). Read the key before you write it again.`,
    { details: { id: firstRow(write).id }, cause },
  );
}
