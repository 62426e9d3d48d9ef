import type { Clock } from '../common/clock.js';
import { onAbort } from '../common/async/on-abort.js';
import { HedgeError } from '../common/errors.js';
import type { LogEntry, LogTable } from '../database/log-table.js';
import { GetBatcher, type GetEffect, type GetInput, type GetLimits } from './get-batcher.core.js';

/**
 * Keys in one statement: more gain little, and delay the first. Two calls at once, so that a get does not wait for a
 * slow call; more would leave no connection for puts.
 */
const SHARED: GetLimits = { maxKeys: 64, maxCalls: 2 };

/** For a driver without `latestOf`: each get is a call of its own, at once. */
const ALONE: GetLimits = { maxKeys: 1, maxCalls: Infinity };

interface PendingGet {
  resolve(entry: LogEntry | undefined): void;
  reject(error: unknown): void;
}

export interface KvReaderOptions {
  readonly log: LogTable;
  readonly clock: Clock;
}

/** Runs `GetBatcher` on every pod. */
export class KvReader {
  readonly #core: GetBatcher<LogEntry>;
  readonly #gets = new Map<number, PendingGet>();
  #tickets = 0;

  constructor(private readonly options: KvReaderOptions) {
    this.#core = new GetBatcher(options.log.latestOf === undefined ? ALONE : SHARED);
  }

  /**
   * The newest version of a key in the log table.
   * @param name of the call, for errors: `get "orders/17"`.
   * @throws HedgeError DEADLINE_EXCEEDED, CANCELLED; the error of the driver.
   */
  get(key: string, name: string, timeoutMs: number, signal?: AbortSignal): Promise<LogEntry | undefined> {
    if (signal?.aborted === true) return Promise.reject(cancelled(name, signal));
    return new Promise((resolve, reject) => {
      const ticket = (this.#tickets += 1);
      const settled = (): void => {
        stopTimer();
        stopListening?.();
        this.#gets.delete(ticket);
      };
      const giveUp = (error: HedgeError): void => {
        settled();
        this.#step({ type: 'cancel', ticket });
        reject(error);
      };
      const stopTimer = this.options.clock.after(timeoutMs, () => giveUp(late(name, timeoutMs)), true);
      const stopListening = signal && onAbort(signal, () => giveUp(cancelled(name, signal)));
      this.#gets.set(ticket, {
        resolve: (entry) => (settled(), resolve(entry)),
        reject: (error) => (settled(), reject(error)),
      });
      this.#step({ type: 'get', ticket, key });
    });
  }

  #step(input: GetInput<LogEntry>): void {
    for (const effect of this.#core.step(input)) this.#perform(effect);
  }

  #perform(effect: GetEffect<LogEntry>): void {
    switch (effect.type) {
      case 'read':
        void this.#read(effect.call, effect.keys);
        return;
      case 'settle': {
        const get = this.#gets.get(effect.ticket);
        if ('error' in effect.outcome) get?.reject(effect.outcome.error);
        else get?.resolve(effect.outcome.entry);
        return;
      }
      case 'flush-later': {
        const flush = (): void => this.#step({ type: 'flush' });
        if (this.options.log.latestOf === undefined) flush();
        else setImmediate(flush);
      }
    }
  }

  async #read(call: number, keys: readonly string[]): Promise<void> {
    const { log } = this.options;
    const [first = ''] = keys;
    let input: GetInput<LogEntry>;
    try {
      const found =
        keys.length > 1 && log.latestOf !== undefined
          ? await log.latestOf(keys)
          : new Map([[first, await log.latest(first)]]);
      input = { type: 'answered', call, found };
    } catch (error) {
      input = { type: 'failed', call, error };
    }
    this.#step(input);
  }
}

function late(name: string, timeoutMs: number): HedgeError {
  return new HedgeError(
    'DEADLINE_EXCEEDED',
    `${name} had no answer from the database within ${timeoutMs} ms. Try again, or raise timeoutMs.`,
    { retryable: true },
  );
}

function cancelled(name: string, signal: AbortSignal): HedgeError {
  return new HedgeError('CANCELLED', `${name} was cancelled by its signal before the database answered.`, {
    cause: signal.reason,
  });
}
