import type { LogTable } from '../database/log-table.js';
import type { Clock } from '../common/clock.js';
import { HedgeError } from '../common/errors.js';
import { GroupCommit } from './group-commit.core.js';
import type { GroupCommitEffect, GroupCommitInput, GroupCommitLimits, PutRow } from './group-commit.messages.js';

export interface GroupCommitterOptions {
  readonly log: LogTable;
  readonly clock: Clock;
  /** Row name of the group's election lease, which fenced puts are fenced by. */
  readonly lease: string;
  /** This pod's advertised address, written into each row; asked late, because the port may be chosen at start. */
  readonly address: () => string;
  readonly limits: GroupCommitLimits;
}

interface Caller {
  resolve(timestamp: bigint): void;
  reject(error: HedgeError): void;
}

/** Runs `GroupCommit` on the log table of the pod that leads. */
export class GroupCommitter {
  readonly #core: GroupCommit;
  readonly #callers = new Map<number, Caller>();
  #tickets = 0;

  constructor(private readonly options: GroupCommitterOptions) {
    this.#core = new GroupCommit(options.limits);
  }

  /**
   * Resolves with the commit time in nanoseconds, once the row is durable. It may settle later than
   * `timeoutMs` by one call to the database, when one is in flight.
   * @throws HedgeError DEADLINE_EXCEEDED, OVERLOADED, CONFLICT, INVALID_ARGUMENT, LEASE_LOST,
   *   OUTCOME_UNKNOWN, as `GroupCommit` tells.
   */
  put(row: PutRow, timeoutMs: number): Promise<bigint> {
    return new Promise((resolve, reject) => {
      const ticket = (this.#tickets += 1);
      this.#callers.set(ticket, { resolve, reject });
      this.#step({ type: 'put', ticket, row, deadline: this.#now() + timeoutMs });
    });
  }

  #now(): number {
    return this.options.clock.now().mono;
  }

  #step(input: GroupCommitInput): void {
    const now = this.#now();
    for (const effect of this.#core.step(input, now)) this.#perform(effect, now);
  }

  #perform(effect: GroupCommitEffect, now: number): void {
    switch (effect.type) {
      case 'append':
        void this.#append(effect.rows, effect.fence);
        return;
      case 'overwrite':
        void this.#overwrite(effect.run, effect.row);
        return;
      case 'settle': {
        const caller = this.#callers.get(effect.ticket);
        this.#callers.delete(effect.ticket);
        if (effect.outcome instanceof HedgeError) caller?.reject(effect.outcome);
        else caller?.resolve(effect.outcome.timestamp);
        return;
      }
      case 'wake': {
        const flush = (): void => this.#step({ type: 'flush' });
        // The end of this event-loop turn: the puts of one network message have all been read by then.
        if (effect.at <= now) setImmediate(flush);
        else this.options.clock.after(effect.at - now, flush);
      }
    }
  }

  async #append(rows: readonly PutRow[], fence: bigint): Promise<void> {
    const leader = this.options.address();
    let input: GroupCommitInput;
    try {
      const appends = rows.map(({ key, id, value }) => ({ key, id, value, leader }));
      input = { type: 'appended', outcomes: await this.options.log.append(appends, this.#fence(fence)) };
    } catch (error) {
      input = { type: 'append-failed', error, random: Math.random() };
    }
    this.#step(input);
  }

  async #overwrite(run: number, { key, value, fence }: PutRow): Promise<void> {
    const leader = this.options.address();
    let input: GroupCommitInput;
    try {
      const { timestamp } = await this.options.log.overwrite({ key, value, leader }, this.#fence(fence));
      input = { type: 'overwritten', run, timestamp };
    } catch (error) {
      input = { type: 'overwrite-failed', run, error, random: Math.random() };
    }
    this.#step(input);
  }

  #fence(token: bigint): { lease: string; token: bigint } | undefined {
    return token === 0n ? undefined : { lease: this.options.lease, token };
  }
}
