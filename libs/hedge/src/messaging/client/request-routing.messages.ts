import type { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import type { Reply } from '../../wire/hedge/v1/link.js';
import type { ClientCall } from './client-call.js';

export type RoutingInput<C extends ClientCall> =
  | { readonly type: 'begin'; readonly call: C }
  /** The leader that the backend has confirmed; undefined when there is none. */
  | { readonly type: 'leader'; readonly leader: MemberId | undefined; readonly epoch: bigint }
  /** A `refresh` effect has ended. If the leader changed, a `leader` input precedes this one. */
  | { readonly type: 'refreshed' }
  /** A dialled link to the member is open. `resumed` has the value of the handshake. */
  | { readonly type: 'linked'; readonly member: MemberId; readonly resumed: boolean }
  | { readonly type: 'unlinked'; readonly member: MemberId }
  /** A `dial` effect failed. The error has `details.incarnation` if another incarnation answers at that address. */
  | { readonly type: 'dial-failed'; readonly member: MemberId; readonly error: HedgeError }
  | { readonly type: 'replied'; readonly member: MemberId; readonly reply: Reply }
  /** A `transmit` effect failed, because the queue is full or the message is too large. */
  | { readonly type: 'not-transmitted'; readonly call: C; readonly error: HedgeError }
  /** The caller has cancelled the call. */
  | { readonly type: 'abandoned'; readonly call: C; readonly reason: unknown }
  /** The member has left the view. */
  | { readonly type: 'departed'; readonly member: MemberId }
  /** Time has passed. The runner passes this input every few milliseconds while `size` is above 0. */
  | { readonly type: 'tick' }
  | { readonly type: 'close'; readonly error: HedgeError };

export type RoutingEffect<C extends ClientCall> =
  /** Write the call with its `sequence`, `attempt` and `epoch` to the open link. If the member is this pod, run it. */
  | { readonly type: 'transmit'; readonly member: MemberId; readonly call: C }
  | { readonly type: 'cancel'; readonly member: MemberId; readonly sequence: number }
  | { readonly type: 'dial'; readonly member: MemberId }
  | { readonly type: 'refresh' }
  /** For the log: that leader was lost while the call may have run on it. `again`: the call goes to the next leader. */
  | { readonly type: 'leader-lost'; readonly call: C; readonly leader: MemberId; readonly again: boolean }
  | { readonly type: 'resolve'; readonly call: C; readonly reply: Reply }
  | { readonly type: 'reject'; readonly call: C; readonly error: unknown };
