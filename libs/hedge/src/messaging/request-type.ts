import type { RequestKind } from '../wire/hedge/v1/link.js';

/** A type of request. The feature that serves it describes it, so that messaging knows no feature. */
export interface RequestType {
  /** Its number on the wire. */
  readonly kind: RequestKind;
  /** `leader`: it runs only where, and while, this process leads. `member`: it runs at every member. */
  readonly runsAt: 'leader' | 'member';
  /**
   * Whether a pod accepts it during its drain: as a leader before it releases the lease, as a member before it stops.
   * The drain waits for the requests that were accepted before.
   */
  readonly duringDrain: 'refused' | 'accepted' | 'accepted from this pod';
  /**
   * The pool of slots and bytes that it uses, at its caller and where it runs. Types with the same name share a pool. A
   * pool of its own keeps a type running while handlers of the app, or callers that wait, have filled another pool.
   */
  readonly slots: string;
}

/** The pool of requests that run handlers of the app. There, each topic gets a share of the slots. */
export const HANDLER_SLOTS = 'handlers';

/** Whether requests of this type run handlers of the app. */
export function runsHandlers({ slots }: RequestType): boolean {
  return slots === HANDLER_SLOTS;
}
