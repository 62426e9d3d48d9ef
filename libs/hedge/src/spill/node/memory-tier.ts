import type { SpillFrame } from '../records/frame.js';
import type { IdleBuffers } from './idle-buffers.js';
import type { LoadedFrame, Refusal, TierUsage } from './storage.js';
import { Budget, Room, wholePages, type Tier } from './tier.js';

/** A buffer that is filled at least to this share is stored as it is: a copy would save too little. */
const WELL_FILLED = 0.75;

class MemoryRoom extends Room {
  constructor(
    bytes: number,
    /** An unused buffer for the frame; undefined when there was none, or the frame is too small for one. */
    readonly spare: Buffer | undefined,
    freeRoom: () => void,
  ) {
    super('memory', bytes, freeRoom);
  }
}

interface StoredFrame {
  readonly frame: SpillFrame;
  /** The reserved bytes. */
  readonly bytes: number;
  /** The whole buffer that contains the frame; undefined when the frame has memory of its own size. */
  readonly buffer: Buffer | undefined;
  /** Leases of readers that have not ended. */
  readers: number;
  /** A reader or a stream may keep the bytes, so the buffer is never reused. */
  detached: boolean;
  removed: boolean;
}

/** Keeps the frames of one part in memory. Their buffers are reused, unless a reader may still use them. */
export class MemoryTier implements Tier {
  readonly #frames = new Map<number, StoredFrame>();
  readonly #store: Budget;
  #records = 0;

  constructor(
    limit: number,
    private readonly node: Budget,
    /** The unused buffers of this pod. */
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
    this.idle.shrinkToRoom();
    return new MemoryRoom(bytes, spare, () => {
      this.#give(bytes);
      if (spare !== undefined) this.idle.release(spare);
    });
  }

  async put(frame: SpillFrame, room: Room): Promise<void> {
    room.markUsed();
    const { bytes, spare } = room as MemoryRoom;
    this.#frames.set(frame.header.sequence, {
      ...this.#keep(frame, bytes, spare),
      bytes,
      readers: 0,
      detached: false,
      removed: false,
    });
    this.#records += frame.header.records;
  }

  has(sequence: number): boolean {
    return this.#frames.has(sequence);
  }

  async read(sequence: number): Promise<LoadedFrame> {
    const stored = this.#frames.get(sequence) as StoredFrame;
    stored.readers += 1;
    let open = true;
    const end = (detach: boolean): void => {
      if (!open) return;
      open = false;
      stored.readers -= 1;
      stored.detached ||= detach;
      if (stored.removed) this.#free(stored);
    };
    return { ...stored.frame, lease: { release: () => end(false), detach: () => end(true) } };
  }

  detach(sequence: number): void {
    const stored = this.#frames.get(sequence);
    if (stored !== undefined) stored.detached = true;
  }

  remove(sequence: number): void {
    const stored = this.#frames.get(sequence);
    if (stored === undefined) return;
    this.#frames.delete(sequence);
    this.#records -= stored.frame.header.records;
    stored.removed = true;
    this.#free(stored);
  }

  get free(): number {
    return this.#store.free;
  }

  usage(): TierUsage {
    return { frames: this.#frames.size, records: this.#records, bytes: this.#store.used };
  }

  /** Frees all frames. Open reservations are freed by their users, because they may contain a buffer. */
  async drop(): Promise<void> {
    for (const sequence of this.#frames.keys()) this.remove(sequence);
  }

  /** The bytes that a frame of that size uses. */
  #footprint(frameBytes: number): number {
    const { bufferBytes } = this.idle;
    return frameBytes <= bufferBytes && frameBytes >= bufferBytes * WELL_FILLED ? bufferBytes : wholePages(frameBytes);
  }

  #keep({ header, bytes }: SpillFrame, room: number, spare?: Buffer): Pick<StoredFrame, 'frame' | 'buffer'> {
    const { bufferBytes } = this.idle;
    if (room !== bufferBytes) {
      const fits = bytes.buffer.byteLength <= room;
      return { frame: { header, bytes: fits ? bytes : copyOf(bytes) }, buffer: undefined };
    }
    if (bytes.buffer.byteLength === bufferBytes) {
      // The frame was built in a buffer of this pod, and stays in it.
      if (spare !== undefined) this.idle.release(spare);
      return { frame: { header, bytes }, buffer: Buffer.from(bytes.buffer) };
    }
    const buffer = spare ?? Buffer.allocUnsafeSlow(bufferBytes);
    buffer.set(bytes);
    return { frame: { header, bytes: buffer.subarray(0, bytes.length) }, buffer };
  }

  /** Does nothing while a reader has a lease: its end calls this again. */
  #free({ bytes, buffer, readers, detached }: StoredFrame): void {
    if (readers > 0) return;
    this.#give(bytes);
    if (buffer !== undefined && !detached) this.idle.release(buffer);
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
