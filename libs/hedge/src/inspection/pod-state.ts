import type { MemberId } from '../common/identity.js';
import type { Timing } from '../common/timing.js';
import type { HandledState } from '../messaging/server/handler-figures.js';
import type { SemaphoreUse } from '../semaphores/server/semaphore-server.runner.js';

export type { HandledState, HandledKind, TopicFigures } from '../messaging/server/handler-figures.js';

/**
 * The state of one pod at one moment, as plain JSON: tokens are digits, times are ISO 8601 in UTC, durations are
 * milliseconds, sizes are bytes. Each pod of the group answers it about itself: see `InspectionService`.
 *
 * Later versions add properties. A list has at most 500 entries; the count beside it is complete.
 *
 * @example
 * const { role, lease, view } = inspection.state();
 * console.log(role, lease?.leftMs, view?.members.length);
 */
export interface PodState {
  readonly group: string;
  /** The pod that answers. */
  readonly member: MemberId;
  readonly role: 'leader' | 'follower' | 'client';
  /** The version of nestjs-hedge. */
  readonly version: string;
  /** The option `preferNewest.appVersion`. */
  readonly appVersion?: string;
  readonly process: PodProcess;
  /** By the clock of the pod. */
  readonly at: string;
  readonly timing: Timing;
  readonly health: PodHealth;
  /** The leader, as this pod knows it; absent while it knows of none. */
  readonly leader?: LeaderState;
  /** The terms that this pod has seen since its start, the newest first; at most 50. */
  readonly terms: readonly LeaderState[];
  /** The lease of the group; present while this pod leads. */
  readonly lease?: HeldLeaseState;
  /** The last view that this pod has received; absent before the first. */
  readonly view?: ViewState;
  readonly linkCount: number;
  readonly links: readonly LinkState[];
  /** The topics for which this pod has a handler. */
  readonly topics: HandledTopics;
  /** The messages and streams that this pod has handled in the last minutes. */
  readonly handled: HandledState;
  readonly lockCount: number;
  /** The locks that callers of this pod hold or wait for. */
  readonly locks: readonly LockState[];
  readonly semaphoreCount: number;
  /** The semaphores in use, while this pod leads; empty on other pods. */
  readonly semaphores: readonly SemaphoreUse[];
  /** The stalls of the event loop: see `StallFigures`. */
  readonly eventLoop: EventLoopState;
  readonly spill: SpillState;
}

export interface PodProcess {
  readonly pid: number;
  readonly host: string;
  /** The version of Node.js. */
  readonly node: string;
  readonly startedAt: string;
}

/** As `HedgeHealth`. */
export interface PodHealth {
  readonly ready: boolean;
  readonly backendReachable: boolean;
  readonly viewSettled: boolean;
  readonly stopping: boolean;
}

export interface LeaderState {
  readonly member: MemberId;
  /** The fencing token of its term. */
  readonly token: string;
  /** The time in the token: when it acquired the lease, by the clock of the database. */
  readonly since: string;
}

export interface HeldLeaseState {
  /** How long this pod relies on the lease unless it is renewed. A healthy pod renews when two thirds of the lease are left. */
  readonly leftMs: number;
  /** The number of the last renewal that the database has acknowledged in this term. */
  readonly renewals: number;
}

export interface ViewState {
  /** The fencing token of the leader that made the view. */
  readonly epoch: string;
  readonly version: number;
  readonly settled: boolean;
  readonly members: readonly { readonly address: string; readonly incarnation: string; readonly confirmed: boolean }[];
}

export interface LinkState {
  /** A client has an empty address. */
  readonly peer: MemberId;
  /** `dialled`: this pod opened it. `accepted`: the peer did. */
  readonly direction: 'dialled' | 'accepted';
}

/** Topics by kind of handler. */
export interface HandledTopics {
  readonly leader: readonly string[];
  readonly broadcast: readonly string[];
  readonly leaderStream: readonly string[];
  readonly broadcastStream: readonly string[];
}

export interface LockState {
  readonly name: string;
  /** The fencing token, while a caller of this pod holds the lock. */
  readonly token?: string;
  /** The callers of this pod that wait for it. */
  readonly waiting: number;
}

export interface EventLoopState {
  /** By how much the last turn of a timer was late, in milliseconds. */
  readonly delayMs: number;
  readonly stalls: number;
  readonly longestStallMs: number;
}

/** The spilled data on this pod, of its own stores and of other pods. */
export interface SpillState {
  readonly memory: TierState;
  readonly disk: TierState;
  readonly heldCount: number;
  readonly held: readonly HeldSpill[];
}

/** Spilled data of one name and owner, as far as it is on this pod. */
export interface HeldSpill {
  /** Absent when the owner has left the group. Its data is dropped after a while. */
  readonly owner?: MemberId;
  readonly name: string;
  readonly memoryBytes: number;
  readonly diskBytes: number;
  /** The records that end in the frames on this pod. */
  readonly records: number;
}

export interface TierState {
  readonly usedBytes: number;
  readonly freeBytes: number;
}

/** The most entries of one list of a `PodState`, so that the state fits into one message. */
export const MOST_LISTED = 500;

/** The time in a fencing token, which counts nanoseconds since 1970. */
export function timeOfToken(token: bigint): string {
  return new Date(Number(token / 1_000_000n)).toISOString();
}
