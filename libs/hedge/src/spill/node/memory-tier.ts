import type { SpillFrame } from '../records/frame.js';
import { Budget } from './budget.js';
import type { IdleBuffers } from './idle-buffers.js';
import type { LoadedFrame, Refusal, TierUsage } from './storage.js';
import { Room, wholePages, type Tier } from './tier.js';

/** A buffer that is filled to this part is kept as it is: a copy would save less than it costs. */
const WELL_FILLED = 0.75;

class MemoryRoom extends Room {
  constructor(
    bytes: number,
    /** A buffer to keep the frame in; undefined when there was none, or the frame is too small for one. */
    readonly spare: Buffer | undefined,
    giveBack: () => void,
  ) {
    super('memory', bytes, giveBack);
  }
}

interface Kept {
  readonly frame: SpillFrame;
  /** As accounted. */
  readonly bytes: number;
  /** The whole buffer that it lies in; undefined when it has just the memory that it needs. */
  readonly buffer: Buffer | undefined;
  /** Reads that have not ended. */
  readers: number;
  /** Somebody may look at the bytes for good. */
  shared: boolean;
  removed: boolean;
}

/** Frames in the memory of this process. Where they lay is used again, unless somebody may still look at it. */
export class MemoryTier implements Tier {
  readonly #frames = new Map<number, Kept>();
  readonly #store: Budget;
  #records = 0;

  constructor(
    limit: number,
    private readonly node: Budget,
    /** What frames are built in. */
    private readonly idle: IdleBuffers,
  ) {
    this.#store = new Budget(limit);
  }

  reserve(frameBytes: number): Room | Refusal['by'] {
    const bytes = this.#footprint(frameBytes);
    if (!this.#store.reserve(bytes)) return 'store-limit';
    if (!this.node.reserve(bytes)) {
      this.#store.release(bytes);
      return 'node-budget';
    }
    const spare = bytes === this.idle.bufferBytes ? this.idle.take() : undefined;
    this.idle.fit();
    return new MemoryRoom(bytes, spare, () => {
      this.#give(bytes);
      if (spare !== undefined) this.idle.release(spare);
    });
  }

  async put(frame: SpillFrame, room: Room): Promise<void> {
    room.use();
    const { bytes, spare } = room as MemoryRoom;
    this.#frames.set(frame.header.sequence, {
      ...this.#keep(frame, bytes, spare),
      bytes,
      readers: 0,
      shared: false,
      removed: false,
    });
    this.#records += frame.header.records;
  }

  has(sequence: number): boolean {
    return this.#frames.has(sequence);
  }

  async read(sequence: number): Promise<LoadedFrame> {
    const kept = this.#frames.get(sequence) as Kept;
    kept.readers += 1;
    let open = true;
    const end = (shared: boolean): void => {
      if (!open) return;
      open = false;
      kept.readers -= 1;
      kept.shared ||= shared;
      if (kept.removed) this.#free(kept);
    };
    return { ...kept.frame, lease: { release: () => end(false), detach: () => end(true) } };
  }

  detach(sequence: number): void {
    const kept = this.#frames.get(sequence);
    if (kept !== undefined) kept.shared = true;
  }

  remove(sequence: number): void {
    const kept = this.#frames.get(sequence);
    if (kept === undefined) return;
    this.#frames.delete(sequence);
    this.#records -= kept.frame.header.records;
    kept.removed = true;
    this.#free(kept);
  }

  get free(): number {
    return this.#store.free;
  }

  usage(): TierUsage {
    return { frames: this.#frames.size, records: this.#records, bytes: this.#store.used };
  }

  /** Room that is set aside is given back by whoever has it: there may be a buffer in it. */
  async drop(): Promise<void> {
    for (const sequence of this.#frames.keys()) this.remove(sequence);
  }

  /** What a frame of that size will take. */
  #footprint(frameBytes: number): number {
    const { bufferBytes } = this.idle;
    return frameBytes <= bufferBytes && frameBytes >= bufferBytes * WELL_FILLED ? bufferBytes : wholePages(frameBytes);
  }

  #keep({ header, bytes }: SpillFrame, room: number, spare?: Buffer): Pick<Kept, 'frame' | 'buffer'> {
    const { bufferBytes } = this.idle;
    if (room !== bufferBytes) {
      const fits = bytes.buffer.byteLength <= room;
      return { frame: { header, bytes: fits ? bytes : copyOf(bytes) }, buffer: undefined };
    }
    if (bytes.buffer.byteLength === bufferBytes) {
      // It was built in such a buffer, and stays in it.
      if (spare !== undefined) this.idle.release(spare);
      return { frame: { header, bytes }, buffer: Buffer.from(bytes.buffer) };
    }
    const buffer = spare ?? Buffer.allocUnsafeSlow(bufferBytes);
    buffer.set(bytes);
    return { frame: { header, bytes: buffer.subarray(0, bytes.length) }, buffer };
  }

  /** When nobody reads it any more. */
  #free({ bytes, buffer, readers, shared }: Kept): void {
    if (readers > 0) return;
    this.#give(bytes);
    if (buffer !== undefined && !shared) this.idle.release(buffer);
  }

  #give(bytes: number): void {
    this.#store.release(bytes);
    this.node.release(bytes);
  }
}

function copyOf(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}
