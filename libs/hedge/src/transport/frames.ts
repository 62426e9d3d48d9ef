import type { FrameBody } from './transport.js';
import type { Reply } from './wire/hedge/v1/link.js';

/** After the handshake: what a receiver may hear from a caller. */
const FROM_CALLER: ReadonlySet<FrameBody['$case']> = new Set([
  'request',
  'cancel',
  'heartbeat',
  'view',
  'leave',
  'leaderReleased',
]);

/** After the handshake: what a caller may hear from a receiver. */
const FROM_RECEIVER: ReadonlySet<FrameBody['$case']> = new Set([
  'reply',
  'heartbeat',
  'view',
  'leave',
  'leaderReleased',
]);

/** Whether a peer that keeps the protocol can have sent this frame on a link of that direction. */
export function mayArrive(body: FrameBody, direction: 'dialled' | 'accepted'): boolean {
  return (direction === 'accepted' ? FROM_CALLER : FROM_RECEIVER).has(body.$case);
}

/** Bytes that users put into a frame: what `maxMessageBytes` limits, or their handlers' failures do. */
export function contentBytes(body: FrameBody): number {
  if (body.$case === 'request') return body.value.payload.byteLength;
  return body.$case === 'reply' ? replyBytes(body.value) : 0;
}

/** Those of a reply. */
export function replyBytes({ payload, failure }: Reply): number {
  return payload.byteLength + (failure ? Buffer.byteLength(failure.message) + Buffer.byteLength(failure.details) : 0);
}

const FIXED_FIELDS = 96;
const MEMBER = 160;

/** About what a frame takes on the wire: what the bound of the outbound queue counts. Cheap, never zero. */
export function frameBytes(body: FrameBody): number {
  const more = body.$case === 'view' ? body.value.members.length * MEMBER : contentBytes(body);
  return FIXED_FIELDS + more + (body.$case === 'request' ? body.value.topic.length : 0);
}
