import { asHedgeError, HedgeError } from '../../common/errors.js';
import type { PeerStream } from '../../transport/streams/peer-stream.js';
import { SpillAnswer } from '../../wire/hedge/v1/spill.js';
import type { SpillTier } from '../node/storage.js';
import { stampChecksum, type SpillFrame } from '../records/frame.js';
import { breach, decoded, eachMessage, encodeOffer } from './messages.js';

/** What the member on the other end makes of the frames. */
export interface FrameSenderEvents {
  stored(sequence: number, tier: SpillTier): void;
  refused(sequences: readonly number[], freeBytes: number): void;
  /** Once, and the last: nothing that was not acknowledged counts. */
  failed(error: HedgeError): void;
}

/**
 * The owner's end of a stream by which a member takes frames. A frame is offered first and sent when the member
 * has set room aside for it, in memory for the way too: so none of its budgets is exceeded (P2).
 */
export class FrameSender {
  readonly #events: FrameSenderEvents;
  /** Offered, and neither stored nor refused. */
  readonly #frames = new Map<number, SpillFrame>();
  readonly #accepted: number[] = [];
  #stream: PeerStream | undefined;
  #sending = false;
  #over = false;

  constructor(stream: Promise<PeerStream>, events: FrameSenderEvents) {
    this.#events = events;
    stream.then(
      (opened) => this.#opened(opened),
      (error: unknown) => this.#fail(error),
    );
  }

  offer(frame: SpillFrame): void {
    this.#frames.set(frame.header.sequence, frame);
    if (this.#stream !== undefined) this.#write(this.#stream, frame);
  }

  /** Everything that was offered is settled, and nothing more comes. */
  end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#stream?.end();
  }

  cancel(reason: HedgeError): void {
    this.#over = true;
    this.#stream?.cancel(reason);
  }

  #opened(stream: PeerStream): void {
    if (this.#over) {
      stream.cancel(new HedgeError('SHUTTING_DOWN', 'The owner of the spill store does not want this stream any more'));
      return;
    }
    this.#stream = stream;
    for (const frame of this.#frames.values()) this.#write(stream, frame);
    this.#listen(stream).catch((error: unknown) => this.#fail(error));
  }

  #write(stream: PeerStream, { header, bytes }: SpillFrame): void {
    stream.write(encodeOffer(header.sequence, bytes.length)).catch((error: unknown) => this.#fail(error));
  }

  async #listen(stream: PeerStream): Promise<void> {
    await eachMessage(stream, (message) => this.#answered(stream, decoded(SpillAnswer, message, stream.peer.address)));
    throw breach(stream.peer.address, 'ended its side');
  }

  #answered(stream: PeerStream, { accepted, refused, stored, free }: SpillAnswer): void {
    if (this.#over) return;
    if (accepted.length > 0) {
      this.#accepted.push(...accepted);
      this.#send(stream).catch((error: unknown) => this.#fail(error));
    }
    for (const { sequence, disk } of stored) {
      if (this.#frames.delete(sequence)) this.#events.stored(sequence, disk ? 'disk' : 'memory');
    }
    if (refused.length === 0) return;
    for (const sequence of refused) this.#frames.delete(sequence);
    this.#events.refused(refused, (free?.memory ?? 0) + (free?.disk ?? 0));
  }

  async #send(stream: PeerStream): Promise<void> {
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
    if (this.#over) return;
    this.#over = true;
    const failure = asHedgeError(error, 'MEMBER_UNREACHABLE');
    this.#stream?.cancel(failure);
    this.#events.failed(failure);
  }
}
