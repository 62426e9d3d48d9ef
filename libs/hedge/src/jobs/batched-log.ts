import type { AppendOutcome, Fence, LogAppend, LogEntry } from '../database/log-table.js';
import { HedgeError } from '../common/errors.js';
import type { JobLog } from './job-scheduler.runner.js';

/** Limit of the rows in one commit: every database accepts it, and a renewal of the lease can wait for it. */
const MAX_ROWS = 500;
/** Limit of concurrent reads of ledgers, for example after an election. */
const MAX_READS = 32;

interface PendingAppend {
  readonly rows: readonly LogAppend[];
  readonly fence: Fence | undefined;
  resolve(outcomes: readonly AppendOutcome[]): void;
  reject(error: unknown): void;
}

/**
 * The log table for all jobs of a pod. Many jobs are due at the same second, so their rows share commits: the calls of one
 * turn of the event loop, and the calls during a commit. Only one commit runs at a time, so that a renewal of the lease,
 * which the database may queue behind it, never waits for more than one.
 *
 * Each call has the same outcome as in a separate commit.
 */
export class BatchedLog implements JobLog {
  #waiting: PendingAppend[] = [];
  #appending = false;
  #reads = 0;
  readonly #readers: (() => void)[] = [];

  constructor(private readonly log: JobLog) {}

  append(rows: readonly LogAppend[], fence?: Fence): Promise<readonly AppendOutcome[]> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ rows, fence, resolve, reject });
      if (this.#appending) return;
      this.#appending = true;
      // The end of this turn of the event loop: the timers of all due jobs have fired by then.
      setImmediate(() => void this.#appendAll());
    });
  }

  async latest(key: string): Promise<LogEntry | undefined> {
    if (this.#reads >= MAX_READS) await new Promise<void>((begin) => this.#readers.push(begin));
    else this.#reads += 1;
    try {
      return await this.log.latest(key);
    } finally {
      const next = this.#readers.shift();
      if (next !== undefined) next();
      else this.#reads -= 1;
    }
  }

  async #appendAll(): Promise<void> {
    while (this.#waiting.length > 0) await this.#append(this.#nextBatch());
    this.#appending = false;
  }

  /** The calls that have waited longest and have the same fence. */
  #nextBatch(): PendingAppend[] {
    const batch: PendingAppend[] = [];
    let rows = 0;
    const [first] = this.#waiting;
    for (const call of this.#waiting) {
      rows += call.rows.length;
      if (batch.length > 0 && (rows > MAX_ROWS || !sameFence(call.fence, first?.fence))) break;
      batch.push(call);
    }
    this.#waiting = this.#waiting.slice(batch.length);
    return batch;
  }

  async #append(batch: readonly PendingAppend[]): Promise<void> {
    const rows = batch.flatMap((call) => call.rows);
    try {
      const outcomes = await this.log.append(rows, batch[0]?.fence);
      let start = 0;
      for (const call of batch) call.resolve(outcomes.slice(start, (start += call.rows.length)));
    } catch (error) {
      const rowAtFault = error instanceof HedgeError && error.code === 'INVALID_ARGUMENT' && batch.length > 1;
      if (!rowAtFault) return batch.forEach((call) => call.reject(error));
      // One row that the database rejects must not block the others.
      const half = Math.ceil(batch.length / 2);
      await this.#append(batch.slice(0, half));
      await this.#append(batch.slice(half));
    }
  }
}

function sameFence(a: Fence | undefined, b: Fence | undefined): boolean {
  return a?.lease === b?.lease && a?.token === b?.token;
}
