import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../../../common/clock.js';
import { rowsOf, statementRequest, Transaction, type Operation } from './transaction.js';
import { isSessionLost, retryDelayMs, toHedgeError, type OperationName } from './failures.js';
import { mergeRows } from './merge-rows.js';
import type { ReadBound } from './protocol.js';
import type { SpannerRpc } from './rpc.js';
import { MultiplexedSession } from './session.js';
import type { Row, Statement } from './values.js';

const STRONG: ReadBound = { strong: true };

/** One attempt of an operation, from the first statement to the commit. */
export interface OperationAttempt {
  /** A commit of an earlier attempt may have happened. */
  readonly mayRepeat: boolean;
  /** A single-use read, strong by default. */
  query(statement: Statement, bound?: ReadBound): Promise<Row[]>;
  /** The same for results of any size; `query` allows 10 MiB. */
  stream(statement: Statement, bound?: ReadBound): Promise<Row[]>;
  /** A read-write transaction, rolled back at the end of the attempt unless it was committed. One per attempt. */
  begin(): Transaction;
}

/** Runs operations with a deadline, and retries each as a whole where that helps. */
export class Connection {
  readonly #session: MultiplexedSession;

  constructor(
    private readonly rpc: SpannerRpc,
    private readonly timeoutMs: number,
    private readonly clock: Clock,
  ) {
    this.#session = new MultiplexedSession(rpc, clock);
  }

  /**
   * @param work may run several times; the last run decides.
   * @throws HedgeError of `toHedgeError`; what `work` throws if that is a HedgeError.
   */
  async run<T>(operation: OperationName, work: (attempt: OperationAttempt) => Promise<T>): Promise<T> {
    const call: Operation = { timeoutMs: this.timeoutMs, remainingMs: () => this.timeoutMs, inDoubt: false };
    try {
      // The first load of the client does not count as time of the call.
      this.rpc.load();
      const end = this.clock.now().mono + this.timeoutMs;
      call.remainingMs = () => end - this.clock.now().mono;
      return await this.#inTime(this.#retrying(operation, call, work));
    } catch (error) {
      throw toHedgeError(this.rpc.database, operation, error, call.inDoubt);
    } finally {
      // An attempt that still runs must not commit after the caller was notified of the failure.
      call.remainingMs = () => 0;
    }
  }

  async #retrying<T>(
    operation: OperationName,
    call: Operation,
    work: (attempt: OperationAttempt) => Promise<T>,
  ): Promise<T> {
    let previous: Uint8Array | undefined;
    for (let tries = 1; ; tries++) {
      let session: string | undefined;
      let transaction: Transaction | undefined;
      let delay: number | undefined;
      try {
        session = await this.#session.get(call.remainingMs());
        transaction = new Transaction(this.rpc, session, call, previous);
        return await work(this.#attempt(session, call, transaction));
      } catch (error) {
        previous = transaction?.id ?? previous;
        if (session !== undefined && isSessionLost(error)) {
          await this.#session.drop(session);
          previous = undefined;
        }
        const onlyOnce = operation === 'log.overwrite' && call.inDoubt;
        delay = onlyOnce ? undefined : retryDelayMs(error, tries, Math.random());
        if (delay === undefined || delay >= call.remainingMs()) throw error;
      } finally {
        transaction?.abandon();
      }
      await sleep(delay);
    }
  }

  #attempt(session: string, call: Operation, transaction: Transaction): OperationAttempt {
    const request = (statement: Statement, bound: ReadBound) =>
      statementRequest(session, { singleUse: { readOnly: bound } }, statement);
    return {
      mayRepeat: call.inDoubt,
      query: async (statement, bound = STRONG) =>
        rowsOf(await this.rpc.call('executeSql', request(statement, bound), call.remainingMs())),
      stream: async (statement, bound = STRONG) =>
        mergeRows(await this.rpc.stream(request(statement, bound), call.remainingMs())),
      begin: () => transaction,
    };
  }

  /** Covers waits without a deadline of their own, as of a client that waits for its credentials. */
  #inTime<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const cancel = this.clock.after(this.timeoutMs, () => {
        reject(new Error(`no answer within ${this.timeoutMs} ms`));
      });
      void work.then(resolve, reject).finally(cancel);
    });
  }
}
