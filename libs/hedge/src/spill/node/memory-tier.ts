import type { SpillFrame } from '../records/frame.js';
import { Budget } from './budget.js';
import type { LoadedFrame, Loan, Refusal, TierUsage } from './storage.js';
import { Room, wholePages, type Tier } from './tier.js';

/** A frame in memory stays where it is, whoever reads it. */
const NO_LOAN: Loan = { recycle: () => {}, forget: () => {} };

/** A buffer that is filled to this part is kept as it is: a copy would save less than it costs. */
const WELL_FILLED = 0.75;

/** Frames in the memory of this process. */
export class MemoryTier implements Tier {
  readonly #frames = new Map<number, { frame: SpillFrame; bytes: number }>();
  readonly #store: Budget;
  #records = 0;
  #dropped = false;

  constructor(
    limit: number,
    private readonly node: Budget,
    /** What frames are built in. */
    private readonly bufferBytes: number,
  ) {
    this.#store = new Budget(limit);
  }

  reserve(frameBytes: number): Room | Refusal['by'] {
    const bytes = this.#footprint(frameBytes);
    if (!this.#store.take(bytes)) return 'store-limit';
    if (!this.node.take(bytes)) {
      this.#store.give(bytes);
      return 'node-budget';
    }
    return new Room('memory', bytes, () => this.#give(bytes));
  }

  async put({ header, bytes }: SpillFrame, room: Room): Promise<void> {
    room.use();
    const fits = bytes.buffer.byteLength <= room.bytes;
    this.#frames.set(header.sequence, { frame: { header, bytes: fits ? bytes : copyOf(bytes) }, bytes: room.bytes });
    this.#records += header.records;
  }

  has(sequence: number): boolean {
    return this.#frames.has(sequence);
  }

  async read(sequence: number): Promise<LoadedFrame> {
    const { frame } = this.#frames.get(sequence) as { frame: SpillFrame };
    return { ...frame, loan: NO_LOAN };
  }

  remove(sequence: number): void {
    const kept = this.#frames.get(sequence);
    if (kept === undefined) return;
    this.#frames.delete(sequence);
    this.#records -= kept.frame.header.records;
    this.#give(kept.bytes);
  }

  usage(): TierUsage {
    return { frames: this.#frames.size, records: this.#records, bytes: this.#store.used };
  }

  async drop(): Promise<void> {
    this.#frames.clear();
    this.#records = 0;
    this.#give(this.#store.used);
    this.#dropped = true;
  }

  /** What a frame of that size will take. */
  #footprint(frameBytes: number): number {
    const built = frameBytes <= this.bufferBytes && frameBytes >= this.bufferBytes * WELL_FILLED;
    return built ? this.bufferBytes : wholePages(frameBytes);
  }

  #give(bytes: number): void {
    if (this.#dropped) return;
    this.#store.give(bytes);
    this.node.give(bytes);
  }
}

function copyOf(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}
