import { Code, failedPrecondition, invalidArgument, SpannerError } from '../common/status.js';
import { formatTimestamp, NANOS_PER_MILLI, NANOS_PER_SECOND, type Nanos } from '../common/timestamps.js';
import type { Ddl } from '../sql/ast.js';
import { exclude, LockTable, type PlacedLock } from './locks.js';
import { Schema } from './schema.js';
import { TimestampOracle } from './timestamp-oracle.js';
import { Transaction, type TransactionHost } from './transaction.js';

export interface DatabaseOptions {
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** How long a transaction may be idle before a waiting one takes its locks. */
  readonly idleTransactionMs: number;
  /** How long old versions can be read. */
  readonly versionRetentionMs: number;
  /** Whether concurrent, independent transactions may have the same commit timestamp, as in Spanner. */
  readonly shareCommitTimestamps: () => boolean;
  readonly onRowScanned: () => void;
}

export type ReadBound =
  | { readonly kind: 'strong' }
  | { readonly kind: 'exact' | 'notBefore'; readonly at: Nanos }
  | { readonly kind: 'exactStaleness' | 'maxStaleness'; readonly nanos: Nanos };

/** One database: schema, rows with their history, locks, and the active transactions. */
export class Database implements TransactionHost {
  readonly schema = new Schema();
  readonly locks: LockTable;
  private readonly oracle: TimestampOracle;
  private readonly active = new Set<Transaction>();
  private begun = 0;
  private commits = 0;
  /** The commits with the last timestamp, which the next commit may share. */
  private group = { firstCommit: 0, at: 0n, locks: [] as PlacedLock[] };
  private readonly beganAt = new WeakMap<Transaction, number>();

  constructor(
    readonly name: string,
    private readonly options: DatabaseOptions,
  ) {
    this.oracle = new TimestampOracle(options.clock);
    this.locks = new LockTable(options.idleTransactionMs);
  }

  /** @param retryOf an aborted transaction whose age, and so whose precedence, the new one keeps */
  begin(retryOf?: Transaction, optimistic = false): Transaction {
    this.begun++;
    const age = retryOf?.wasAborted === true ? retryOf.age : this.begun;
    const queues = retryOf?.lostLocks === true && !optimistic;
    const transaction = new Transaction(this.begun.toString(36), age, this, optimistic, queues);
    this.beganAt.set(transaction, this.commits);
    this.active.add(transaction);
    return transaction;
  }

  now(): Nanos {
    return this.oracle.now();
  }

  milliseconds(): number {
    return this.options.clock();
  }

  /** Random, so that clients that were aborted together do not retry together. */
  retryDelayMs(): number {
    return 10 + Math.random() * 60;
  }

  horizon(): Nanos {
    return this.now() - BigInt(this.options.versionRetentionMs) * NANOS_PER_MILLI;
  }

  countRow(): void {
    this.options.onRowScanned();
  }

  commitTimestamp(transaction: Transaction): Nanos {
    this.active.delete(transaction);
    this.commits++;
    const locks = this.options.shareCommitTimestamps() ? this.locks.heldBy(transaction) : [];
    if (this.canShare(transaction, locks)) this.group.locks.push(...locks);
    else this.group = { firstCommit: this.commits, at: this.oracle.commit(), locks: [...locks] };
    return this.group.at;
  }

  /**
   * The timestamp of a read with this bound. Later commits do not change the data at that timestamp.
   * Undefined for a future time; `waitMs` is then the remaining time.
   */
  readTimestamp(bound: ReadBound): { readonly at: Nanos } | { readonly waitMs: number } {
    const at = this.resolve(bound);
    const now = this.oracle.now();
    if (at < this.horizon()) {
      throw failedPrecondition(
        `Read-only transaction timestamp ${formatTimestamp(at)} has exceeded the maximum timestamp staleness`,
      );
    }
    if (at - now > 3_600n * NANOS_PER_SECOND) {
      throw new SpannerError(
        Code.DEADLINE_EXCEEDED,
        `Read-only transaction timestamp ${formatTimestamp(at)} is more than 1 hour in future.`,
      );
    }
    if (at > now) return { waitMs: Number((at - now) / NANOS_PER_MILLI) + 1 };
    this.oracle.readAt(at);
    return { at };
  }

  /** A schema change aborts the active transactions, because they were compiled with the old schema. */
  applyDdl(ddl: Ddl): void {
    for (const transaction of this.active) transaction.abort('Transaction aborted due to concurrent schema change.');
    this.active.clear();
    this.group = { firstCommit: 0, at: 0n, locks: [] };
    this.schema.apply(ddl, this.oracle.commit());
  }

  /** Aborts idle transactions for which others wait. Call it periodically. */
  expireIdle(): void {
    if (this.locks.contended) this.locks.expireIdle(this.milliseconds());
    for (const transaction of this.active) if (!transaction.isActive) this.active.delete(transaction);
  }

  abortAll(message: string): void {
    for (const transaction of this.active) transaction.abort(message);
    this.active.clear();
  }

  private resolve(bound: ReadBound): Nanos {
    switch (bound.kind) {
      case 'strong':
      case 'maxStaleness':
        return this.oracle.now();
      case 'exact':
        return bound.at;
      case 'notBefore': {
        const now = this.oracle.now();
        return bound.at > now ? bound.at : now;
      }
      case 'exactStaleness':
    }
    if (bound.nanos < 0n) throw invalidArgument('Staleness must be non-negative.');
    return this.oracle.now() - bound.nanos;
  }

  /**
   * Two commits may have the same timestamp if they overlapped in time, are independent, and no reader has seen the
   * database at that timestamp.
   */
  private canShare(transaction: Transaction, locks: readonly PlacedLock[]): boolean {
    if (!this.options.shareCommitTimestamps() || !this.oracle.lastCommitUnread) return false;
    if (this.group.at === 0n || this.beganAt.get(transaction)! >= this.group.firstCommit) return false;
    return !this.group.locks.some((theirs) => locks.some((ours) => exclude(ours, theirs)));
  }
}
