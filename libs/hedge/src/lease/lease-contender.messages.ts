import type { AcquireResult, LeaseRecord, RenewResult } from '../database/lease-table.js';
import type { LeaseMarker } from '../database/observed-lease.js';
import type { MemberId } from '../common/identity.js';
import type { Timing } from '../common/timing.js';
import type { Term } from './lease-contender.core.js';

export type LeaseTiming = Pick<Timing, 'leaseMs' | 'marginMs' | 'renewDeadlineMs' | 'retryMs'>;

export interface ContenderSettings {
  readonly self: MemberId;
  readonly timing: LeaseTiming;
  /** `LeaseTable.observes` of the driver: decides how often a contender reads the lease. */
  readonly observes: boolean;
  /** False for a contender that only follows the holder. */
  readonly campaigns: boolean;
  /** Dials its own address before it campaigns: for a lease whose holder others must be able to reach. */
  readonly checksSelf: boolean;
  /** Reads the lease before it campaigns for the first time; else the first call is an acquisition. */
  readonly readsFirst: boolean;
  /** As `renewalAt`, so that all leases of one process can be renewed by one call. Absent for a lease that renews alone. */
  readonly renewalPhaseMs?: number | undefined;
  /**
   * Another thread renews the terms of this contender, which makes no renewal then: reads the last acknowledged renewal of
   * the term with that token. Undefined before the first, `superseded` when the database no longer has the term.
   */
  readonly renewed?: ((token: bigint) => Pick<Term, 'renewals' | 'validSince'> | 'superseded' | undefined) | undefined;
  /** Numbers in [0, 1) for jitter; seeded in tests. */
  readonly random: () => number;
}

/** Why a term ended. */
export type LossReason =
  /** No renewal was acknowledged in time (`renewDeadlineMs`), because the database failed. */
  | 'renew-deadline'
  /** The lease expired before this process could act: the process or its machine stalled. */
  | 'expired'
  /** The database reports that the lease no longer belongs to this term. */
  | 'superseded'
  /** `resign`: released after the drain. */
  | 'resigned'
  /** `resign` with `unreachable`: released after the drain. */
  | 'unreachable'
  /** `stop`: released after the drain. */
  | 'stopped';

/** The inputs of a contender. A call's result without a value means that the call failed and its effect is unknown. */
export type ContenderInput =
  /** Time passed. Also the first input, which starts the contender. */
  | { readonly type: 'tick' }
  /**
   * The process has found at a use of that term that it is no longer valid. Final, also if a clock was set back since then.
   */
  | { readonly type: 'lapsed'; readonly token: bigint }
  /** A call waited in a queue and starts only now: validity counts from here (L2). */
  | { readonly type: 'begun'; readonly attempt: number }
  | { readonly type: 'read'; readonly attempt: number; readonly record?: LeaseRecord }
  | { readonly type: 'acquired'; readonly attempt: number; readonly result?: AcquireResult }
  | { readonly type: 'renewed'; readonly attempt: number; readonly result?: RenewResult }
  | { readonly type: 'released'; readonly attempt: number; readonly released?: boolean }
  /** The result of `check-self`. The contender does not campaign when its address does not reach this process. */
  | { readonly type: 'self-checked'; readonly attempt: number; readonly reached: boolean }
  /** The lease as read by `confirmLeadership`, outside of the contender's own calls. */
  | { readonly type: 'observed'; readonly record: LeaseRecord }
  /** A hint of a peer or a refused request suggests that the lease changed: read it. */
  | { readonly type: 'refresh' }
  /**
   * A peer says that it released the lease, and perhaps names the incarnation that acquires it next. This is only a reason
   * to try: the database decides.
   */
  | { readonly type: 'lease-released'; readonly token: bigint; readonly successor?: string | undefined }
  /** The holder of the lease announces the marker of its last acknowledged renewal: of a new one, or once more. */
  | { readonly type: 'renewal-announced'; readonly from: MemberId; readonly marker: LeaseMarker }
  /** The leader reports whether this process is one of the few that read this lease while many wait for it. */
  | { readonly type: 'queued'; readonly reads: boolean }
  /** The link to that member has closed, so it cannot announce renewals. */
  | { readonly type: 'link-closed'; readonly member: MemberId }
  /**
   * With `unreachable` the holder resigns because most members cannot reach it. Then it does not announce the release:
   * the members that would receive the announcement are on its side of the partition and should not campaign first.
   */
  | { readonly type: 'resign'; readonly unreachable?: boolean }
  | { readonly type: 'stop' }
  /**
   * The work of that term has ended, or its time to end is over. The successor is the incarnation that acquires the lease
   * next, if it can.
   */
  | { readonly type: 'drained'; readonly token: bigint; readonly successor?: string | undefined };

/** A call to the database. Its result comes back as an input with the same attempt; the latest attempt counts. */
export type DatabaseCall =
  | { readonly type: 'read'; readonly attempt: number }
  | { readonly type: 'acquire'; readonly attempt: number }
  | { readonly type: 'renew'; readonly attempt: number; readonly token: bigint }
  | { readonly type: 'release'; readonly attempt: number; readonly token: bigint };

export type ContenderCall =
  | DatabaseCall
  /** Dial the own advertised address, which must answer with the own incarnation. */
  | { readonly type: 'check-self'; readonly attempt: number };

/** The holder of a lease and its token. */
export interface LeaseHolder {
  readonly member: MemberId;
  readonly token: bigint;
}

/** The effects of a contender, to be performed in this order. */
export type ContenderEffect =
  | ContenderCall
  /** Send a `tick` after that time. Replaces any earlier `wake`. */
  | { readonly type: 'wake'; readonly afterMs: number }
  | ({ readonly type: 'lease-acquired' } & Term)
  /** Final for the token (L3). */
  | { readonly type: 'lease-lost'; readonly token: bigint; readonly reason: LossReason }
  /** Start no new work of the term, end the running work, then answer `drained`. The lease is still held and renewed. */
  | { readonly type: 'drain'; readonly token: bigint }
  | { readonly type: 'announce-released'; readonly token: bigint; readonly successor: string | undefined }
  /** A renewal was acknowledged: announce its marker to the other members. */
  | { readonly type: 'announce-renewed'; readonly marker: LeaseMarker }
  /** The holder has renewed the lease: call `LeaseTable.observeRenewal`. */
  | { readonly type: 'observe-renewal'; readonly marker: LeaseMarker }
  /** The holder has changed. Without `holder` nobody is known to hold the lease. */
  | { readonly type: 'holder-changed'; readonly holder?: LeaseHolder }
  /** After `stop`: the contender holds nothing, never campaigns again, and only reads the lease. */
  | { readonly type: 'left' };
