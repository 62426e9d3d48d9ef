import { totalmem } from 'node:os';
import type { Clock } from '../../common/clock.js';
import { HedgeError, messageOf } from '../../common/errors.js';
import { MAX_FRAME_BYTES } from '../records/frame.js';
import { BufferPool, frameBytesFor } from './buffer-pool.js';
import { Budget } from './tier.js';
import { NamelessFiles, type DataDisk } from './data-file.js';
import { DiskSpace } from './disk-space.js';
import { DiskTier, type NodeDisk } from './disk-tier.js';
import { IdleBuffers } from './idle-buffers.js';
import { MemoryTier } from './memory-tier.js';
import { Part } from './part.js';
import type { FrameBuffers, NodeStorage, PartId, SpillPart, TierBytes } from './storage.js';

/** The RAM and disk that this pod offers for spilled data, in bytes. */
export interface SpillNodeOptions {
  /** RAM for frames, with frames in flight; at least `MIN_MEMORY`. */
  readonly memory: number;
  /** Disk for frames. With 0 the directory is not used. */
  readonly disk: number;
  /** The directory of the files. Several processes may share it. */
  readonly directory: string;
  /** The floor of free disk: no frame is written that would leave less in the file system. */
  readonly minFreeDisk: number;
  readonly clock: Clock;
  /** Default: files without a name in `directory`. */
  readonly files?: DataDisk;
  /** RAM that this process can use, in bytes. Default: that of the container, or of the machine. */
  readonly ram?: number;
  readonly logger?: { warn(message: string): void };
}

/** The least memory of a pod: a few frames of other pods must fit into its buffers. */
export const MIN_MEMORY = 4 * MAX_FRAME_BYTES;

/** One eighth of the memory, within these bounds, is reserved for frames in flight. */
const MIN_BUFFER_BYTES = 2 * MAX_FRAME_BYTES;
const MAX_BUFFER_BYTES = 32 * MAX_FRAME_BYTES;

/** The RAM and disk that this pod offers for spilled data, within its budgets (P2). */
export class SpillNode implements NodeStorage {
  readonly #parts = new Map<string, Part>();
  /** For frames in flight. */
  readonly #inFlight: Budget;
  /** For stored frames. */
  readonly #memory: Budget;
  readonly #idle: IdleBuffers;
  readonly #buffers: BufferPool;
  readonly #disk: NodeDisk;

  /** Call `open` instead. */
  private constructor(options: SpillNodeOptions, files: DataDisk) {
    const { memory, disk, minFreeDisk, clock } = options;
    this.#inFlight = new Budget(Math.min(MAX_BUFFER_BYTES, Math.max(MIN_BUFFER_BYTES, Math.floor(memory / 8))));
    this.#memory = new Budget(memory - this.#inFlight.limit);
    const room = (): number => this.#inFlight.free + this.#memory.free;
    this.#idle = new IdleBuffers(frameBytesFor(this.#inFlight.limit), room, clock);
    this.#buffers = new BufferPool(this.#inFlight, this.#idle);
    const space = new DiskSpace(files, minFreeDisk, clock);
    this.#disk = { budget: new Budget(disk), files, space, buffers: this.#buffers };
  }

  /**
   * Opens the directory, and removes the files that killed processes have left there. Logs a WARN when the machine has
   * less RAM or disk than the pod offers.
   * @throws HedgeError INVALID_OPTIONS when there is too little memory, or the directory cannot be written
   */
  static async open(options: SpillNodeOptions): Promise<SpillNode> {
    const { memory, disk, directory, files = new NamelessFiles(directory), ram = usableRam(), logger } = options;
    if (memory < MIN_MEMORY) {
      throw new HedgeError(
        'INVALID_OPTIONS',
        `\`spill.memory\` is ${memory} bytes, which is too little. Set it to at least ${MIN_MEMORY}.`,
      );
    }
    if (memory > ram) {
      logger?.warn(
        `\`spill.memory\` is ${inMB(memory)}, but this machine or container has ${inMB(ram)} of RAM, so the pod can run out of memory. Set it well below the RAM`,
      );
    }
    const node = new SpillNode(options, files);
    if (disk === 0) return node;
    try {
      await files.prepare();
    } catch (cause) {
      throw new HedgeError(
        'INVALID_OPTIONS',
        `\`spill.directory\` ${directory} cannot be used: ${messageOf(cause)}. ` +
          'Set it to a directory that this pod can write, such as the mount of an emptyDir, or set `spill.disk` to 0.',
        { cause },
      );
    }
    const { space } = node.#disk;
    await space.refresh();
    if (!space.failing && disk > space.free) {
      logger?.warn(
        `\`spill.disk\` is ${inMB(disk)}, but the volume of \`spill.directory\` ${directory} has ${inMB(space.free)} free above \`spill.minFreeDisk\`, and the pod writes no more than that. Lower \`spill.disk\`, or use a larger volume`,
      );
    }
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

  parts(): Iterable<SpillPart> {
    return this.#parts.values();
  }

  free(): TierBytes {
    const { budget, space } = this.#disk;
    return { memory: this.#memory.free, disk: budget.limit === 0 ? 0 : Math.min(budget.free, space.free) };
  }

  used(): TierBytes {
    return { memory: this.#memory.used + this.#inFlight.used, disk: this.#disk.budget.used };
  }

  get idleBytes(): number {
    return this.#idle.bytes;
  }

  async drop(id: PartId): Promise<void> {
    const key = keyOf(id);
    const part = this.#parts.get(key);
    // A new part with this id does not wait until the file of the old one is closed.
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

/** The limit of the container, if there is one. */
function usableRam(): number {
  // 0 or undefined when it is not known, and a huge number when there is no limit.
  return Math.min(totalmem(), process.constrainedMemory() || Infinity);
}

function inMB(bytes: number): string {
  return `${Math.floor(bytes / 2 ** 20)} MB`;
}

function keyOf({ store, epoch }: PartId): string {
  return `${store}/${epoch}`;
}
