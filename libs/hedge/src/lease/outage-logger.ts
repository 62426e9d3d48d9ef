import { messageOf } from '../common/errors.js';
import type { Logger } from '../common/line-logger.js';

export interface OutageLoggerOptions {
  readonly logger: Pick<Logger, 'log' | 'warn'>;
  /** `The lease cannot be read or written, retrying`; the reason follows. */
  readonly begun: string;
  /** `The lease can be read and written again` */
  readonly over: string;
  /** What fails. It names the events. */
  readonly what: 'database' | 'campaign';
  /** Called for each failure, also for those that are not logged. */
  readonly failed?: (message: string) => void;
}

/**
 * Logs the beginning and the end of an outage, and no repetitions. Each kind of call has outages of its own, because one
 * kind can fail while another works: on a full disk writes fail and reads succeed.
 */
export class OutageLogger {
  /** The error message of each kind that fails now. */
  readonly #outages = new Map<string, string>();
  #closed = false;

  constructor(private readonly options: OutageLoggerOptions) {}

  /** The error message of the current outage; undefined when there is none. */
  get outage(): string | undefined {
    return this.#outages.values().next().value;
  }

  /**
   * Runs a call and logs its failure. Never rejects: the result of a failed call is undefined.
   * @param kind calls of one kind fail for the same reasons: `read`, `written`.
   * @param failed called when this call fails.
   */
  async watch<Result>(
    run: () => Promise<Result>,
    kind = '',
    failed: (message: string) => void = () => undefined,
  ): Promise<Result | undefined> {
    try {
      const result = await run();
      this.recovered(kind);
      return result;
    } catch (error) {
      const message = messageOf(error);
      failed(message);
      this.failed(kind, message);
      return undefined;
    }
  }

  /** A call of this kind succeeded, in this process or in another one. */
  recovered(kind: string): void {
    const { logger, over, what } = this.options;
    if (this.#outages.delete(kind) && this.#outages.size === 0 && !this.#closed) {
      logger.log(over, { event: `${what}.recovered` });
    }
  }

  /** Logs nothing from now on: calls may fail because their target is closed. */
  close(): void {
    this.#closed = true;
  }

  /** A call of this kind failed, outside of `watch`. */
  failed(kind: string, message: string): void {
    const { logger, begun, failed, what } = this.options;
    failed?.(message);
    const known = this.#outages.size > 0;
    this.#outages.set(kind, message);
    if (!known && !this.#closed) logger.warn(`${begun}: ${message}`, { event: `${what}.failed`, error: message });
  }
}
