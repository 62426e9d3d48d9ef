import { HedgeError, messageOf } from '../../common/errors.js';
import { readFrame, recordRange, stampChecksum, type FrameHeader, type SpillFrame } from '../records/frame.js';
import { Budget } from './budget.js';
import { readAll, writeAll, type DataDisk, type DataFile } from './data-file.js';
import type { DiskSpace } from './disk-space.js';
import { Extents, type Extent } from './extents.js';
import type { FrameBuffer, FrameBuffers, LoadedFrame, PartId, Refusal, TierUsage } from './storage.js';
import { Room, wholePages, type Tier } from './tier.js';

/** What the disk tiers of a pod have in common. */
export interface NodeDisk {
  readonly budget: Budget;
  readonly files: DataDisk;
  readonly space: DiskSpace;
  /** What frames are read into. */
  readonly buffers: FrameBuffers;
}

interface Kept {
  readonly header: FrameHeader;
  readonly extent: Extent;
  /** Of the frame itself. */
  readonly length: number;
}

class ExtentRoom extends Room {
  constructor(
    readonly extent: Extent,
    /** By how much the file may grow for it. */
    readonly growth: number,
    giveBack: () => void,
  ) {
    super('disk', extent.length, giveBack);
  }
}

/** Frames in one file of this process, one behind the other. */
export class DiskTier implements Tier {
  readonly #frames = new Map<number, Kept>();
  readonly #extents = new Extents();
  readonly #store: Budget;
  readonly #writes = new Set<Promise<void>>();
  #file: Promise<DataFile> | undefined;
  #records = 0;
  /** How long the file may have become. */
  #writtenTo = 0;
  #dropped = false;

  constructor(
    private readonly part: PartId,
    limit: number,
    private readonly disk: NodeDisk,
  ) {
    this.#store = new Budget(limit);
  }

  reserve(frameBytes: number): Room | Refusal['by'] {
    const length = wholePages(frameBytes);
    const growth = this.#extents.growth(length);
    const { budget, space } = this.disk;
    if (space.failing) return 'disk-failure';
    if (!this.#store.reserve(growth)) return 'store-limit';
    const [inBudget, aboveFloor] = [growth <= budget.free, growth <= space.free];
    if (!inBudget || !aboveFloor) {
      this.#store.release(growth);
      return inBudget ? 'free-disk-floor' : 'node-budget';
    }
    budget.reserve(growth);
    space.promise(growth);
    const extent = this.#extents.take(length);
    return new ExtentRoom(extent, growth, () => this.#release(extent, growth));
  }

  async put(frame: SpillFrame, room: Room): Promise<void> {
    const writing = this.#write(frame, room as ExtentRoom);
    this.#writes.add(writing);
    try {
      await writing;
    } finally {
      this.#writes.delete(writing);
    }
  }

  has(sequence: number): boolean {
    return this.#frames.has(sequence);
  }

  async read(sequence: number, signal?: AbortSignal): Promise<LoadedFrame> {
    const kept = this.#frames.get(sequence) as Kept;
    const buffer = await this.#buffer(kept.length, signal);
    try {
      return { ...(await this.#load(kept, buffer.bytes.subarray(0, kept.length))), lease: buffer };
    } catch (error) {
      buffer.release();
      throw error;
    }
  }

  /** Nobody looks at what is in a file. */
  detach(): void {}

  remove(sequence: number): void {
    const kept = this.#frames.get(sequence);
    if (kept === undefined) return;
    this.#frames.delete(sequence);
    this.#records -= kept.header.records;
    this.#extents.free(kept.extent);
  }

  get free(): number {
    return this.#store.free;
  }

  usage(): TierUsage {
    return { frames: this.#frames.size, records: this.#records, bytes: this.#store.used };
  }

  async drop(): Promise<void> {
    this.#frames.clear();
    this.#records = 0;
    await Promise.allSettled(this.#writes);
    const file = await this.#file?.catch(() => undefined);
    try {
      await file?.close();
    } finally {
      // A file is closed whatever the system says of it.
      this.#dropped = true;
      this.disk.budget.release(this.#store.used);
      this.#store.release(this.#store.used);
    }
  }

  #release(extent: Extent, growth: number): void {
    this.disk.space.settle(growth, false);
    this.#extents.free(extent);
    // The disk has nothing yet of what was never written.
    const unused = this.#extents.trim(this.#writtenTo);
    if (this.#dropped) return;
    this.#store.release(unused);
    this.disk.budget.release(unused);
  }

  async #write(frame: SpillFrame, room: ExtentRoom): Promise<void> {
    const { header, bytes } = frame;
    const { space } = this.disk;
    if (!(await space.allows())) {
      room.release();
      throw this.#full('the disk has just failed, or is as full as `spill.minFreeDisk` allows');
    }
    room.use();
    this.#writtenTo = Math.max(this.#writtenTo, room.extent.offset + room.extent.length);
    try {
      stampChecksum(frame);
      await writeAll(await this.#open(), bytes, room.extent.offset);
    } catch (cause) {
      space.failed();
      this.#extents.free(room.extent);
      throw this.#full(`it failed: ${messageOf(cause)}`, cause);
    } finally {
      space.settle(room.growth, true);
    }
    this.#frames.set(header.sequence, { header, extent: room.extent, length: bytes.length });
    this.#records += header.records;
  }

  /** Opened when it is first needed; tried again after it failed. */
  #open(): Promise<DataFile> {
    this.#file ??= this.disk.files.create().catch((error: unknown) => {
      this.#file = undefined;
      throw error;
    });
    return this.#file;
  }

  async #buffer(length: number, signal?: AbortSignal): Promise<FrameBuffer> {
    const { buffers } = this.disk;
    if (length <= buffers.frameBytes) return buffers.take(signal);
    const lease = await buffers.claim(length, signal);
    return { ...lease, bytes: Buffer.allocUnsafeSlow(length) };
  }

  async #load({ header, extent }: Kept, into: Buffer): Promise<SpillFrame> {
    try {
      if (!(await readAll(await this.#open(), into, extent.offset))) throw new Error('the file ends before it');
      const frame = readFrame(into);
      if (frame.header.sequence !== header.sequence) throw new Error('another frame is in its place');
      return frame;
    } catch (cause) {
      const { from, to } = recordRange(header);
      throw new HedgeError(
        'SPILL_CORRUPT',
        `Records ${from} to ${to - 1} of spilled data "${this.part.name}" cannot be read from disk: ${messageOf(cause)}. ` +
          'Other records stay readable; write these again, and look at the disk.',
        { cause, details: { store: this.part.name, from, to } },
      );
    }
  }

  #full(problem: string, cause?: unknown): HedgeError {
    return new HedgeError(
      'SPILL_FULL',
      `A frame of spilled data "${this.part.name}" cannot be kept on the disk of this pod: ${problem}.`,
      { cause, details: { store: this.part.name } },
    );
  }
}
