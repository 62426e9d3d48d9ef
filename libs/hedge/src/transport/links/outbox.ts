import { BinaryWriter } from '@bufbuild/protobuf/wire';
import type { Clock } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import { contentBytes, frameBytes, isLibraryTraffic } from './frames.js';
import type { MessageStream } from '../streams/message-stream.js';
import type { FrameBody } from '../transport.js';
import { Envelope } from '../../wire/hedge/v1/link.js';

export interface OutboxLimits {
  /** A frame with more bytes of payload is rejected. */
  readonly maxMessageBytes: number;
  /**
   * Bytes of frames that are queued and not yet passed to the network. A frame that would exceed the limit is rejected.
   * Heartbeats, renewals and other traffic of the library may use `RESERVED_BYTES` more.
   */
  readonly maxQueuedBytes: number;
}

/**
 * Size at which an envelope is full and the next begins. With 10 kB payloads, 64 KiB was slower and 1 MiB not faster;
 * in a smaller envelope, frames do not wait behind a long write.
 */
const ENVELOPE_BYTES = 256 * 1024;
/** Room behind a full queue of user traffic: the largest renewal of permits has about 400 KB. */
const RESERVED_BYTES = 1024 * 1024;
/** Acknowledgements leave without frames when no frame was sent for this long, or when this many wait. */
const ACKNOWLEDGE_AFTER_MS = 1_000;
const ACKNOWLEDGE_AT = 1_024;
const BYTES_PER_ACKNOWLEDGEMENT = 8;

/**
 * The outbound queue of a link. Frames queued in one turn of the event loop leave as one message. This makes a link
 * several times faster than one message for each frame; the cost of encoding hardly matters.
 */
export class Outbox {
  readonly #writer = new BinaryWriter();
  #acknowledged: number[] = [];
  #cancelAcknowledgeTimer: (() => void) | undefined;
  /** Bytes of the frames in `writer`. */
  #batchBytes = 0;
  #envelopes: { message: Uint8Array; weight: number }[] = [];
  #queuedBytes = 0;
  #flushing = false;
  #congested = false;
  #stopped = false;

  constructor(
    private readonly peer: string,
    private readonly stream: MessageStream,
    private readonly limits: OutboxLimits,
    private readonly clock: Clock,
    /** Runs a function at the end of this turn of the event loop. */
    private readonly defer: (run: () => void) => void,
  ) {}

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /**
   * @param mayUseReserve whether the frame may use the reserved room
   * @throws HedgeError OVERLOADED or PAYLOAD_TOO_LARGE. The frame was not queued then.
   */
  push(body: FrameBody, mayUseReserve = isLibraryTraffic(body)): void {
    const content = contentBytes(body);
    if (content > this.limits.maxMessageBytes) {
      throw new HedgeError(
        'PAYLOAD_TOO_LARGE',
        `A ${body.$case} of ${content} bytes to ${this.peer} is over the limit of ${this.limits.maxMessageBytes} bytes. ` +
          'Send less at once, or raise `limits.maxMessageBytes` on all pods',
        { details: { bytes: content, limit: this.limits.maxMessageBytes } },
      );
    }
    const weight = frameBytes(body);
    const room = this.limits.maxQueuedBytes + (mayUseReserve ? RESERVED_BYTES : 0);
    if (this.#queuedBytes + weight > room) {
      throw new HedgeError(
        'OVERLOADED',
        `A ${body.$case} to ${this.peer} was not sent: ${this.#queuedBytes} bytes are queued, and ${weight} more would exceed ` +
          `the limit of ${this.limits.maxQueuedBytes}. Send more slowly, or find out why ${this.peer} reads slowly`,
        { details: { queuedBytes: this.#queuedBytes, limit: this.limits.maxQueuedBytes } },
      );
    }
    if (this.#batchBytes > 0 && this.#batchBytes + weight > ENVELOPE_BYTES) this.#seal();
    Envelope.encode({ frames: [{ body }], acknowledged: [] }, this.#writer);
    this.#batchBytes += weight;
    this.#queuedBytes += weight;
    this.#flushSoon();
  }

  acknowledge(sequence: number): void {
    if (this.#acknowledged.push(sequence) >= ACKNOWLEDGE_AT) {
      if (this.#congested) this.#seal();
      else this.#flushSoon();
    } else this.#cancelAcknowledgeTimer ??= this.clock.after(ACKNOWLEDGE_AFTER_MS, () => this.#flush());
  }

  drained(): void {
    this.#congested = false;
    this.#flush();
  }

  /** Writes all queued frames, even while the stream is congested: the stream ends next. */
  finish(): void {
    if (this.#stopped) return;
    this.#seal();
    for (const { message } of this.#envelopes) this.stream.write(message, () => undefined);
    this.stop();
  }

  /** Drops all queued frames. */
  stop(): void {
    this.#stopped = true;
    this.#envelopes = [];
    this.#cancelAcknowledgeTimer?.();
  }

  #flushSoon(): void {
    if (this.#flushing || this.#congested) return;
    this.#flushing = true;
    this.defer(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#stopped || this.#congested) return;
    this.#seal();
    let written = 0;
    for (const { message, weight } of this.#envelopes) {
      written += 1;
      const room = this.stream.write(message, () => {
        this.#queuedBytes -= weight;
      });
      if (!room) {
        this.#congested = true;
        break;
      }
    }
    this.#envelopes.splice(0, written);
  }

  /** Closes the current envelope: its frames and all waiting acknowledgements. */
  #seal(): void {
    let weight = this.#batchBytes;
    if (this.#acknowledged.length > 0) {
      weight += this.#acknowledged.length * BYTES_PER_ACKNOWLEDGEMENT;
      this.#queuedBytes += this.#acknowledged.length * BYTES_PER_ACKNOWLEDGEMENT;
      Envelope.encode({ frames: [], acknowledged: this.#acknowledged }, this.#writer);
      this.#acknowledged = [];
      this.#cancelAcknowledgeTimer?.();
      this.#cancelAcknowledgeTimer = undefined;
    }
    if (weight === 0) return;
    this.#envelopes.push({ message: this.#writer.finish(), weight });
    this.#batchBytes = 0;
  }
}
