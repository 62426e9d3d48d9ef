import type { Clock } from '../../common/clock.js';
import { HedgeError, messageOf } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import type { FrameBuffers, LoadedFrame, BufferLease, SpillPart } from '../node/storage.js';
import type { Copy, FrameIndex, IndexedFrame } from '../placement/frame-index.js';
import type { FrameCompression } from '../records/compression.js';
import type { SpillFrame } from '../records/frame.js';
import { FrameFetcher } from '../replication/frame-fetcher.js';
import { storeOf } from '../replication/messages.js';
import type { PeerConnections } from '../replication/routes.js';
import type { StoreIdentity } from './placement.runner.js';

export interface FrameSourceOptions {
  readonly store: StoreIdentity;
  readonly self: MemberId;
  readonly part: SpillPart;
  readonly index: FrameIndex;
  readonly routes: PeerConnections;
  readonly buffers: FrameBuffers;
  readonly compression: FrameCompression | undefined;
  readonly clock: Clock;
  /** A member that sends nothing of what it owes for so long is given up. */
  readonly stallMs: number;
}

/** A member that could not be reached is asked so often for a frame. */
const TRIES = 2;

/** Frames of a closed store for one reader, from wherever they are. */
export class FrameSource {
  readonly #options: FrameSourceOptions;
  /** By incarnation. */
  readonly #fetching = new Map<string, FrameFetcher>();
  #closed = false;

  constructor(options: FrameSourceOptions) {
    this.#options = options;
  }

  /**
   * From this pod if it has a copy, else from the others, one after the other; once more from those that could not be
   * reached, for a link that broke or a pod that stood still for a moment is no loss.
   * @throws HedgeError SPILL_LOST with the members and the range of records, when no copy can be had; SPILL_CORRUPT
   *   when what is there is not what was written; SPILL_UNKNOWN
   */
  async load(frame: IndexedFrame, signal: AbortSignal): Promise<LoadedFrame> {
    const causes = new Map<MemberId, unknown>();
    let copies = this.#inOrder(frame);
    for (let tries = 0; tries < TRIES; tries += 1) {
      for (const { member } of copies) {
        try {
          return await this.#plain(await this.#from(member, frame, signal));
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
    for (const fetching of this.#fetching.values()) fetching.close();
    this.#fetching.clear();
  }

  #inOrder({ sequence, copies }: IndexedFrame): Copy[] {
    const { incarnation } = this.#options.self;
    const here = copies.filter(({ member }) => member.incarnation === incarnation);
    const others = copies.filter(({ member }) => member.incarnation !== incarnation);
    // By turns, so that both of two members serve.
    return [...here, ...(sequence % 2 === 0 ? others : others.reverse())];
  }

  async #from(member: MemberId, { sequence, bytes }: IndexedFrame, signal: AbortSignal): Promise<LoadedFrame> {
    const { self, part, buffers } = this.#options;
    if (member.incarnation === self.incarnation) return part.read(sequence, signal);
    const loan: BufferLease = await buffers.claim(bytes, signal);
    try {
      return { ...(await this.#fetch(member, sequence)), loan };
    } catch (error) {
      loan.detach();
      throw error;
    }
  }

  /** By a new stream when the one before ended with another frame, which says nothing of this one. */
  async #fetch(member: MemberId, sequence: number): Promise<SpillFrame> {
    for (;;) {
      const fetching = this.#fetchingFrom(member);
      try {
        return await fetching.fetch(sequence);
      } catch (error) {
        if (fetching.missing === undefined || fetching.missing === sequence) throw error;
      }
    }
  }

  async #plain(loaded: LoadedFrame): Promise<LoadedFrame> {
    const { compression } = this.#options;
    if (compression === undefined) return loaded;
    try {
      return { ...(await compression.decompress(loaded)), loan: loaded.loan };
    } catch (error) {
      loaded.loan.detach();
      throw error;
    }
  }

  #fetchingFrom(member: MemberId): FrameFetcher {
    const known = this.#fetching.get(member.incarnation);
    if (known !== undefined && !known.failed) return known;
    // What was read ahead looks for the next copy when its stream is closed.
    if (this.#closed) throw new HedgeError('CANCELLED', 'The spilled data is not read any more by this reader');
    const { store, self, routes, clock, stallMs } = this.#options;
    const { name, epoch } = store;
    const stream = routes.toRead(member, { name, epoch });
    const fetching = new FrameFetcher({ stream, store: storeOf(self.incarnation), epoch, clock, stallMs });
    this.#fetching.set(member.incarnation, fetching);
    return fetching;
  }

  #lost(frame: IndexedFrame, causes: ReadonlyMap<MemberId, unknown>): HedgeError {
    const { name } = this.#options.store;
    const [members, errors] = [[...causes.keys()], [...causes.values()]];
    const known = errors.find(isFinal);
    if (known?.code === 'SPILL_UNKNOWN') return known;
    const code = known?.code ?? 'SPILL_LOST';
    const to = frame.nextRecord + (frame.continued ? 1 : 0);
    const where = members.map((member) => `${member.address} (${messageOf(causes.get(member))})`).join(', ');
    const what = code === 'SPILL_LOST' ? 'are lost' : 'are not what was written';
    return new HedgeError(
      code,
      `Records ${frame.firstRecord} to ${to - 1} of spilled data '${name}' ${what}: ${where}. ` +
        'Other records can still be read. Write the store again; with copies: 2 it survives the loss of a pod.',
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
