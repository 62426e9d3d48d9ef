import { HedgeError } from '../../common/errors.js';
import type { PeerStream } from '../../transport/streams/peer-stream.js';
import { SpillOffer } from '../../wire/hedge/v1/spill.js';
import type { FrameBuffers, BufferLease, Refusal, Reservation, SpillPart } from '../node/storage.js';
import { MAX_FRAME_BYTES, readFrame, type SpillFrame } from '../records/frame.js';
import type { ReplicaTable } from './replica-table.core.js';
import { breach, bufferOf, decoded, eachMessage, encodeAnswer, isFrame } from './messages.js';

/** Offers that wait for room at once: far more than an owner has on the way. */
const MAX_OFFERS = 64;
const NOTHING: Refusal['free'] = { memory: 0, disk: 0 };

export interface FrameReceiverOptions {
  readonly stream: PeerStream;
  /** Incarnation of the owner. */
  readonly owner: string;
  readonly epoch: number;
  readonly session: number;
  readonly part: SpillPart;
  readonly holdings: ReplicaTable;
  /** The memory for frames of others on their way. */
  readonly buffers: FrameBuffers;
}

interface Expected {
  readonly bytes: number;
  readonly reservation: Reservation;
  readonly loan: BufferLease;
}

/** The end of a stream at the member that takes frames of an owner. */
export class FrameReceiver {
  readonly #options: FrameReceiverOptions;
  /** Accepted and not yet here. */
  readonly #expected = new Map<number, Expected>();
  readonly #offers: SpillOffer[] = [];
  #admitting = false;
  /** Nothing more comes, so that room for it would never be given back. */
  #over = false;

  constructor(options: FrameReceiverOptions) {
    this.#options = options;
  }

  /** Takes what comes until the owner ends the stream. @throws HedgeError what the stream fails with */
  async run(): Promise<void> {
    const { stream } = this.#options;
    try {
      await eachMessage(stream, (message) => {
        if (isFrame(message)) this.#receive(readFrame(bufferOf(message)));
        else this.#offered(decoded(SpillOffer, message, this.#owner));
      });
      stream.end();
    } finally {
      this.#over = true;
      for (const { reservation, loan } of this.#expected.values()) {
        reservation.release();
        loan.release();
      }
      this.#expected.clear();
    }
  }

  get #owner(): string {
    const { address, incarnation } = this.#options.stream.peer;
    return address || `client ${incarnation}`;
  }

  #offered(offer: SpillOffer): void {
    if (!(offer.bytes > 0 && offer.bytes <= MAX_FRAME_BYTES)) throw breach(this.#owner, `offered ${offer.bytes} bytes`);
    if (this.#offers.length >= MAX_OFFERS) throw breach(this.#owner, `made more than ${MAX_OFFERS} offers at once`);
    this.#offers.push(offer);
    if (!this.#admitting) this.#admit().catch((error: unknown) => this.#options.stream.cancel(error as HedgeError));
  }

  /** One offer after the other: each waits until there is memory for its way. */
  async #admit(): Promise<void> {
    const { stream, part, buffers } = this.#options;
    this.#admitting = true;
    for (let offer = this.#offers.shift(); offer !== undefined; offer = this.#offers.shift()) {
      const { sequence, bytes } = offer;
      if (part.has(sequence)) {
        this.#keep(sequence, false);
        continue;
      }
      const loan = await buffers.claim(bytes, stream.signal);
      let accepted = false;
      try {
        accepted = this.#accept(offer, loan);
      } finally {
        if (!accepted) loan.release();
      }
    }
    this.#admitting = false;
  }

  /** Sets room aside, or says that there is none. @throws HedgeError SPILL_UNKNOWN when the part was dropped */
  #accept({ sequence, bytes }: SpillOffer, loan: BufferLease): boolean {
    if (this.#over || this.#expected.has(sequence)) return false;
    const room = roomFor(this.#options.part, bytes);
    if (room.granted) {
      this.#expected.set(sequence, { bytes, reservation: room, loan });
      this.#answer({ accepted: [sequence] });
    } else {
      this.#refuse(sequence, room.free);
    }
    return room.granted;
  }

  #receive(frame: SpillFrame): void {
    const { owner, epoch, part } = this.#options;
    const { header, bytes } = frame;
    const expected = this.#expected.get(header.sequence);
    if (header.store !== part.id.store || header.epoch !== epoch) {
      throw breach(this.#owner, `sent a frame of another store than epoch ${epoch} of ${owner}`);
    }
    if (expected === undefined || bytes.length > expected.bytes) {
      throw breach(this.#owner, `sent frame ${header.sequence} without room having been set aside for it`);
    }
    this.#expected.delete(header.sequence);
    this.#put(frame, expected).catch((error: unknown) => this.#options.stream.cancel(error as HedgeError));
  }

  async #put(frame: SpillFrame, { reservation, loan }: Expected): Promise<void> {
    const { part } = this.#options;
    const { sequence } = frame.header;
    try {
      await part.put(frame, reservation);
    } catch (error) {
      if (!(error instanceof HedgeError) || error.code !== 'SPILL_FULL') throw error;
      // Its disk was less free than it seemed: to be left alone until it is heard to have space.
      return this.#refuse(sequence, NOTHING);
    } finally {
      if (reservation.tier === 'memory') loan.detach();
      else loan.release();
    }
    this.#keep(sequence, reservation.tier === 'disk');
  }

  /** Counts the frame, unless its owner has said that what comes this way does not count any more. */
  #keep(sequence: number, disk: boolean): void {
    const { owner, epoch, session, part, holdings } = this.#options;
    const id = { owner, epoch };
    // Stored twice at once, and freed by the way that does not count.
    if (!part.has(sequence)) return this.#refuse(sequence, NOTHING);
    if (holdings.stored(id, session, sequence)) this.#answer({ stored: [{ sequence, disk }] });
    // It may have come by a later way meanwhile, and count by that.
    else if (!holdings.holds(id, sequence)) part.remove(sequence);
  }

  #refuse(sequence: number, free: Refusal['free']): void {
    this.#answer({ refused: [sequence], free });
  }

  #answer(answer: Parameters<typeof encodeAnswer>[0]): void {
    // A stream that failed has told so by itself.
    this.#options.stream.write(encodeAnswer(answer)).catch(() => undefined);
  }
}

/** In memory while that lasts, then on disk. */
export function roomFor(part: SpillPart, bytes: number): Reservation | Refusal {
  const inMemory = part.reserve('memory', bytes);
  return inMemory.granted ? inMemory : part.reserve('disk', bytes);
}
