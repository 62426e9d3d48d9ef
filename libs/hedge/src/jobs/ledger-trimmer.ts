import type { Clock } from '../common/clock.js';
import { HedgeError, messageOf } from '../common/errors.js';
import type { Fence, LogTable } from '../database/log-table.js';

/** Versions that one call deletes: few, because on SQLite a renewal of the lease may wait for it. */
const MAX_ROWS = 500;
/** The pause between two calls for one key, in milliseconds: so old rows of years do not fill the database with work. */
const PAUSE_MS = 100;

/**
 * The id of a requested run counts at least so long after its claim, because ledgers keep the rows of this time, whatever
 * their number. No call of `runNow` repeats its request for longer.
 */
export const RUN_ID_MS = 3_600_000;

interface TrimmedKey {
  keep: number;
  fence: Fence;
  /** As in `LogTrim`. */
  before: bigint | undefined;
  /** Rows that were written since the last complete trim; Infinity before the first one of this process. */
  written: number;
}

/**
 * Keeps the ledgers of all jobs of a pod short: deletes their oldest rows, in small fenced batches, one call at a time. A
 * key is trimmed after its first row in this process, and again when a tenth of the kept rows was written. So a trim costs
 * one call for many rows. A trim that fails is tried again after the next row of the key.
 */
export class LedgerTrimmer {
  readonly #keys = new Map<string, TrimmedKey>();
  readonly #due = new Set<string>();
  #trimming = false;
  /** A trim has failed, and that was logged. */
  #failing = false;

  constructor(
    private readonly log: Pick<LogTable, 'trim'>,
    private readonly clock: Clock,
    private readonly logger: { warn(message: string): void },
  ) {}

  /**
   * To call after each row of a key.
   * @param keep the number of newest rows that stay; Infinity for all
   * @param before rows with this timestamp in nanoseconds, or a later one, stay, too. Default: rows of any age are deleted.
   */
  written(key: string, keep: number, fence: Fence, before?: bigint): void {
    if (this.log.trim === undefined || keep === Infinity) return;
    const trimmed = this.#keys.get(key) ?? { keep, fence, before, written: Infinity };
    this.#keys.set(key, trimmed);
    trimmed.fence = fence;
    trimmed.before = before;
    // A job that was added anew may have another limit.
    trimmed.keep = keep;
    trimmed.written += 1;
    if (trimmed.written < keep / 10) return;
    this.#due.add(key);
    if (this.#trimming) return;
    this.#trimming = true;
    void this.#trimAll();
  }

  async #trimAll(): Promise<void> {
    for (const key of this.#due) {
      this.#due.delete(key);
      try {
        await this.#trim(key);
        this.#failing = false;
      } catch (error) {
        this.#failed(error);
      }
    }
    this.#trimming = false;
  }

  #failed(error: unknown): void {
    const lost = error instanceof HedgeError && error.code === 'LEASE_LOST';
    if (!lost && !this.#failing) {
      this.logger.warn(`Old rows of the history of jobs stay, until a next attempt: ${messageOf(error)}`);
    }
    this.#failing ||= !lost;
  }

  /** @throws HedgeError of `LogTable.trim`. Nothing depends on it: the next row begins another trim. */
  async #trim(key: string): Promise<void> {
    for (;;) {
      const trimmed = this.#keys.get(key);
      if (trimmed === undefined) return;
      const { keep, fence, before } = trimmed;
      const trim = { key, keep, limit: MAX_ROWS, ...(before !== undefined && { before }) };
      const deleted = (await this.log.trim?.(trim, fence)) ?? 0;
      if (deleted < MAX_ROWS) {
        trimmed.written = 0;
        return;
      }
      await new Promise<void>((resume) => this.clock.after(PAUSE_MS, resume));
    }
  }
}
