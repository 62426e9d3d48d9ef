import type { Clock } from '../../common/clock.js';
import { asHedgeError, HedgeError } from '../../common/errors.js';
import type { PeerStream } from '../../transport/streams/peer-stream.js';
import { SpillWant } from '../../wire/hedge/v1/spill.js';
import { readFrame, type SpillFrame } from '../records/frame.js';
import { breach, bufferOf, eachMessage } from './messages.js';

interface Wanted {
  readonly sequence: number;
  resolve(frame: SpillFrame): void;
  reject(error: HedgeError): void;
}

export interface FrameFetcherOptions {
  readonly stream: Promise<PeerStream>;
  /** Frames of other stores, or of another epoch, are refused. */
  readonly store: string;
  readonly epoch: number;
  readonly clock: Clock;
  /** A member that owes a frame for so long is given up. */
  readonly stallMs: number;
}

/** The owner's end of a read stream to one member that holds frames. Once failed, it is of no use any more. */
export class FrameFetcher {
  readonly #options: FrameFetcherOptions;
  readonly #wanted: Wanted[] = [];
  #stream: PeerStream | undefined;
  #failure: HedgeError | undefined;
  #missing: number | undefined;
  #cancelStall: () => void = () => undefined;

  constructor(options: FrameFetcherOptions) {
    this.#options = options;
    this.#run().catch((error: unknown) => this.#fail(error));
  }

  get failed(): boolean {
    return this.#failure !== undefined;
  }

  /** The frame that the member has not, or not as it was: the stream failed with that one, whatever else was wanted. */
  get missing(): number | undefined {
    return this.#missing;
  }

  /** @throws HedgeError SPILL_LOST, SPILL_CORRUPT, SPILL_UNKNOWN, or what the stream failed with */
  fetch(sequence: number): Promise<SpillFrame> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#wanted.push({ sequence, resolve, reject });
      if (this.#wanted.length === 1) this.#watch();
      if (this.#stream !== undefined) this.#want(this.#stream, [sequence]);
    });
  }

  close(): void {
    this.#fail(new HedgeError('SHUTTING_DOWN', 'The reader of the spill store does not want this stream any more'));
  }

  async #run(): Promise<void> {
    const stream = await this.#options.stream;
    if (this.#failure !== undefined) return stream.cancel(this.#failure);
    this.#stream = stream;
    if (this.#wanted.length > 0) {
      this.#want(
        stream,
        this.#wanted.map(({ sequence }) => sequence),
      );
    }
    await eachMessage(stream, (message) => this.#take(stream, readFrame(bufferOf(message))));
    throw breach(stream.peer.address, 'ended its side');
  }

  #want(stream: PeerStream, sequences: number[]): void {
    stream.write(SpillWant.encode({ sequences }).finish()).catch((error: unknown) => this.#fail(error));
  }

  #take(stream: PeerStream, frame: SpillFrame): void {
    const { store, epoch } = this.#options;
    const { header } = frame;
    const wanted = this.#wanted[0];
    if (wanted?.sequence !== header.sequence || header.store !== store || header.epoch !== epoch) {
      throw breach(stream.peer.address, `sent frame ${header.sequence}, which is not the one that was wanted`);
    }
    this.#wanted.shift();
    this.#watch();
    wanted.resolve(frame);
  }

  /** From now on, the next frame is due. */
  #watch(): void {
    const { clock, stallMs } = this.#options;
    this.#cancelStall();
    if (this.#wanted.length === 0) return;
    this.#cancelStall = clock.after(stallMs, () => {
      this.#fail(new HedgeError('MEMBER_UNREACHABLE', `It sent no frame for ${stallMs} ms`));
    });
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = asHedgeError(error, 'MEMBER_UNREACHABLE');
    const { code } = this.#failure;
    if (code === 'SPILL_LOST' || code === 'SPILL_CORRUPT') this.#missing = this.#wanted[0]?.sequence;
    this.#cancelStall();
    this.#stream?.cancel(this.#failure);
    for (const { reject } of this.#wanted.splice(0)) reject(this.#failure);
  }
}
