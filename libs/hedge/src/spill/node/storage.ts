import type { SpillFrame } from '../records/frame.js';

/** Where a frame lies on a pod. */
export type SpillTier = 'memory' | 'disk';

/** Bytes of each tier. */
export type TierBytes = Readonly<Record<SpillTier, number>>;

/** One store's part on this pod. Another epoch of the same store is another part. */
export interface PartId {
  readonly store: string;
  readonly epoch: number;
  /** The name people gave the store, for messages. */
  readonly name: string;
}

/** Room set aside in one tier for one frame. Used up by `put`, or given back by `release`. */
export interface Reservation {
  readonly granted: true;
  readonly tier: SpillTier;
  /** As accounted: what was asked for, rounded up to what it will take. */
  readonly bytes: number;
  /** Gives the room back, unless it is used up. Idempotent. */
  release(): void;
}

/** Why there is no room. */
export interface Refusal {
  readonly granted: false;
  /** The store's own limit on this pod, the pod's budget, its floor of free disk, or a disk that fails. */
  readonly by: 'store-limit' | 'node-budget' | 'free-disk-floor' | 'disk-failure';
  /** What this pod would still take of this store. */
  readonly free: TierBytes;
}

/** Memory lent for a frame on its way; each lease ends by one of the two, and the second call does nothing. */
export interface BufferLease {
  /** Nobody looks at the bytes any more: they may be lent again. */
  release(): void;
  /** Somebody keeps the bytes (a user, or this pod's memory tier): they are never lent again by this lease. */
  detach(): void;
}

/** A buffer of `FrameBuffers.frameBytes` to build a frame in, or to receive one into. */
export interface FrameBuffer extends BufferLease {
  readonly bytes: Buffer;
}

/** A frame as read. It stays in this pod's budget until its lease has ended: hand it on soon. */
export interface LoadedFrame extends SpillFrame {
  readonly lease: BufferLease;
}

/**
 * The memory for frames on their way (being filled, sent, received, read ahead), which is part of the pod's
 * memory budget. Who asks while none is free waits in line.
 */
export interface FrameBuffers {
  /** Size of a buffer: frames of this pod are at most this long. */
  readonly frameBytes: number;
  /** How much of the budget is kept for frames on their way, in bytes. */
  readonly capacity: number;
  /** @throws the signal's reason */
  take(signal?: AbortSignal): Promise<FrameBuffer>;
  /**
   * Accounts for bytes that live elsewhere, such as a message of gRPC.
   * @throws HedgeError PAYLOAD_TOO_LARGE for more than `capacity`, or the signal's reason
   */
  claim(bytes: number, signal?: AbortSignal): Promise<BufferLease>;
}

export interface TierUsage {
  readonly frames: number;
  readonly records: number;
  /** As accounted, rounding and holes in files included. */
  readonly bytes: number;
}

export interface SpillPart {
  readonly id: PartId;
  /** Whether that frame is here, in either tier. */
  has(sequence: number): boolean;
  /** Room for a frame of that many bytes in that tier, at once or not at all. */
  reserve(tier: SpillTier, bytes: number): Reservation | Refusal;
  /**
   * Keeps a frame in the reserved room. A frame that is already here is not kept twice. In memory, the bytes
   * themselves are kept when they fill a buffer of this pod, else a copy: end the lease with `forget`. On disk they
   * are in the file when the promise resolves: end the lease with `recycle`.
   *
   * Nothing is kept, and the reservation is released, when it rejects.
   * @throws HedgeError SPILL_FULL when the disk turns out to be full or fails, SPILL_UNKNOWN when the part was dropped
   */
  put(frame: SpillFrame, reservation: Reservation): Promise<void>;
  /**
   * @throws HedgeError SPILL_LOST when the frame is not here, SPILL_CORRUPT when the file does not hold what was
   *   written (both name the store and, where known, the records), SPILL_UNKNOWN when the part was dropped
   */
  read(sequence: number, signal?: AbortSignal): Promise<LoadedFrame>;
  /** A stream that was given up may still look at the bytes that were put: they are not used again. */
  detach(sequence: number): void;
  /** Frees one frame. Its room in a file is used again for later frames of this part. */
  remove(sequence: number): void;
  usage(): Readonly<Record<SpillTier, TierUsage>>;
}

/** Reserves room in memory, or on disk when the memory has none. */
export function reserveRoom(part: SpillPart, bytes: number): Reservation | Refusal {
  const inMemory = part.reserve('memory', bytes);
  return inMemory.granted ? inMemory : part.reserve('disk', bytes);
}

/** The RAM and disk that this pod lends to spill stores, its own and others'. */
export interface NodeStorage {
  readonly buffers: FrameBuffers;
  /** The part of that store and epoch; made with those limits when it is not here yet. */
  part(id: PartId, limits: TierBytes): SpillPart;
  /** What would still be taken, by the budgets and the floor of free disk. */
  free(): TierBytes;
  /** What is in use, frames on their way included. Never above the budgets (P2). */
  used(): TierBytes;
  /** Memory that nobody uses, kept for a while to be used again. With what is in use it is within the budget (P2). */
  readonly idleBytes: number;
  /** Frees everything of that part. Idempotent; resolves when its file is gone. */
  drop(id: PartId): Promise<void>;
  /** Drops every part. */
  close(): Promise<void>;
}
