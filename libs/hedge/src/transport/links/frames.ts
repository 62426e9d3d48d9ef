import type { FrameBody } from '../transport.js';
import { Envelope, type Reply } from '../../wire/hedge/v1/link.js';

/** Encodes a message of the handshake: an envelope with exactly one frame. */
export function encodeFrame(body: FrameBody): Uint8Array {
  return Envelope.encode({ frames: [{ body }], acknowledged: [] }).finish();
}

/** Decodes a message of the handshake. Returns undefined when it is not an envelope with exactly one frame. */
export function decodeFrame(message: Uint8Array): FrameBody | undefined {
  try {
    const { frames, acknowledged } = Envelope.decode(message);
    return frames.length === 1 && acknowledged.length === 0 ? frames[0]?.body : undefined;
  } catch {
    return undefined;
  }
}

type Side = 'caller' | 'receiver';

/** The sides that may send each kind of frame after the handshake. The caller is the side that dialled the link. */
const SENDERS: Readonly<Record<FrameBody['$case'], readonly Side[]>> = {
  hello: [],
  challenge: [],
  proof: [],
  welcome: [],
  refusal: [],
  request: ['caller'],
  reply: ['receiver'],
  cancel: ['caller'],
  heartbeat: ['caller', 'receiver'],
  view: ['caller', 'receiver'],
  viewChanges: ['caller', 'receiver'],
  leave: ['caller', 'receiver'],
  leaderReleased: ['caller', 'receiver'],
  lockReleased: ['caller', 'receiver'],
  lockWaiting: ['caller'],
  lockQueued: ['caller', 'receiver'],
  leaseRenewed: ['receiver'],
};

/** Whether the protocol allows the peer to send this frame on a link of this direction. */
export function mayArrive(body: FrameBody, direction: 'dialled' | 'accepted'): boolean {
  return SENDERS[body.$case].includes(direction === 'accepted' ? 'caller' : 'receiver');
}

/** The bytes of a frame that come from users: payloads, which `maxMessageBytes` limits, and failures of handlers. */
export function contentBytes(body: FrameBody): number {
  if (body.$case === 'request') return body.value.payload.byteLength;
  return body.$case === 'reply' ? replyBytes(body.value) : 0;
}

/** As `contentBytes`, for a reply. */
export function replyBytes({ payload, failure }: Reply): number {
  return payload.byteLength + (failure ? Buffer.byteLength(failure.message) + Buffer.byteLength(failure.details) : 0);
}

/** Whether the frame keeps members connected. Requests and replies do not, unless their sender says so. */
export function isLibraryTraffic(body: FrameBody): boolean {
  return body.$case !== 'request' && body.$case !== 'reply';
}

const FIXED_FIELDS = 96;
const MEMBER = 160;

/** The approximate size of a frame on the wire, which the outbound queue counts. Cheap to compute, never zero. */
export function frameBytes(body: FrameBody): number {
  return FIXED_FIELDS + membersIn(body) * MEMBER + contentBytes(body) + textBytes(body);
}

function textBytes(body: FrameBody): number {
  if (body.$case !== 'request') return 0;
  const { topic, traceparent = '', tracestate = '' } = body.value;
  return topic.length + traceparent.length + tracestate.length;
}

function membersIn(body: FrameBody): number {
  if (body.$case === 'view') return body.value.members.length;
  return body.$case === 'viewChanges' ? body.value.changed.length + body.value.removed.length : 0;
}
