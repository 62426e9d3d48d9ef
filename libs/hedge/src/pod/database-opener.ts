import type { Backend } from '../database/backend.js';
import { backoffMs } from '../common/backoff.js';
import type { Clock } from '../common/clock.js';
import { HedgeError } from '../common/errors.js';
import type { Logger } from '../common/line-logger.js';

export interface DatabaseOpenerOptions {
  readonly clock: Clock;
  /** The pause before the next attempt, in milliseconds. It grows with jitter up to four times this value. */
  readonly retryMs: number;
  readonly logger: Pick<Logger, 'log' | 'warn'>;
}

/** Opens the backend at the start or, if it does not answer, as soon as it does. */
export class DatabaseOpener {
  #stopped = false;
  #cancel: () => void = () => undefined;
  #lastProblem = '';

  constructor(
    private readonly backend: Backend,
    private readonly options: DatabaseOpenerOptions,
  ) {}

  /**
   * @returns false when the backend does not answer. Then call `openLater`, which retries.
   * @throws HedgeError INVALID_OPTIONS when the backend answers but is unusable.
   */
  async open(): Promise<boolean> {
    try {
      await this.backend.open();
      return true;
    } catch (error) {
      if (!(error instanceof HedgeError) || error.code !== 'BACKEND_UNAVAILABLE') throw error;
      this.#warn('The backend does not answer, trying again', error.message);
      return false;
    }
  }

  /** Retries in the background until the backend is open, after any error. Then calls `opened`. */
  openLater(opened: () => void, attempt = 1): void {
    const { clock, retryMs } = this.options;
    const pauseMs = backoffMs(attempt, retryMs, 4 * retryMs, Math.random());
    this.#cancel = clock.after(pauseMs, () => void this.#tryAgain(opened, attempt));
  }

  /** Stops the retries. Idempotent. */
  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  async #tryAgain(opened: () => void, attempt: number): Promise<void> {
    const open = await this.open().catch((error: unknown) => {
      this.#warn('The backend cannot be used, trying again', String(error));
      return false;
    });
    if (this.#stopped) return;
    if (!open) return this.openLater(opened, attempt + 1);
    this.options.logger.log(`The backend ${this.backend.name} answers`, { event: 'database.recovered' });
    opened();
  }

  /** Logs a problem only if it differs from the last one. */
  #warn(what: string, error: string): void {
    const problem = `${what}: ${error}`;
    if (problem !== this.#lastProblem) this.options.logger.warn(problem, { event: 'database.failed', error });
    this.#lastProblem = problem;
  }
}
