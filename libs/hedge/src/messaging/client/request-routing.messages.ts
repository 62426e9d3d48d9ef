import type { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import type { Reply } from '../../wire/hedge/v1/link.js';
import type { ClientCall } from './client-call.js';

export type RoutingInput<C extends ClientCall> =
  | { readonly type: 'begin'; readonly call: C }
  /** Who leads, confirmed by the backend; without a leader when nobody does. */
  | { readonly type: 'leader'; readonly leader: MemberId | undefined; readonly epoch: bigint }
  /** A `refresh` effect is done; a `leader` input came before this one if anything changed. */
  | { readonly type: 'refreshed' }
  /** A dialled link to the member is open. `resumed` as in the handshake. */
  | { readonly type: 'linked'; readonly member: MemberId; readonly resumed: boolean }
  | { readonly type: 'unlinked'; readonly member: MemberId }
  /** A `dial` effect failed; with `details.incarnation` when another process start answers there. */
  | { readonly type: 'dial-failed'; readonly member: MemberId; readonly error: HedgeError }
  | { readonly type: 'replied'; readonly member: MemberId; readonly reply: Reply }
  /** A `transmit` effect was not performed: the queue is full, or the message too large. */
  | { readonly type: 'not-transmitted'; readonly call: C; readonly error: HedgeError }
  /** The caller does not want it any more. */
  | { readonly type: 'abandoned'; readonly call: C; readonly reason: unknown }
  /** The member is in the view no more. */
  | { readonly type: 'departed'; readonly member: MemberId }
  /** Time has passed: to be given every few milliseconds while `size` is above 0. */
  | { readonly type: 'tick' }
  | { readonly type: 'close'; readonly error: HedgeError };

export type RoutingEffect<C extends ClientCall> =
  /** Write the call (its `sequence`, `attempt` and `epoch`) to the open link; or run it, when the member is this one. */
  | { readonly type: 'transmit'; readonly member: MemberId; readonly call: C }
  | { readonly type: 'cancel'; readonly member: MemberId; readonly sequence: number }
  | { readonly type: 'dial'; readonly member: MemberId }
  | { readonly type: 'refresh' }
  /** For the log: the call may have run there when that leader was lost. It goes to the next one, or has ended. */
  | { readonly type: 'leader-lost'; readonly call: C; readonly leader: MemberId; readonly again: boolean }
  | { readonly type: 'resolve'; readonly call: C; readonly reply: Reply }
  | { readonly type: 'reject'; readonly call: C; readonly error: unknown };
