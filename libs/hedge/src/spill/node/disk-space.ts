import type { Clock } from '../../common/clock.js';
import type { DataDisk } from './data-file.js';

/** What the file system was last heard to have free is believed this long, in time and in bytes written since. */
const BELIEVED_MS = 500;
const BELIEVED_BYTES = 64 * 1024 * 1024;
/** After an error of the disk nothing is written to it for this long. */
const AFTER_FAILURE_MS = 2_000;

/** How much may still be written above the floor of free disk, by what the system said last. */
export class DiskSpace {
  #heard = 0;
  #heardAt = -Infinity;
  #failedAt = -Infinity;
  /** By which files may grow, and have not yet. */
  #promised = 0;
  #writtenSince = 0;
  #asking: Promise<void> | undefined;

  constructor(
    private readonly disk: DataDisk,
    private readonly floor: number,
    private readonly clock: Clock,
  ) {}

  /** Whether the disk has just failed. */
  get failing(): boolean {
    return this.#now() - this.#failedAt < AFTER_FAILURE_MS;
  }

  /** Bytes that may be promised now; asks the system again, in the background, when its answer is old. */
  get free(): number {
    if (this.#isOld()) void this.refresh();
    return this.failing ? 0 : Math.max(0, this.#left());
  }

  promise(bytes: number): void {
    this.#promised += bytes;
  }

  /** Ends a promise: it was written, wholly or in part, or it is not needed. */
  settle(bytes: number, written: boolean): void {
    this.#promised -= bytes;
    if (written) this.#writtenSince += bytes;
  }

  failed(): void {
    this.#failedAt = this.#now();
  }

  /** Whether what was promised may be written, by an answer of the system that is not old. */
  async allows(): Promise<boolean> {
    if (this.#isOld()) await this.refresh();
    return !this.failing && this.#left() >= 0;
  }

  /** Asks the system. One that does not answer has failed. */
  refresh(): Promise<void> {
    this.#asking ??= this.#ask().finally(() => (this.#asking = undefined));
    return this.#asking;
  }

  async #ask(): Promise<void> {
    // What is written while it answers may be in the answer or not, and goes on being counted.
    const before = this.#writtenSince;
    try {
      this.#heard = await this.disk.free();
      this.#heardAt = this.#now();
      this.#writtenSince -= before;
    } catch {
      this.failed();
    }
  }

  #left(): number {
    return this.#heard - this.floor - this.#promised - this.#writtenSince;
  }

  #isOld(): boolean {
    return this.#now() - this.#heardAt >= BELIEVED_MS || this.#writtenSince >= BELIEVED_BYTES;
  }

  #now(): number {
    return this.clock.now().mono;
  }
}
