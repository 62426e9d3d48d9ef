import { HedgeError } from '../../common/errors.js';
import type { PeerStream } from '../../transport/streams/peer-stream.js';
import { SpillAnswer, SpillOffer, SpillOpening } from '../../wire/hedge/v1/spill.js';

/** What the bytes of a frame begin with, and no encoded message does. */
const FRAME_BEGINS = Buffer.from('HSF1');

/** Whether the message is a frame, as it lies in memory, and not an encoded one. */
export function isFrame(message: Uint8Array): boolean {
  return FRAME_BEGINS.every((byte, at) => message[at] === byte);
}

export function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** The name by which frames and files know the stores of an owner: its incarnation, a UUID, in 32 digits. */
export function storeOf(incarnation: string): string {
  return incarnation.replaceAll('-', '');
}

interface Decoder<Message> {
  decode(bytes: Uint8Array): Message;
}

/** @throws HedgeError INVALID_ARGUMENT when the bytes are not such a message: the peer's fault, which ends its stream */
export function decoded<Message>(decoder: Decoder<Message>, bytes: Uint8Array, from: string): Message {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw breach(from, 'sent a message that cannot be read', cause);
  }
}

/** Gives each message of the stream to `take`. What that throws cancels the stream, so that the peer hears why. */
export async function eachMessage(stream: PeerStream, take: (message: Uint8Array) => void): Promise<void> {
  for await (const message of stream) {
    try {
      take(message);
    } catch (error) {
      stream.cancel(error as HedgeError);
      throw error;
    }
  }
}

/** A peer that does not keep the protocol of spill streams. */
export function breach(from: string, what: string, cause?: unknown): HedgeError {
  return new HedgeError(
    'INVALID_ARGUMENT',
    `The stream of spilled frames with ${from} was ended: it ${what}. Run the same version of nestjs-hedge on all pods.`,
    { cause },
  );
}

export function encodeOpening(wish: NonNullable<SpillOpening['wish']>): Uint8Array {
  return SpillOpening.encode({ wish }).finish();
}

export function encodeOffer(sequence: number, bytes: number): Uint8Array {
  return SpillOffer.encode({ sequence, bytes }).finish();
}

export function encodeAnswer(answer: Partial<SpillAnswer>): Uint8Array {
  return SpillAnswer.encode({ accepted: [], refused: [], stored: [], free: undefined, ...answer }).finish();
}
