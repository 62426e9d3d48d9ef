import { HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';

/** Who this process believes leads, and in which term. */
export interface LeaderBelief {
  readonly leader: MemberId;
  /** The lease token of that leader: the term. */
  readonly epoch: bigint;
  /** True when the leader is this very process. */
  readonly self: boolean;
}

/** What routing needs from the election. `LeaderElector` implements it. */
export interface LeaderRoute {
  /** Who leads as far as known; undefined while nobody does. For `self` the lease is valid now (L2). */
  current(): LeaderBelief | undefined;
  /** Why the election cannot ask the database now, for messages; undefined when it can. */
  readonly trouble?: string | undefined;
  /** That this process, which stops, will not lead again. */
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

/** What a member answers to leader work that it has not started: whoever leads may take it. */
export function notLeading(): HedgeError {
  return new HedgeError('NOT_LEADER', 'This pod does not lead, or is handing leadership over');
}
