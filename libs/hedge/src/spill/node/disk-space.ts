import type { Clock } from '../../common/clock.js';
import type { DataDisk } from './data-file.js';

/** The last `statfs` result is used for this time, and for this many bytes written since. */
const MAX_AGE_MS = 500;
const MAX_WRITTEN_BYTES = 64 * 1024 * 1024;
/** After an error of the disk nothing is written to it for this time. */
const PAUSE_AFTER_FAILURE_MS = 2_000;

/** The bytes that may still be written above the floor of free disk, by the last `statfs`. */
export class DiskSpace {
  #freeBytes = 0;
  #refreshedAt = -Infinity;
  #failedAt = -Infinity;
  /** Bytes by which files may grow, but have not grown yet. */
  #reserved = 0;
  #writtenSince = 0;
  #refreshing: Promise<void> | undefined;

  constructor(
    private readonly disk: DataDisk,
    private readonly floor: number,
    private readonly clock: Clock,
  ) {}

  /** Whether the disk failed a moment ago. */
  get failing(): boolean {
    return this.#now() - this.#failedAt < PAUSE_AFTER_FAILURE_MS;
  }

  /** Bytes that can be reserved now. Refreshes a stale result in the background. */
  get free(): number {
    if (this.#isStale()) void this.refresh();
    return this.failing ? 0 : Math.max(0, this.#left());
  }

  reserve(bytes: number): void {
    this.#reserved += bytes;
  }

  /** Ends a reservation. @param written whether any of its bytes were written */
  settle(bytes: number, written: boolean): void {
    this.#reserved -= bytes;
    if (written) this.#writtenSince += bytes;
  }

  failed(): void {
    this.#failedAt = this.#now();
  }

  /** Whether the reserved bytes may be written, by a result that is not stale. */
  async allows(): Promise<boolean> {
    if (this.#isStale()) await this.refresh();
    return !this.failing && this.#left() >= 0;
  }

  /** Calls `statfs`. An error counts as a failure of the disk. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#queryDisk().finally(() => (this.#refreshing = undefined));
    return this.#refreshing;
  }

  async #queryDisk(): Promise<void> {
    // The result may or may not include bytes that are written meanwhile, so these stay counted.
    const before = this.#writtenSince;
    try {
      this.#freeBytes = await this.disk.free();
      this.#refreshedAt = this.#now();
      this.#writtenSince -= before;
    } catch {
      this.failed();
    }
  }

  #left(): number {
    return this.#freeBytes - this.floor - this.#reserved - this.#writtenSince;
  }

  #isStale(): boolean {
    return this.#now() - this.#refreshedAt >= MAX_AGE_MS || this.#writtenSince >= MAX_WRITTEN_BYTES;
  }

  #now(): number {
    return this.clock.now().mono;
  }
}
