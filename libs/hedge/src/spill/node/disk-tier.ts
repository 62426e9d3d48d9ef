import { HedgeError, messageOf } from '../../common/errors.js';
import { readFrame, recordRange, stampChecksum, type FrameHeader, type SpillFrame } from '../records/frame.js';
import { readAll, writeAll, type DataDisk, type DataFile } from './data-file.js';
import type { DiskSpace } from './disk-space.js';
import { Extents, type Extent } from './extents.js';
import type { FrameBuffer, FrameBuffers, LoadedFrame, PartId, Refusal, TierUsage } from './storage.js';
import { Budget, Room, wholePages, type Tier } from './tier.js';

/** The parts that all disk tiers of a pod use. */
export interface NodeDisk {
  readonly budget: Budget;
  readonly files: DataDisk;
  readonly space: DiskSpace;
  /** The buffers into which frames are read. */
  readonly buffers: FrameBuffers;
}

interface StoredFrame {
  readonly header: FrameHeader;
  readonly extent: Extent;
  /** The bytes of the frame, without padding. */
  readonly length: number;
}

class ExtentRoom extends Room {
  constructor(
    readonly extent: Extent,
    /** Bytes by which the file may grow for it. */
    readonly growth: number,
    freeRoom: () => void,
  ) {
    super('disk', extent.length, freeRoom);
  }
}

/** Keeps the frames of one part in one file, one after the other. */
export class DiskTier implements Tier {
  readonly #frames = new Map<number, StoredFrame>();
  readonly #extents = new Extents();
  readonly #store: Budget;
  readonly #writes = new Set<Promise<void>>();
  #file: Promise<DataFile> | undefined;
  #records = 0;
  /** The end of the last write, which the file may have reached. */
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
    space.reserve(growth);
    const extent = this.#extents.allocate(length);
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
    const stored = this.#frames.get(sequence) as StoredFrame;
    const buffer = await this.#buffer(stored.length, signal);
    try {
      return { ...(await this.#load(stored, buffer.bytes.subarray(0, stored.length))), lease: buffer };
    } catch (error) {
      buffer.release();
      throw error;
    }
  }

  /** A file has no readers of its memory. */
  detach(): void {}

  remove(sequence: number): void {
    const stored = this.#frames.get(sequence);
    if (stored === undefined) return;
    this.#frames.delete(sequence);
    this.#records -= stored.header.records;
    this.#extents.free(stored.extent);
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
      // The file is closed, even if close fails.
      this.#dropped = true;
      this.disk.budget.release(this.#store.used);
      this.#store.release(this.#store.used);
    }
  }

  #release(extent: Extent, growth: number): void {
    this.disk.space.settle(growth, false);
    this.#extents.free(extent);
    // Bytes that were never written use no disk.
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
      throw this.#fullError('the disk has just failed, or only `spill.minFreeDisk` is left');
    }
    room.markUsed();
    this.#writtenTo = Math.max(this.#writtenTo, room.extent.offset + room.extent.length);
    try {
      stampChecksum(frame);
      await writeAll(await this.#open(), bytes, room.extent.offset);
    } catch (cause) {
      space.failed();
      this.#extents.free(room.extent);
      throw this.#fullError(`a write failed: ${messageOf(cause)}`, cause);
    } finally {
      space.settle(room.growth, true);
    }
    this.#frames.set(header.sequence, { header, extent: room.extent, length: bytes.length });
    this.#records += header.records;
  }

  /** Opens the file when it is first needed. A failed attempt is repeated by the next call. */
  #open(): Promise<DataFile> {
    this.#file ??= this.disk.files.create().catch((error: unknown) => {
      this.#file = undefined;
      throw error;
    });
    return this.#file;
  }

  async #buffer(length: number, signal?: AbortSignal): Promise<FrameBuffer> {
    const { buffers } = this.disk;
    if (length <= buffers.frameBytes) return buffers.acquire(signal);
    const lease = await buffers.claim(length, signal);
    return { ...lease, bytes: Buffer.allocUnsafeSlow(length) };
  }

  async #load({ header, extent }: StoredFrame, into: Buffer): Promise<SpillFrame> {
    try {
      if (!(await readAll(await this.#open(), into, extent.offset))) throw new Error('the file ends before it');
      const frame = readFrame(into);
      if (frame.header.sequence !== header.sequence) throw new Error('another frame is in its place');
      return frame;
    } catch (cause) {
      const { from, to } = recordRange(header);
      throw new HedgeError(
        'SPILL_CORRUPT',
        `Records ${from} to ${to - 1} of spilled data '${this.part.name}' cannot be read from the disk: ${messageOf(cause)}. ` +
          'Other records can still be read. Write the data again, and check the disk.',
        { cause, details: { store: this.part.name, from, to } },
      );
    }
  }

  #fullError(problem: string, cause?: unknown): HedgeError {
    return new HedgeError(
      'SPILL_FULL',
      `A frame of spilled data '${this.part.name}' cannot be stored on the disk of this pod: ${problem}.`,
      { cause, details: { store: this.part.name } },
    );
  }
}
