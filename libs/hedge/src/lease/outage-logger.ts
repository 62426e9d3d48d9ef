import { messageOf } from '../common/errors.js';

export interface OutageLoggerOptions {
  readonly logger: { log(message: string): void; warn(message: string): void };
  /** `The lease cannot be read or written, retrying`; the reason follows. */
  readonly begun: string;
  /** `The lease can be read and written again` */
  readonly over: string;
  /** Hears of each failure, also of those that are not logged. */
  readonly failed?: (message: string) => void;
}

/**
 * Logs that something fails when it begins to and when it is over, and not its repetitions. What can fail while the
 * rest goes on, as writes do on a full disk, is of another kind: the success of one kind says nothing of the other.
 */
export class OutageLogger {
  /** The message of each kind that fails now. */
  readonly #outages = new Map<string, string>();
  #closed = false;

  constructor(private readonly options: OutageLoggerOptions) {}

  /** Why it fails now; undefined when it does not. */
  get outage(): string | undefined {
    return this.#outages.values().next().value;
  }

  /**
   * Never rejects: what fails is logged, and undefined.
   * @param kind what it has in common with others that fail for the same reasons: `read`, `written`.
   * @param failed hears of this failure.
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
      this.options.failed?.(message);
      failed(message);
      this.#failed(kind, message);
      return undefined;
    }
  }

  /** This kind of thing was seen to work, here or elsewhere. */
  recovered(kind: string): void {
    const { logger, over } = this.options;
    if (this.#outages.delete(kind) && this.#outages.size === 0 && !this.#closed) logger.log(over);
  }

  /** From here on a failure is no news: what is called may be closed. */
  close(): void {
    this.#closed = true;
  }

  #failed(kind: string, message: string): void {
    const { logger, begun } = this.options;
    const known = this.#outages.size > 0;
    this.#outages.set(kind, message);
    if (!known && !this.#closed) logger.warn(`${begun}: ${message}`);
  }
}
