import type { SpillFrame } from '../records/frame.js';

/** The kind of storage in which a pod keeps a frame. */
export type SpillTier = 'memory' | 'disk';

/** Bytes of each tier. */
export type TierBytes = Readonly<Record<SpillTier, number>>;

/** Names the part of a store on this pod. Each epoch has a part of its own. */
export interface PartId {
  readonly store: string;
  readonly epoch: number;
  /** The name of the spilled data, for errors. */
  readonly name: string;
}

/** Room in one tier for one frame. `put` uses it, `release` frees it. */
export interface Reservation {
  readonly granted: true;
  readonly tier: SpillTier;
  /** The requested bytes, rounded up to whole pages or to a whole buffer. */
  readonly bytes: number;
  /** Frees the room, unless a frame uses it. Idempotent. */
  release(): void;
}

/** The reason for a refused reservation. */
export interface Refusal {
  readonly granted: false;
  /** The limit of the store, the budget of the pod, its floor of free disk, or a failed disk. */
  readonly by: 'store-limit' | 'node-budget' | 'free-disk-floor' | 'disk-failure';
  /** Bytes that this pod can still store of this part. */
  readonly free: TierBytes;
}

/** A lease of memory for one frame in flight. The first call of either method ends it; further calls do nothing. */
export interface BufferLease {
  /** Ends the lease. No code reads the bytes any more, so the buffer is reused. */
  release(): void;
  /** Ends the lease. A reader, a stream or the memory tier keeps the bytes, so the buffer is not reused. */
  detach(): void;
}

/** A buffer of `FrameBuffers.frameBytes` bytes, in which a frame is built or into which it is read. */
export interface FrameBuffer extends BufferLease {
  readonly bytes: Buffer;
}

/** A frame as read. It counts in this pod's budget until its lease ends. */
export interface LoadedFrame extends SpillFrame {
  readonly lease: BufferLease;
}

/**
 * The memory for frames in flight: being filled, sent, received or read ahead. It is a part of the pod's memory
 * budget. When none is free, callers wait in the order of their calls.
 */
export interface FrameBuffers {
  /** The size of a buffer, and of the largest frame that this pod writes. */
  readonly frameBytes: number;
  /** Bytes of the budget that are reserved for frames in flight. */
  readonly capacity: number;
  /** @throws the signal's reason */
  acquire(signal?: AbortSignal): Promise<FrameBuffer>;
  /**
   * Accounts for bytes outside of the buffers, such as a message of gRPC.
   * @throws HedgeError PAYLOAD_TOO_LARGE for more than `capacity`, or the signal's reason
   */
  claim(bytes: number, signal?: AbortSignal): Promise<BufferLease>;
}

export interface TierUsage {
  readonly frames: number;
  readonly records: number;
  /** Includes rounding to pages, and holes in files. */
  readonly bytes: number;
}

export interface SpillPart {
  readonly id: PartId;
  /** Whether either tier keeps the frame. */
  has(sequence: number): boolean;
  /** Reserves room for a frame, without waiting. */
  reserve(tier: SpillTier, bytes: number): Reservation | Refusal;
  /**
   * Keeps a frame in the reserved room. A frame is never kept twice. The memory tier keeps the bytes themselves when
   * they fill a buffer of this pod, else a copy: end the lease with `detach`. The disk tier has written them to the
   * file when the promise resolves: end the lease with `release`.
   *
   * When it rejects, nothing is kept and the reservation is released.
   * @throws HedgeError SPILL_FULL when the disk is full or fails, SPILL_UNKNOWN when the part was dropped
   */
  put(frame: SpillFrame, reservation: Reservation): Promise<void>;
  /**
   * @throws HedgeError SPILL_LOST when the part has no such frame, SPILL_CORRUPT when the file does not hold the
   *   written bytes (both name the store and, where known, the records), SPILL_UNKNOWN when the part was dropped
   */
  read(sequence: number, signal?: AbortSignal): Promise<LoadedFrame>;
  /** A cancelled stream may still read the bytes of the frame: its memory is never reused. */
  detach(sequence: number): void;
  /** Frees one frame. Later frames of this part reuse its room in the file. */
  remove(sequence: number): void;
  usage(): Readonly<Record<SpillTier, TierUsage>>;
  /** Bytes that this pod can still store of this part. */
  free(): TierBytes;
}

/** Reserves room in memory, or on disk when the memory has none. */
export function reserveRoom(part: SpillPart, bytes: number): Reservation | Refusal {
  const inMemory = part.reserve('memory', bytes);
  return inMemory.granted ? inMemory : part.reserve('disk', bytes);
}

/** The RAM and disk that this pod offers for spilled data, its own and that of other pods. */
export interface NodeStorage {
  readonly buffers: FrameBuffers;
  /** The part of that store and epoch. A new part gets these limits. */
  part(id: PartId, limits: TierBytes): SpillPart;
  /** The parts that this pod holds. */
  parts(): Iterable<SpillPart>;
  /** Free bytes, by the budgets and the floor of free disk. */
  free(): TierBytes;
  /** Bytes in use, with frames in flight. Never above the budgets (P2). */
  used(): TierBytes;
  /** Bytes of unused buffers, kept for a while for reuse. Together with the used bytes within the budget (P2). */
  readonly idleBytes: number;
  /** Frees that part. Resolves when its file is closed. Idempotent. */
  drop(id: PartId): Promise<void>;
  /** Drops every part. */
  close(): Promise<void>;
}
