import type { HedgeError } from '../../common/errors.js';
import type { PeerStream } from '../../transport/streams/peer-stream.js';
import { SpillWant } from '../../wire/hedge/v1/spill.js';
import type { BufferLease, LoadedFrame, SpillPart } from '../node/storage.js';
import { stampChecksum } from '../records/frame.js';
import { decoded, eachMessage, protocolError } from './messages.js';

/** Frames that an owner may request at once: far more than a reader reads ahead. */
const MAX_REQUESTED = 256;

/**
 * The holder's side of a read stream; `FrameReadClient` is the other side. It sends the requested frames in the order
 * of the requests, and reads the next frame while one is being sent. A frame that it cannot read fails the stream
 * with the reason.
 */
export class FrameReadServer {
  readonly #requested: number[] = [];
  /** Leases of frames that were written to the stream and may not have been sent. */
  readonly #leases = new Set<BufferLease>();
  #sending: Promise<void> | undefined;

  constructor(
    private readonly stream: PeerStream,
    private readonly part: SpillPart,
  ) {}

  /** Serves the stream until the owner ends its side. @throws HedgeError the error of the stream */
  async run(): Promise<void> {
    const { stream } = this;
    try {
      await eachMessage(stream, (message) => this.#receive(decoded(SpillWant, message, stream.peer.address)));
      await this.#sending;
      stream.end();
    } finally {
      // The bytes may still wait in the socket.
      for (const lease of this.#leases) lease.detach();
    }
  }

  #receive({ sequences }: SpillWant): void {
    const { stream } = this;
    if (this.#requested.length + sequences.length > MAX_REQUESTED) {
      throw protocolError(stream.peer.address, `requested more than ${MAX_REQUESTED} frames at once`);
    }
    this.#requested.push(...sequences);
    if (this.#requested.length === 0) return;
    // `fail` lets the owner read the frames that were sent before.
    this.#sending ??= this.#sendRequested().catch((error: unknown) => stream.fail(error as HedgeError));
  }

  async #sendRequested(): Promise<void> {
    const { stream, part } = this;
    let ahead: Promise<LoadedFrame> | undefined;
    while (this.#requested.length > 0 || ahead !== undefined) {
      const current = ahead ?? part.read(this.#requested.shift() as number, stream.signal);
      const next = this.#requested.shift();
      ahead = next === undefined ? undefined : part.read(next, stream.signal);
      // Its failure counts only when the frame is the next to be sent.
      ahead?.catch(() => undefined);
      try {
        await this.#send(await current);
      } catch (error) {
        await ahead?.then(
          ({ lease }) => lease.release(),
          () => undefined,
        );
        throw error;
      }
    }
    this.#sending = undefined;
  }

  async #send(frame: LoadedFrame): Promise<void> {
    const { bytes, lease } = frame;
    stampChecksum(frame);
    this.#leases.add(lease);
    try {
      await this.stream.write(bytes, () => {
        this.#leases.delete(lease);
        lease.release();
      });
    } catch (error) {
      lease.detach();
      throw error;
    }
  }
}
