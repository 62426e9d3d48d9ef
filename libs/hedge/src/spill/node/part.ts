import { HedgeError } from '../../common/errors.js';
import type { SpillFrame } from '../records/frame.js';
import type {
  LoadedFrame,
  PartId,
  Refusal,
  Reservation,
  SpillPart,
  SpillTier,
  TierBytes,
  TierUsage,
} from './storage.js';
import type { Room, Tier } from './tier.js';

/** The frames of one store on this pod, in both tiers. */
export class Part implements SpillPart {
  /** Frames that are being stored, by sequence. */
  readonly #arriving = new Map<number, Promise<void>>();
  #dropping: Promise<void> | undefined;

  constructor(
    readonly id: PartId,
    private readonly tiers: Readonly<Record<SpillTier, Tier>>,
    /** Free bytes of this pod, for all stores. */
    private readonly nodeFree: () => TierBytes,
  ) {}

  has(sequence: number): boolean {
    return this.#tierOf(sequence) !== undefined;
  }

  reserve(tier: SpillTier, bytes: number): Reservation | Refusal {
    this.#assertNotDropped();
    const room = this.tiers[tier].reserve(bytes);
    return typeof room === 'string' ? { granted: false, by: room, free: this.free() } : room;
  }

  async put(frame: SpillFrame, reservation: Reservation): Promise<void> {
    const room = reservation as Room;
    const { sequence } = frame.header;
    const duplicate = this.#arriving.get(sequence);
    if (duplicate !== undefined || this.has(sequence) || this.#dropping !== undefined) room.release();
    this.#assertNotDropped();
    if (this.has(sequence)) return;
    if (duplicate !== undefined) return duplicate;
    const reserved = room.open ? room.bytes : 0;
    if (!room.open || frame.bytes.length > reserved) {
      room.release();
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `Frame ${sequence} of spilled data '${this.id.name}' has ${frame.bytes.length} bytes, but its reservation has ${reserved}. Reserve room for each frame.`,
      );
    }
    const arrival = this.tiers[room.tier].put(frame, room);
    this.#arriving.set(sequence, arrival);
    try {
      await arrival;
    } finally {
      this.#arriving.delete(sequence);
    }
    this.#assertNotDropped();
  }

  async read(sequence: number, signal?: AbortSignal): Promise<LoadedFrame> {
    this.#assertNotDropped();
    const tier = this.#tierOf(sequence);
    if (tier === undefined) {
      throw new HedgeError(
        'SPILL_LOST',
        `Frame ${sequence} of spilled data '${this.id.name}' is not on this pod. Write the data again.`,
        { details: { store: this.id.name, sequence } },
      );
    }
    try {
      return await tier.read(sequence, signal);
    } catch (error) {
      // A drop closes the file, which is not a failure of the disk.
      this.#assertNotDropped();
      throw error;
    }
  }

  detach(sequence: number): void {
    this.#tierOf(sequence)?.detach(sequence);
  }

  remove(sequence: number): void {
    this.#tierOf(sequence)?.remove(sequence);
  }

  usage(): Readonly<Record<SpillTier, TierUsage>> {
    return { memory: this.tiers.memory.usage(), disk: this.tiers.disk.usage() };
  }

  /** Frees all frames. Resolves when the file is closed. */
  drop(): Promise<void> {
    this.#dropping ??= this.#dropAll();
    return this.#dropping;
  }

  async #dropAll(): Promise<void> {
    await Promise.all([this.tiers.memory.drop(), this.tiers.disk.drop()]);
  }

  free(): TierBytes {
    const { memory, disk } = this.nodeFree();
    return { memory: Math.min(memory, this.tiers.memory.free), disk: Math.min(disk, this.tiers.disk.free) };
  }

  #tierOf(sequence: number): Tier | undefined {
    return Object.values(this.tiers).find((tier) => tier.has(sequence));
  }

  #assertNotDropped(): void {
    if (this.#dropping === undefined) return;
    throw new HedgeError(
      'SPILL_UNKNOWN',
      `Spilled data '${this.id.name}' was dropped or has expired. Create it again, and write it before reading.`,
      { details: { store: this.id.name } },
    );
  }
}
