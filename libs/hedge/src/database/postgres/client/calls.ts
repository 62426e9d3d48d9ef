import { setTimeout as sleep } from 'node:timers/promises';
import { LOCK_NOT_AVAILABLE, repeatDelayMs, sqlState, toHedgeError, type OperationName } from '../failures.js';
import type { Channel, Row, Statement } from './client.js';

/** Runs one statement of an operation. */
export type Query = (statement: Statement) => Promise<readonly Row[]>;

export interface RunOptions {
  /** Goes before the operations that wait for a connection. Default: false. */
  readonly urgent?: boolean;
  /** Default: true. False when the caller repeats the operation if another transaction locks a row for too long. */
  readonly repeatsWhenLocked?: boolean;
  /** Runs at most. Default: as many as the time of one call allows. */
  readonly mostAttempts?: number;
}

/** Runs operations, repeats them whole after a conflict, and ends them within the time of one call. */
export class Calls {
  /** @param database its name, for errors */
  constructor(
    private readonly channel: Channel,
    readonly database: string,
    private readonly timeoutMs: number,
  ) {}

  /**
   * @param work may run several times; the last run decides.
   * @throws HedgeError of `toHedgeError`; the HedgeError of `work`.
   */
  async run<T>(operation: OperationName, work: (query: Query) => Promise<T>, options: RunOptions = {}): Promise<T> {
    const end = performance.now() + this.timeoutMs;
    const remainingMs = () => Math.max(0, end - performance.now());
    const { urgent = false, repeatsWhenLocked = true, mostAttempts = Infinity } = options;
    for (let attempt = 1; ; attempt++) {
      try {
        return await work((statement) => this.channel.query(statement, remainingMs(), urgent));
      } catch (error) {
        const delayMs = repeatDelayMs(error, attempt, Math.random());
        const ends = delayMs === undefined || delayMs >= remainingMs() || attempt >= mostAttempts;
        if (ends || (!repeatsWhenLocked && sqlState(error) === LOCK_NOT_AVAILABLE)) {
          throw toHedgeError(this.database, operation, error);
        }
        await sleep(delayMs);
      }
    }
  }

  /** `run` of one statement. */
  query(operation: OperationName, statement: Statement): Promise<readonly Row[]> {
    return this.run(operation, (query) => query(statement));
  }

  close(): Promise<void> {
    return this.channel.close();
  }
}
