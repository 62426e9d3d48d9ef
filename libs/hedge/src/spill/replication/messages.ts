import { HedgeError } from '../../common/errors.js';
import type { PeerStream } from '../../transport/streams/peer-stream.js';
import { SpillAnswer, SpillOffer, SpillOpening } from '../../wire/hedge/v1/spill.js';

/** The first bytes of a frame. No encoded message starts with them. */
const FRAME_MAGIC = Buffer.from('HSF1');

/** Whether the message is a frame as it lies in memory, not an encoded message. */
export function isFrame(message: Uint8Array): boolean {
  return FRAME_MAGIC.every((byte, at) => message[at] === byte);
}

export function asBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

interface Decoder<Message> {
  decode(bytes: Uint8Array): Message;
}

/** @throws HedgeError INVALID_ARGUMENT when the bytes are no such message; the peer made a mistake, and its stream ends */
export function decoded<Message>(decoder: Decoder<Message>, bytes: Uint8Array, from: string): Message {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw protocolError(from, 'sent a message that cannot be read', cause);
  }
}

/** Calls `handle` for each message of the stream. If `handle` throws, the stream is cancelled with that error. */
export async function eachMessage(stream: PeerStream, handle: (message: Uint8Array) => void): Promise<void> {
  for await (const message of stream) {
    try {
      handle(message);
    } catch (error) {
      stream.cancel(error as HedgeError);
      throw error;
    }
  }
}

/** The peer violated the protocol of spill streams. @param what the verb phrase of the sentence "it …" */
export function protocolError(peer: string, what: string, cause?: unknown): HedgeError {
  return new HedgeError(
    'INVALID_ARGUMENT',
    `The stream of spilled frames with ${peer} was ended: it ${what}. Run the same version of nestjs-hedge on all pods.`,
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
