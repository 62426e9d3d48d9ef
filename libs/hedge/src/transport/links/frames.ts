import type { FrameBody } from '../transport.js';
import { type Reply, RequestKind } from '../../wire/hedge/v1/link.js';

type Side = 'caller' | 'receiver';

/** Who may send what after the handshake: of the two sides of a link, the caller dialled it. */
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
  leave: ['caller', 'receiver'],
  leaderReleased: ['caller', 'receiver'],
  lockReleased: ['caller', 'receiver'],
};

/** Whether a peer that keeps the protocol can have sent this frame on a link of that direction. */
export function mayArrive(body: FrameBody, direction: 'dialled' | 'accepted'): boolean {
  return SENDERS[body.$case].includes(direction === 'accepted' ? 'caller' : 'receiver');
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

const USER_REQUESTS: ReadonlySet<RequestKind> = new Set([
  RequestKind.REQUEST_KIND_LEADER_MESSAGE,
  RequestKind.REQUEST_KIND_BROADCAST,
  RequestKind.REQUEST_KIND_KV_PUT,
]);

/** Whether it carries what users send, rather than what keeps members, permits and spilled data alive. */
export function isUserTraffic(body: FrameBody): boolean {
  if (body.$case === 'request') return USER_REQUESTS.has(body.value.kind);
  return body.$case === 'reply';
}

const FIXED_FIELDS = 96;
const MEMBER = 160;

/** About what a frame takes on the wire: what the bound of the outbound queue counts. Cheap, never zero. */
export function frameBytes(body: FrameBody): number {
  const more = body.$case === 'view' ? body.value.members.length * MEMBER : contentBytes(body);
  return FIXED_FIELDS + more + (body.$case === 'request' ? body.value.topic.length : 0);
}
