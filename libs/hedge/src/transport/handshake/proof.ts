import { createHmac, timingSafeEqual } from 'node:crypto';
import type { StreamKind } from '../streams/message-stream.js';
import type { Challenge, Hello } from '../../wire/hedge/v1/link.js';

/**
 * The side that proves itself, and the kind of stream. The proof covers both: so a proof sent back to its maker is invalid
 * (reflection), and a proof for a link opens no other stream.
 */
export type Role = `${StreamKind}/v1/${'caller' | 'receiver'}`;

/**
 * HMAC-SHA-256 (RFC 2104) with the group secret over the role and every field of Hello and Challenge except the proof
 * itself. It covers both nonces, so a proof is invalid in another handshake. It covers both addresses and incarnations,
 * so a proof is invalid for another member.
 */
export function prove(role: Role, secret: Uint8Array, hello: Hello, challenge: Omit<Challenge, 'proof'>): Buffer {
  const hmac = createHmac('sha256', secret);
  const fields: readonly (string | Uint8Array)[] = [
    `hedge/${role}`,
    uint32(hello.protocol),
    hello.group,
    hello.address,
    hello.incarnation,
    hello.nonce,
    uint32(hello.generation),
    hello.receiver,
    challenge.address,
    challenge.incarnation,
    challenge.nonce,
  ];
  for (const field of fields) {
    const bytes = typeof field === 'string' ? Buffer.from(field) : field;
    // The length first: otherwise 'ab' + 'c' and 'a' + 'bc' would have the same HMAC.
    hmac.update(uint32(bytes.byteLength)).update(bytes);
  }
  return hmac.digest();
}

/** Verifies a proof in constant time, so that the delay reveals nothing about the correct proof. */
export function proves(
  proof: Uint8Array,
  role: Role,
  secret: Uint8Array,
  hello: Hello,
  challenge: Omit<Challenge, 'proof'>,
): boolean {
  const right = prove(role, secret, hello, challenge);
  return proof.byteLength === right.byteLength && timingSafeEqual(proof, right);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
