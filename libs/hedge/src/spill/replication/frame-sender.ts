import { asHedgeError, HedgeError } from '../../common/errors.js';
import type { PeerStream } from '../../transport/streams/peer-stream.js';
import { SpillAnswer } from '../../wire/hedge/v1/spill.js';
import type { SpillTier } from '../node/storage.js';
import { stampChecksum, type SpillFrame } from '../records/frame.js';
import { decoded, eachMessage, encodeOffer, protocolError } from './messages.js';

/** The answers of the member that receives the frames. */
export interface FrameSenderEvents {
  stored(sequence: number, tier: SpillTier): void;
  refused(sequences: readonly number[], freeBytes: number): void;
  /** Called once, as the last event. Frames that were not acknowledged do not count. */
  failed(error: HedgeError): void;
}

/**
 * The owner's side of a write stream; `FrameReceiver` is the other side. A frame is offered first, and sent when the
 * member has reserved room for it, also in its buffers: so it exceeds none of its budgets (P2).
 */
export class FrameSender {
  readonly #events: FrameSenderEvents;
  /** Offered frames that are neither stored nor refused yet. */
  readonly #frames = new Map<number, SpillFrame>();
  readonly #accepted: number[] = [];
  #stream: PeerStream | undefined;
  #sending = false;
  #ended = false;

  constructor(stream: Promise<PeerStream>, events: FrameSenderEvents) {
    this.#events = events;
    stream.then(
      (opened) => this.#opened(opened),
      (error: unknown) => this.#fail(error),
    );
  }

  offer(frame: SpillFrame): void {
    this.#frames.set(frame.header.sequence, frame);
    if (this.#stream !== undefined) this.#writeOffer(this.#stream, frame);
  }

  /** Ends the stream. To be called when every offered frame is stored or refused. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stream?.end();
  }

  cancel(reason: HedgeError): void {
    this.#ended = true;
    this.#stream?.cancel(reason);
  }

  #opened(stream: PeerStream): void {
    if (this.#ended) {
      stream.cancel(new HedgeError('SHUTTING_DOWN', 'The owner of the spilled data no longer needs this stream'));
      return;
    }
    this.#stream = stream;
    for (const frame of this.#frames.values()) this.#writeOffer(stream, frame);
    this.#listen(stream).catch((error: unknown) => this.#fail(error));
  }

  #writeOffer(stream: PeerStream, { header, bytes }: SpillFrame): void {
    stream.write(encodeOffer(header.sequence, bytes.length)).catch((error: unknown) => this.#fail(error));
  }

  async #listen(stream: PeerStream): Promise<void> {
    await eachMessage(stream, (message) => this.#answered(stream, decoded(SpillAnswer, message, stream.peer.address)));
    throw protocolError(stream.peer.address, 'ended its side of the stream');
  }

  #answered(stream: PeerStream, { accepted, refused, stored, free }: SpillAnswer): void {
    if (this.#ended) return;
    if (accepted.length > 0) {
      this.#accepted.push(...accepted);
      this.#sendAccepted(stream).catch((error: unknown) => this.#fail(error));
    }
    for (const { sequence, disk } of stored) {
      if (this.#frames.delete(sequence)) this.#events.stored(sequence, disk ? 'disk' : 'memory');
    }
    if (refused.length === 0) return;
    for (const sequence of refused) this.#frames.delete(sequence);
    this.#events.refused(refused, (free?.memory ?? 0) + (free?.disk ?? 0));
  }

  async #sendAccepted(stream: PeerStream): Promise<void> {
    if (this.#sending) return;
    this.#sending = true;
    for (let next = this.#accepted.shift(); next !== undefined; next = this.#accepted.shift()) {
      const frame = this.#frames.get(next);
      if (frame === undefined) continue;
      stampChecksum(frame);
      await stream.write(frame.bytes);
    }
    this.#sending = false;
  }

  #fail(error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    const failure = asHedgeError(error, 'MEMBER_UNREACHABLE');
    this.#stream?.cancel(failure);
    this.#events.failed(failure);
  }
}
