import type { RequestKind } from '../wire/hedge/v1/link.js';
import { destinationOf } from './topics.js';

/** A type of request. The feature that serves the type defines it, so that messaging knows no feature. */
export interface RequestType {
  /** The number of the type on the wire. */
  readonly kind: RequestKind;
  /** The label `kind` of metrics. */
  readonly name: string;
  /** `leader`: the request runs only while this process leads. `member`: it runs on any member. */
  readonly runsAt: 'leader' | 'member';
  /**
   * Whether a pod accepts the request during its drain. A leader drains before it releases the lease, a member before it
   * stops. The drain waits for the requests that the pod accepted before the drain.
   */
  readonly duringDrain: 'refused' | 'accepted' | 'accepted from this pod';
  /**
   * The pool of slots and bytes that the request uses, on the calling pod and on the serving pod. Types with the same
   * name share a pool. A type with its own pool still runs while app handlers or waiting callers fill another pool.
   */
  readonly slots: string;
  /**
   * Whether it may use the room of a link that is reserved behind a full queue of user traffic. True for requests that
   * keep permits or spilled data alive.
   */
  readonly mayUseReserve: boolean;
}

/** The pool of requests that run handlers of the app. In this pool, each topic gets a share of the slots. */
export const HANDLER_SLOTS = 'handlers';

/** Whether requests of this type run handlers of the app. */
export function runsHandlers({ slots }: RequestType): boolean {
  return slots === HANDLER_SLOTS;
}

/** The topic of a handler, for the label of metrics. Any text can be the topic of a message that no handler runs. */
export function topicLabel(type: RequestType, topic: string, code: string): string | undefined {
  return runsHandlers(type) && code !== 'NO_HANDLER' && code !== 'INVALID_ARGUMENT' ? destinationOf(topic) : undefined;
}
