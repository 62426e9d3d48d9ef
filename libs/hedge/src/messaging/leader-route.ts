import { HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';

/** The leader and its term, as far as this process knows. */
export interface LeaderBelief {
  readonly leader: MemberId;
  /** The lease token of that leader, which identifies the term. */
  readonly epoch: bigint;
  /** True when this process is the leader. */
  readonly self: boolean;
}

/** The part of the election that routing uses. `LeaderElector` implements it. */
export interface LeaderRoute {
  /** The known leader; undefined while none is known. If `self` is true, the lease is valid now (L2). */
  current(): LeaderBelief | undefined;
  /** Why the election cannot read the database now, for error messages; undefined when it can. */
  readonly trouble?: string | undefined;
  /** True after this process has begun to stop. It will not lead again. */
  readonly stopped?: boolean;
  /** True while this process holds the lease of that term. The check is local and uses the present time (L2). */
  leads(epoch: bigint): boolean;
  /**
   * Reads the lease from the backend soon. Concurrent calls share one read. Resolves when the read has succeeded or
   * failed. A hint from a peer only causes a read: the lease decides who leads.
   */
  refresh(): Promise<void>;
  /** Calls the listener after every change of `current()`. Returns a function that removes the listener. */
  onChange(listener: () => void): () => void;
}

/** The reply to leader work that this member has not started. The caller may send the work to the leader. */
export function notLeading(): HedgeError {
  return new HedgeError('NOT_LEADER', 'This pod does not lead, or is handing leadership over');
}
