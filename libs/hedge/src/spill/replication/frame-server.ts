import type { HedgeError } from '../../common/errors.js';
import type { PeerStream } from '../../transport/streams/peer-stream.js';
import { SpillWant } from '../../wire/hedge/v1/spill.js';
import type { LoadedFrame, BufferLease, SpillPart } from '../node/storage.js';
import { stampChecksum } from '../records/frame.js';
import { breach, decoded, eachMessage } from './messages.js';

/** Frames that an owner may want at once: far more than it reads ahead. */
const MAX_WANTED = 256;

/**
 * The end of a read stream at the member that holds the frames: sends what is wanted in that order, reading the
 * next frame while one is on its way. The first that it has not got ends the stream with that error.
 */
export async function serveFrames(stream: PeerStream, part: SpillPart): Promise<void> {
  const wanted: number[] = [];
  /** Of frames that were written and may not have left. */
  const loans = new Set<BufferLease>();
  let sending: Promise<void> | undefined;
  const send = async (): Promise<void> => {
    let ahead: Promise<LoadedFrame> | undefined;
    while (wanted.length > 0 || ahead !== undefined) {
      const current = ahead ?? part.read(wanted.shift() as number, stream.signal);
      const next = wanted.shift();
      ahead = next === undefined ? undefined : part.read(next, stream.signal);
      // Looked at when its turn comes, or not at all.
      ahead?.catch(() => undefined);
      try {
        await pass(stream, await current, loans);
      } catch (error) {
        await ahead?.then(
          ({ loan }) => loan.release(),
          () => undefined,
        );
        throw error;
      }
    }
    sending = undefined;
  };
  try {
    await eachMessage(stream, (message) => {
      const { sequences } = decoded(SpillWant, message, stream.peer.address);
      if (wanted.length + sequences.length > MAX_WANTED) {
        throw breach(stream.peer.address, `wanted more than ${MAX_WANTED} frames at once`);
      }
      wanted.push(...sequences);
      if (wanted.length === 0) return;
      // What was sent before is to be read still.
      sending ??= send().catch((error: unknown) => stream.fail(error as HedgeError));
    });
    await sending;
    stream.end();
  } finally {
    // The bytes may still wait in the socket.
    for (const loan of loans) loan.detach();
  }
}

async function pass(stream: PeerStream, frame: LoadedFrame, loans: Set<BufferLease>): Promise<void> {
  const { bytes, loan } = frame;
  stampChecksum(frame);
  loans.add(loan);
  try {
    await stream.write(bytes, () => {
      loans.delete(loan);
      loan.release();
    });
  } catch (error) {
    loan.detach();
    throw error;
  }
}
