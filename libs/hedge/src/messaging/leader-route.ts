import { HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';

/** The leader and its term, as far as this process knows. */
export interface LeaderBelief {
  readonly leader: MemberId;
  /** The lease token of that leader: the term. */
  readonly epoch: bigint;
  /** True when the leader is this very process. */
  readonly self: boolean;
}

/** The election, as routing uses it. `LeaderElector` implements it. */
export interface LeaderRoute {
  /** The leader as far as known; undefined while there is none. For `self` the lease is valid now (L2). */
  current(): LeaderBelief | undefined;
  /** Why the election cannot ask the database now, for messages; undefined when it can. */
  readonly trouble?: string | undefined;
  /** True once this process stops and will not lead again. */
  readonly stopped?: boolean;
  /** True while this process holds the lease of that term, judged now and locally (L2). */
  leads(epoch: bigint): boolean;
  /**
   * Reads the lease from the backend soon: concurrent calls share a read. Resolves when it was read or
   * when that failed. A hint from a peer is only ever a reason to read (a forged epoch changes nothing).
   */
  refresh(): Promise<void>;
  /** Calls back after every change of `current()`. Returns the way to stop. */
  onChange(listener: () => void): () => void;
}

/** The reply to leader work that this member has not started. The caller may send it to the leader. */
export function notLeading(): HedgeError {
  return new HedgeError('NOT_LEADER', 'This pod does not lead, or is handing leadership over');
}
