import type { Clock } from '../../common/clock.js';
import { asHedgeError, HedgeError } from '../../common/errors.js';
import type { PeerStream } from '../../transport/streams/peer-stream.js';
import { SpillWant } from '../../wire/hedge/v1/spill.js';
import { readFrame, type SpillFrame } from '../records/frame.js';
import { asBuffer, eachMessage, protocolError } from './messages.js';

interface PendingRead {
  readonly sequence: number;
  resolve(frame: SpillFrame): void;
  reject(error: HedgeError): void;
}

export interface FrameReadClientOptions {
  readonly stream: Promise<PeerStream>;
  /** Frames of another store or epoch fail the stream. */
  readonly store: string;
  readonly epoch: number;
  readonly clock: Clock;
  /** The stream fails when the member sends no pending frame for this time. */
  readonly stallMs: number;
}

/** The owner's side of a read stream; `FrameReadServer` is the other side. A failed one cannot be used again. */
export class FrameReadClient {
  readonly #options: FrameReadClientOptions;
  /** In the order in which the member sends the frames. */
  readonly #pending: PendingRead[] = [];
  #stream: PeerStream | undefined;
  #failure: HedgeError | undefined;
  #missing: number | undefined;
  #cancelStallTimer: () => void = () => undefined;

  constructor(options: FrameReadClientOptions) {
    this.#options = options;
    this.#run().catch((error: unknown) => this.#fail(error));
  }

  get failed(): boolean {
    return this.#failure !== undefined;
  }

  /** The frame that failed the stream, because the member lost it or its copy is corrupt. */
  get missing(): number | undefined {
    return this.#missing;
  }

  /** @throws HedgeError SPILL_LOST, SPILL_CORRUPT, SPILL_UNKNOWN, or the error of the stream */
  read(sequence: number): Promise<SpillFrame> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#pending.push({ sequence, resolve, reject });
      if (this.#pending.length === 1) this.#restartStallTimer();
      if (this.#stream !== undefined) this.#request(this.#stream, [sequence]);
    });
  }

  close(): void {
    this.#fail(new HedgeError('SHUTTING_DOWN', 'The reader of the spilled data has closed this stream'));
  }

  async #run(): Promise<void> {
    const stream = await this.#options.stream;
    if (this.#failure !== undefined) return stream.cancel(this.#failure);
    this.#stream = stream;
    if (this.#pending.length > 0) {
      this.#request(
        stream,
        this.#pending.map(({ sequence }) => sequence),
      );
    }
    await eachMessage(stream, (message) => this.#receive(stream, readFrame(asBuffer(message))));
    throw protocolError(stream.peer.address, 'ended its side of the stream');
  }

  #request(stream: PeerStream, sequences: number[]): void {
    stream.write(SpillWant.encode({ sequences }).finish()).catch((error: unknown) => this.#fail(error));
  }

  #receive(stream: PeerStream, frame: SpillFrame): void {
    const { store, epoch } = this.#options;
    const { header } = frame;
    const next = this.#pending[0];
    if (next?.sequence !== header.sequence || header.store !== store || header.epoch !== epoch) {
      throw protocolError(stream.peer.address, `sent frame ${header.sequence}, which is not the requested one`);
    }
    this.#pending.shift();
    this.#restartStallTimer();
    next.resolve(frame);
  }

  #restartStallTimer(): void {
    const { clock, stallMs } = this.#options;
    this.#cancelStallTimer();
    if (this.#pending.length === 0) return;
    this.#cancelStallTimer = clock.after(stallMs, () => {
      this.#fail(new HedgeError('MEMBER_UNREACHABLE', `It sent no frame for ${stallMs} ms`));
    });
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = asHedgeError(error, 'MEMBER_UNREACHABLE');
    const { code } = this.#failure;
    if (code === 'SPILL_LOST' || code === 'SPILL_CORRUPT') this.#missing = this.#pending[0]?.sequence;
    this.#cancelStallTimer();
    this.#stream?.cancel(this.#failure);
    for (const { reject } of this.#pending.splice(0)) reject(this.#failure);
  }
}
