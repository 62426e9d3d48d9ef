import type { Clock } from '../../common/clock.js';
import { HedgeError, messageOf } from '../../common/errors.js';
import { MAX_FRAME_BYTES } from '../records/frame.js';
import { BufferPool, frameBytesFor } from './buffer-pool.js';
import { Budget } from './budget.js';
import { NamelessFiles, type DataDisk } from './data-file.js';
import { DiskSpace } from './disk-space.js';
import { DiskTier, type NodeDisk } from './disk-tier.js';
import { IdleBuffers } from './idle-buffers.js';
import { MemoryTier } from './memory-tier.js';
import { Part } from './part.js';
import type { FrameBuffers, NodeStorage, PartId, SpillPart, TierBytes } from './storage.js';

/** What this pod lends to spill stores, in bytes. */
export interface SpillNodeOptions {
  /** RAM for frames, those on their way included; at least `MIN_MEMORY`. */
  readonly memory: number;
  /** Disk for frames; 0 lends none, and then the directory is not touched. */
  readonly disk: number;
  /** Where the files are made. Several processes may share it. */
  readonly directory: string;
  /** No frame is written to disk that would leave the file system with less. */
  readonly minFreeDisk: number;
  readonly clock: Clock;
  /** Default: files without a name in `directory`. */
  readonly files?: DataDisk;
}

/** The least memory that a pod can lend: some frames of other pods must be able to arrive. */
export const MIN_MEMORY = 4 * MAX_FRAME_BYTES;

/** For frames on their way: an eighth of the memory within these bounds. */
const BUFFERS_AT_LEAST = 2 * MAX_FRAME_BYTES;
const BUFFERS_AT_MOST = 32 * MAX_FRAME_BYTES;

/** The RAM and disk that this pod lends to spill stores, within its budgets (P2). */
export class SpillNode implements NodeStorage {
  readonly #parts = new Map<string, Part>();
  /** For frames on their way. */
  readonly #passing: Budget;
  /** For frames that stay. */
  readonly #memory: Budget;
  readonly #idle: IdleBuffers;
  readonly #buffers: BufferPool;
  readonly #disk: NodeDisk;

  /** To be opened with `open`. */
  private constructor(options: SpillNodeOptions, files: DataDisk) {
    const { memory, disk, minFreeDisk, clock } = options;
    this.#passing = new Budget(Math.min(BUFFERS_AT_MOST, Math.max(BUFFERS_AT_LEAST, Math.floor(memory / 8))));
    this.#memory = new Budget(memory - this.#passing.limit);
    const left = (): number => this.#passing.free + this.#memory.free;
    this.#idle = new IdleBuffers(frameBytesFor(this.#passing.limit), left, clock);
    this.#buffers = new BufferPool(this.#passing, this.#idle);
    const space = new DiskSpace(files, minFreeDisk, clock);
    this.#disk = { budget: new Budget(disk), files, space, buffers: this.#buffers };
  }

  /**
   * Opens the directory, and frees what killed processes have left there.
   * @throws HedgeError INVALID_OPTIONS when the memory is too little, or the directory cannot be written
   */
  static async open(options: SpillNodeOptions): Promise<SpillNode> {
    const { memory, disk, directory, files = new NamelessFiles(directory) } = options;
    if (memory < MIN_MEMORY) {
      throw new HedgeError('INVALID_OPTIONS', `\`spill.memory\` is ${memory} bytes; give it at least ${MIN_MEMORY}.`);
    }
    const node = new SpillNode(options, files);
    if (disk === 0) return node;
    try {
      await files.prepare();
    } catch (cause) {
      throw new HedgeError(
        'INVALID_OPTIONS',
        `\`spill.directory\` ${directory} cannot be used: ${messageOf(cause)}. ` +
          'Name a directory that this pod may write, such as the mount of an emptyDir, or set `spill.disk` to 0.',
        { cause },
      );
    }
    await node.#disk.space.refresh();
    return node;
  }

  get buffers(): FrameBuffers {
    return this.#buffers;
  }

  part(id: PartId, limits: TierBytes): SpillPart {
    const key = keyOf(id);
    const known = this.#parts.get(key);
    if (known !== undefined) return known;
    const part = new Part(
      id,
      {
        memory: new MemoryTier(limits.memory, this.#memory, this.#idle),
        disk: new DiskTier(id, limits.disk, this.#disk),
      },
      () => this.free(),
    );
    this.#parts.set(key, part);
    return part;
  }

  free(): TierBytes {
    const { budget, space } = this.#disk;
    return { memory: this.#memory.free, disk: budget.limit === 0 ? 0 : Math.min(budget.free, space.free) };
  }

  used(): TierBytes {
    return { memory: this.#memory.used + this.#passing.used, disk: this.#disk.budget.used };
  }

  get idleBytes(): number {
    return this.#idle.bytes;
  }

  async drop(id: PartId): Promise<void> {
    const key = keyOf(id);
    const part = this.#parts.get(key);
    // A new part of that name may be made at once; it does not wait for the old one's file.
    this.#parts.delete(key);
    await part?.drop();
  }

  async close(): Promise<void> {
    const parts = [...this.#parts.values()];
    this.#parts.clear();
    await Promise.all(parts.map((part) => part.drop()));
    this.#idle.close();
  }
}

function keyOf({ store, epoch }: PartId): string {
  return `${store}/${epoch}`;
}
