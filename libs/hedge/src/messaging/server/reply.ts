import type { Failure, Reply } from '../../wire/hedge/v1/link.js';
import { NO_PAYLOAD, type Encoded } from '../message.js';

export function successReply(sequence: number, { encoding, bytes }: Encoded): Reply {
  return { sequence, encoding, payload: bytes, failure: undefined };
}

export function failureReply(sequence: number, failure: Failure): Reply {
  const { encoding, bytes } = NO_PAYLOAD;
  return { sequence, encoding, payload: bytes, failure };
}
