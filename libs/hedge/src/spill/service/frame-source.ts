import type { Clock } from '../../common/clock.js';
import { HedgeError, messageOf } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import type { BufferLease, FrameBuffers, LoadedFrame, SpillPart } from '../node/storage.js';
import type { Copy, FrameIndex, IndexedFrame } from '../placement/frame-index.js';
import type { FrameCompression } from '../records/compression.js';
import { storeIdOf, type SpillFrame } from '../records/frame.js';
import type { StoreIdentity } from '../placement/placement.runner.js';
import { FrameReadClient } from '../replication/frame-read-client.js';
import type { ReplicaClient } from '../replication/replica-client.js';

export interface FrameSourceOptions {
  readonly store: StoreIdentity;
  readonly self: MemberId;
  readonly part: SpillPart;
  readonly index: FrameIndex;
  readonly replicas: ReplicaClient;
  readonly buffers: FrameBuffers;
  readonly compression: FrameCompression | undefined;
  readonly clock: Clock;
  /** A member that sends no requested frame for this time counts as unreachable. */
  readonly stallMs: number;
}

/** How often a frame is requested from a member that cannot be reached. */
const ATTEMPTS = 2;

/** Loads the frames of a closed store for one reader: from this pod, or from other members. */
export class FrameSource {
  readonly #options: FrameSourceOptions;
  /** By incarnation. */
  readonly #clients = new Map<string, FrameReadClient>();
  #closed = false;

  constructor(options: FrameSourceOptions) {
    this.#options = options;
  }

  /**
   * Reads from this pod if it has a copy, else from the other members, one after the other. Unreachable members are
   * tried twice, because a broken link or a paused pod is no loss.
   * @throws HedgeError SPILL_LOST with the members and the range of records, when no copy can be read; SPILL_CORRUPT
   *   when a copy differs from the written frame and no other can be read; SPILL_UNKNOWN
   */
  async load(frame: IndexedFrame, signal: AbortSignal): Promise<LoadedFrame> {
    const causes = new Map<MemberId, unknown>();
    let copies = this.#inOrder(frame);
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      for (const { member } of copies) {
        try {
          return await this.#decompress(await this.#loadFrom(member, frame, signal));
        } catch (error) {
          if (signal.aborted) throw signal.reason;
          causes.set(member, error);
        }
      }
      copies = copies.filter(({ member }) => isUnreachable(causes.get(member)));
    }
    throw this.#lost(frame, causes);
  }

  close(): void {
    this.#closed = true;
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }

  #inOrder({ sequence, copies }: IndexedFrame): Copy[] {
    const { incarnation } = this.#options.self;
    const here = copies.filter(({ member }) => member.incarnation === incarnation);
    const others = copies.filter(({ member }) => member.incarnation !== incarnation);
    // Alternate, so that both of two members serve.
    return [...here, ...(sequence % 2 === 0 ? others : others.reverse())];
  }

  async #loadFrom(member: MemberId, { sequence, bytes }: IndexedFrame, signal: AbortSignal): Promise<LoadedFrame> {
    const { self, part, buffers } = this.#options;
    if (member.incarnation === self.incarnation) return part.read(sequence, signal);
    const lease: BufferLease = await buffers.claim(bytes, signal);
    try {
      return { ...(await this.#read(member, sequence)), lease: lease };
    } catch (error) {
      lease.detach();
      throw error;
    }
  }

  /** Opens a new stream when another frame has failed the stream: the member may hold this one. */
  async #read(member: MemberId, sequence: number): Promise<SpillFrame> {
    for (;;) {
      const client = this.#clientFor(member);
      try {
        return await client.read(sequence);
      } catch (error) {
        if (client.missing === undefined || client.missing === sequence) throw error;
      }
    }
  }

  async #decompress(loaded: LoadedFrame): Promise<LoadedFrame> {
    const { compression } = this.#options;
    if (compression === undefined) return loaded;
    try {
      return { ...(await compression.decompress(loaded)), lease: loaded.lease };
    } catch (error) {
      loaded.lease.detach();
      throw error;
    }
  }

  #clientFor(member: MemberId): FrameReadClient {
    const known = this.#clients.get(member.incarnation);
    if (known !== undefined && !known.failed) return known;
    // A frame that was being read ahead looks for its next copy when the reader closes the stream.
    if (this.#closed) throw new HedgeError('CANCELLED', 'This reader of the spilled data has ended');
    const { store, self, replicas, clock, stallMs } = this.#options;
    const { name, epoch } = store;
    const stream = replicas.openReadStream(member, { name, epoch });
    const client = new FrameReadClient({ stream, store: storeIdOf(self.incarnation), epoch, clock, stallMs });
    this.#clients.set(member.incarnation, client);
    return client;
  }

  #lost(frame: IndexedFrame, causes: ReadonlyMap<MemberId, unknown>): HedgeError {
    const { name } = this.#options.store;
    const [members, errors] = [[...causes.keys()], [...causes.values()]];
    const known = errors.find(isFinal);
    if (known?.code === 'SPILL_UNKNOWN') return known;
    const code = known?.code ?? 'SPILL_LOST';
    const to = frame.nextRecord + (frame.continued ? 1 : 0);
    const where = members.map((member) => `${member.address} (${messageOf(causes.get(member))})`).join(', ');
    const what = code === 'SPILL_LOST' ? 'are lost' : 'differ from the records that were written';
    return new HedgeError(
      code,
      `Records ${frame.firstRecord} to ${to - 1} of spilled data '${name}' ${what}: ${where}. ` +
        'Other records can still be read. Write the data again; with copies: 2 it survives the loss of a pod.',
      {
        details: { store: name, from: frame.firstRecord, to, members: members.map(({ address }) => address) },
        cause: errors[0],
      },
    );
  }
}

function isUnreachable(error: unknown): boolean {
  return error instanceof HedgeError && error.code === 'MEMBER_UNREACHABLE';
}

function isFinal(error: unknown): error is HedgeError {
  return error instanceof HedgeError && (error.code === 'SPILL_CORRUPT' || error.code === 'SPILL_UNKNOWN');
}
