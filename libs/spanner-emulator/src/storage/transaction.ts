import { Code, ConstraintError, failedPrecondition, SpannerError } from '../common/status.js';
import type { Nanos } from '../common/timestamps.js';
import { PENDING, type Row } from '../sql/types.js';
import type { LockOwner, LockTable } from './locks.js';
import type { Table } from './table.js';
import { ChangeSet, Work } from './work.js';

/** The functions of the database that a transaction uses. */
export interface TransactionHost {
  readonly locks: LockTable;
  now(): Nanos;
  milliseconds(): number;
  /** The pause before a client retries an aborted transaction. */
  retryDelayMs(): number;
  /** Assigns the commit timestamp when all locks are held. */
  commitTimestamp(transaction: Transaction): Nanos;
  /** The oldest readable timestamp. */
  horizon(): Nanos;
  countRow(): void;
}

/** @param retryDelayMs for the RetryInfo; null for an error without one */
const aborted = (message: string, retryDelayMs: number | null): SpannerError =>
  new SpannerError(Code.ABORTED, message, retryDelayMs === null ? undefined : { kind: 'retry', delayMs: retryDelayMs });

type State =
  | { readonly kind: 'active' | 'rolledBack' }
  | { readonly kind: 'committed'; readonly at: Nanos }
  | { readonly kind: 'aborted'; readonly error: SpannerError }
  /** Failed permanently, by a constraint or at the commit. Every request except a rollback fails with the first error. */
  | { readonly kind: 'failed'; readonly error: unknown };

/** A read-write transaction: serializable, by two-phase locks held to the end. */
export class Transaction implements LockOwner {
  private state: State = { kind: 'active' };
  private committing: Promise<Nanos> | undefined;
  private inProgress = 0;
  private lastUse: number;
  private wounded = false;
  readonly changes = new ChangeSet();

  constructor(
    readonly id: string,
    readonly age: number,
    private readonly host: TransactionHost,
    /** Optimistic: other transactions may change the rows that it has read, which aborts it. */
    readonly yields = false,
    /** The retry of a transaction that lost its locks: its reads wait in order with other retries. */
    readonly queues = false,
  ) {
    this.lastUse = host.milliseconds();
  }

  get idleSince(): number | undefined {
    return this.inProgress > 0 ? undefined : this.lastUse;
  }

  get isActive(): boolean {
    return this.state.kind === 'active';
  }

  /** Whether its retry must wait in order. */
  get lostLocks(): boolean {
    return this.wounded || (this.queues && this.wasAborted);
  }

  get wasAborted(): boolean {
    return this.state.kind === 'aborted';
  }

  /**
   * Runs one statement with the locks that it needs. Returns a promise only if it must wait for them. Then the statement
   * runs again, on the present data. ABORTED when an older transaction needs the same locks. A statement that violates a
   * constraint ends the transaction. Any other failed statement does not change it.
   */
  run<T>(statement: (work: Work) => T): T | Promise<T> {
    this.assertUsable('read or query');
    const accept = (work: Work, result: T): T => {
      this.changes.absorb(work.changes);
      return result;
    };
    return this.attempt(statement, accept, (error) => {
      if (error instanceof ConstraintError) this.fail(error);
    });
  }

  /**
   * Applies the mutations and commits all changes at one timestamp. A second commit has the outcome of the first: its
   * timestamp, or its error.
   */
  commit(mutate: (work: Work) => void): Nanos | Promise<Nanos> {
    if (this.state.kind === 'committed') return this.state.at;
    // A repeated commit, while the first one still waits for its locks.
    if (this.committing) return this.committing;
    if (this.state.kind === 'rolledBack') {
      throw failedPrecondition('Cannot commit a transaction after it has been rolled back.');
    }
    this.assertUsable('commit');
    const apply = (work: Work): Nanos => {
      this.changes.absorb(work.changes);
      const at = this.host.commitTimestamp(this);
      for (const [table, rows] of this.changes.tables) {
        for (const key of rows.keys()) write(table, key, this.changes.apply(table, key, table.rows.get(key)), at);
        table.collect(this.host.horizon());
      }
      this.end({ kind: 'committed', at }, new Error('committed'));
      return at;
    };
    const outcome = this.attempt(mutate, apply, (error) => this.fail(error));
    if (!(outcome instanceof Promise)) return outcome;
    this.committing = outcome.finally(() => (this.committing = undefined));
    return this.committing;
  }

  rollback(): void {
    if (this.state.kind === 'committed') {
      throw failedPrecondition('Cannot rollback a transaction after it has been committed.');
    }
    if (this.state.kind !== 'active' && this.state.kind !== 'failed') return;
    this.end({ kind: 'rolledBack' }, failedPrecondition('The transaction was rolled back.'));
  }

  wound(): void {
    this.wounded ||= this.isActive;
    this.abort(
      'Transaction was aborted. It was wounded by a higher priority transaction due to a conflict on a key it locks.',
    );
  }

  abort(message: string, retryDelayMs: number | null = this.host.retryDelayMs()): void {
    if (!this.isActive) return;
    const error = aborted(message, retryDelayMs);
    this.end({ kind: 'aborted', error }, error);
  }

  /** Ends the transaction. Later requests fail with this error. */
  fail(error: unknown): void {
    if (this.isActive) this.end({ kind: 'failed', error }, error);
  }

  assertUsable(what: string): void {
    switch (this.state.kind) {
      case 'active':
        return;
      case 'aborted':
      case 'failed':
        throw this.state.error;
      case 'committed':
      case 'rolledBack':
        throw failedPrecondition(`Cannot ${what} using a transaction after it has been committed or rolledback.`);
    }
  }

  private attempt<T, R>(
    statement: (work: Work) => T,
    accept: (work: Work, result: T) => R,
    failed: (error: unknown) => void,
  ): R | Promise<R> {
    const work = new Work(this.changes, this.host.now(), () => this.host.countRow());
    let outcome: { readonly result: T } | { readonly error: unknown };
    try {
      outcome = { result: statement(work) };
    } catch (error) {
      // The rows that the statement read must be locked before its failure is valid.
      outcome = { error };
    }
    const waiting = this.host.locks.acquire(this, work.requests);
    if (waiting) return this.again(waiting, () => this.attempt(statement, accept, failed));
    this.lastUse = this.host.milliseconds();
    if ('error' in outcome) {
      failed(outcome.error);
      throw outcome.error;
    }
    return accept(work, outcome.result);
  }

  private async again<R>(waiting: Promise<void>, attempt: () => R | Promise<R>): Promise<R> {
    this.inProgress++;
    try {
      await waiting;
      this.assertUsable('read or query');
      return await attempt();
    } finally {
      this.inProgress--;
      this.lastUse = this.host.milliseconds();
    }
  }

  private end(state: State, reason: unknown): void {
    this.state = state;
    // An ended transaction is remembered for a while, and must not keep its rows in memory.
    this.changes.clear();
    this.host.locks.release(this, reason);
  }
}

/** Writes one row of a commit, with the timestamp in place of pending values, also in the key. */
const write = (table: Table, key: string, row: Row | undefined, at: Nanos): void => {
  if (!row?.includes(PENDING)) {
    table.write(key, at, row);
    return;
  }
  const resolved = row.map((value) => (value === PENDING ? at : value));
  table.write(table.keyOf(resolved), at, resolved);
};
