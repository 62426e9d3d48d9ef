import { HedgeError } from '../../common/errors.js';
import type { PeerStream } from '../../transport/streams/peer-stream.js';
import { SpillOffer } from '../../wire/hedge/v1/spill.js';
import {
  reserveRoom,
  type BufferLease,
  type FrameBuffers,
  type Refusal,
  type Reservation,
  type SpillPart,
} from '../node/storage.js';
import { MAX_FRAME_BYTES, readFrame, type SpillFrame } from '../records/frame.js';
import { asBuffer, decoded, eachMessage, encodeAnswer, isFrame, protocolError } from './messages.js';
import type { ReplicaTable } from './replica-table.core.js';

/** Offers that may wait for a buffer at once: far more than an owner has in flight. */
const MAX_OFFERS = 64;
const NOTHING: Refusal['free'] = { memory: 0, disk: 0 };

export interface FrameReceiverOptions {
  readonly stream: PeerStream;
  /** Incarnation of the owner. */
  readonly owner: string;
  readonly epoch: number;
  readonly session: number;
  readonly part: SpillPart;
  readonly table: ReplicaTable;
  /** The memory for frames in flight. */
  readonly buffers: FrameBuffers;
}

interface AcceptedOffer {
  readonly bytes: number;
  readonly reservation: Reservation;
  readonly lease: BufferLease;
}

/** The holder's side of a write stream; `FrameSender` is the other side. */
export class FrameReceiver {
  readonly #options: FrameReceiverOptions;
  /** By sequence; their frames have not arrived yet. */
  readonly #accepted = new Map<number, AcceptedOffer>();
  readonly #offers: SpillOffer[] = [];
  #admitting = false;
  /** No frame arrives any more, so that nothing would release room reserved from now on. */
  #ended = false;

  constructor(options: FrameReceiverOptions) {
    this.#options = options;
  }

  /** Receives frames until the owner ends its side. @throws HedgeError the error of the stream */
  async run(): Promise<void> {
    const { stream } = this.#options;
    try {
      await eachMessage(stream, (message) => {
        if (isFrame(message)) this.#receive(readFrame(asBuffer(message)));
        else this.#enqueue(decoded(SpillOffer, message, this.#ownerName));
      });
      stream.end();
    } finally {
      this.#ended = true;
      for (const { reservation, lease } of this.#accepted.values()) {
        reservation.release();
        lease.release();
      }
      this.#accepted.clear();
    }
  }

  /** For errors. */
  get #ownerName(): string {
    const { address, incarnation } = this.#options.stream.peer;
    return address || `client ${incarnation}`;
  }

  #enqueue(offer: SpillOffer): void {
    const owner = this.#ownerName;
    if (!(offer.bytes > 0 && offer.bytes <= MAX_FRAME_BYTES)) {
      throw protocolError(owner, `offered ${offer.bytes} bytes`);
    }
    if (this.#offers.length >= MAX_OFFERS) throw protocolError(owner, `made more than ${MAX_OFFERS} offers at once`);
    this.#offers.push(offer);
    if (!this.#admitting) this.#admitOffers().catch((error: unknown) => this.#cancel(error));
  }

  /** Admits one offer after the other. Each waits until a buffer for its frame is free. */
  async #admitOffers(): Promise<void> {
    const { stream, part, buffers } = this.#options;
    this.#admitting = true;
    for (let offer = this.#offers.shift(); offer !== undefined; offer = this.#offers.shift()) {
      const { sequence, bytes } = offer;
      if (part.has(sequence)) {
        this.#acknowledge(sequence, false);
        continue;
      }
      const lease = await buffers.claim(bytes, stream.signal);
      let accepted = false;
      try {
        accepted = this.#accept(offer, lease);
      } finally {
        if (!accepted) lease.release();
      }
    }
    this.#admitting = false;
  }

  /** Reserves room for the frame, or refuses it. @throws HedgeError SPILL_UNKNOWN when the part was dropped */
  #accept({ sequence, bytes }: SpillOffer, lease: BufferLease): boolean {
    if (this.#ended || this.#accepted.has(sequence)) return false;
    const reservation = reserveRoom(this.#options.part, bytes);
    if (reservation.granted) {
      this.#accepted.set(sequence, { bytes, reservation, lease });
      this.#answer({ accepted: [sequence] });
    } else {
      this.#refuse(sequence, reservation.free);
    }
    return reservation.granted;
  }

  #receive(frame: SpillFrame): void {
    const { owner, epoch, part } = this.#options;
    const { header, bytes } = frame;
    const accepted = this.#accepted.get(header.sequence);
    if (header.store !== part.id.store || header.epoch !== epoch) {
      throw protocolError(this.#ownerName, `sent a frame that is not of epoch ${epoch} of ${owner}`);
    }
    if (accepted === undefined || bytes.length > accepted.bytes) {
      throw protocolError(this.#ownerName, `sent frame ${header.sequence} without reserved room for it`);
    }
    this.#accepted.delete(header.sequence);
    this.#store(frame, accepted).catch((error: unknown) => this.#cancel(error));
  }

  async #store(frame: SpillFrame, { reservation, lease }: AcceptedOffer): Promise<void> {
    const { part } = this.#options;
    const { sequence } = frame.header;
    try {
      await part.put(frame, reservation);
    } catch (error) {
      if (!(error instanceof HedgeError) || error.code !== 'SPILL_FULL') throw error;
      // The disk has less free space than it seemed: the owner sends no more until this pod advertises some.
      return this.#refuse(sequence, NOTHING);
    } finally {
      if (reservation.tier === 'memory') lease.detach();
      else lease.release();
    }
    this.#acknowledge(sequence, reservation.tier === 'disk');
  }

  /** Acknowledges the frame, unless the owner has closed this session meanwhile. */
  #acknowledge(sequence: number, disk: boolean): void {
    const { owner, epoch, session, part, table } = this.#options;
    const replica = { owner, epoch };
    // The frame arrived by two sessions at once, and the closed one of them has removed it.
    if (!part.has(sequence)) return this.#refuse(sequence, NOTHING);
    if (table.stored(replica, session, sequence)) this.#answer({ stored: [{ sequence, disk }] });
    // Keeps a frame that a later session has brought too, and that counts by it.
    else if (!table.holds(replica, sequence)) part.remove(sequence);
  }

  #refuse(sequence: number, free: Refusal['free']): void {
    this.#answer({ refused: [sequence], free });
  }

  #answer(answer: Parameters<typeof encodeAnswer>[0]): void {
    // A stream reports its own failure.
    this.#options.stream.write(encodeAnswer(answer)).catch(() => undefined);
  }

  #cancel(error: unknown): void {
    this.#options.stream.cancel(error as HedgeError);
  }
}
