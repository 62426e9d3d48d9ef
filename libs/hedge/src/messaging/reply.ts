import { Encoding, type Failure, type Reply } from '../transport/wire/hedge/v1/link.js';
import type { Encoded } from './message.js';

const NO_BYTES = new Uint8Array(0);

export function successReply(sequence: number, { encoding, bytes }: Encoded): Reply {
  return { sequence, encoding, payload: bytes, failure: undefined };
}

export function failureReply(sequence: number, failure: Failure): Reply {
  return { sequence, encoding: Encoding.ENCODING_NONE, payload: NO_BYTES, failure };
}
