import type { SpillFrame } from '../records/frame.js';
import type { LoadedFrame, Refusal, Reservation, SpillTier, TierUsage } from './storage.js';

/** The frames of one part in one tier. */
export interface Tier {
  reserve(frameBytes: number): Room | Refusal['by'];
  /** Keeps a frame that is not here yet in room that is open; the room is released when it rejects. */
  put(frame: SpillFrame, room: Room): Promise<void>;
  has(sequence: number): boolean;
  /** Reads a frame that is here. */
  read(sequence: number, signal?: AbortSignal): Promise<LoadedFrame>;
  /** Somebody may look at its bytes from now on, for good: where it lies is not used again. */
  detach(sequence: number): void;
  remove(sequence: number): void;
  usage(): TierUsage;
  /** What the store may still take here by its own limit, in bytes. */
  readonly free: number;
  /** Gives every frame back. Called once; what is under way fails. */
  drop(): Promise<void>;
}

/** A reservation, which its tier can turn into what it keeps. */
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

  /** From now on the room belongs to a frame. */
  use(): void {
    this.#open = false;
  }
}

/** What memory and files are given out in. */
const PAGE_BYTES = 4_096;

export function wholePages(bytes: number): number {
  return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
}
