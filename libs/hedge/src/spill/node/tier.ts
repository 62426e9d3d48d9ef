import type { SpillFrame } from '../records/frame.js';
import type { LoadedFrame, Refusal, Reservation, SpillTier, TierUsage } from './storage.js';

/** A limit of bytes in use, which is never exceeded (P2). */
export class Budget {
  #used = 0;

  constructor(readonly limit: number) {}

  get used(): number {
    return this.#used;
  }

  get free(): number {
    return this.limit - this.#used;
  }

  /** Reserves all of the bytes, or none of them and returns false. */
  reserve(bytes: number): boolean {
    if (bytes > this.free) return false;
    this.#used += bytes;
    return true;
  }

  release(bytes: number): void {
    this.#used -= bytes;
  }
}

/** The frames of one part in one tier. */
export interface Tier {
  reserve(frameBytes: number): Room | Refusal['by'];
  /** Keeps a new frame in open room. The room is released when it rejects. */
  put(frame: SpillFrame, room: Room): Promise<void>;
  has(sequence: number): boolean;
  /** Reads a frame that this tier keeps. */
  read(sequence: number, signal?: AbortSignal): Promise<LoadedFrame>;
  /** A reader may keep the bytes from now on: the memory of the frame is never reused. */
  detach(sequence: number): void;
  remove(sequence: number): void;
  usage(): TierUsage;
  /** Bytes that are left of the store's own limit. */
  readonly free: number;
  /** Frees every frame. Called once; reads and writes in flight fail. */
  drop(): Promise<void>;
}

/** A reservation of one tier. It is open until its frame uses it, or until it is released. */
export class Room implements Reservation {
  readonly granted = true;
  #open = true;

  constructor(
    readonly tier: SpillTier,
    readonly bytes: number,
    private readonly freeRoom: () => void,
  ) {}

  get open(): boolean {
    return this.#open;
  }

  release(): void {
    if (!this.#open) return;
    this.#open = false;
    this.freeRoom();
  }

  /** From now on a frame uses the room. */
  markUsed(): void {
    this.#open = false;
  }
}

/** The unit in which memory and files are allocated. */
const PAGE_BYTES = 4_096;

export function wholePages(bytes: number): number {
  return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
}
