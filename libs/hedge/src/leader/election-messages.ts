import type { AcquireResult, LeaseRecord, RenewResult } from '../backend/lease.js';
import type { MemberId } from '../common/identity.js';
import type { Timing } from '../common/timing.js';

export type ElectionTiming = Pick<Timing, 'leaseMs' | 'marginMs' | 'renewDeadlineMs' | 'retryMs'>;

export interface ElectionSettings {
  readonly self: MemberId;
  readonly timing: ElectionTiming;
  /** `LeaseTable.observes` of the driver: decides how often a follower looks. */
  readonly observes: boolean;
  /** False for a client: it follows, and never leads. */
  readonly campaigns: boolean;
  /** Numbers in [0, 1) for jitter; seeded in tests. */
  readonly random: () => number;
}

/** Why a term ended. */
export type LossReason =
  /** No renewal was acknowledged in time (`renewDeadlineMs`), because the database failed. */
  | 'renew-deadline'
  /** The lease ran out before anything was done about it: the process or its machine stood still. */
  | 'expired'
  /** The database said that the lease is not this term's any more. */
  | 'superseded'
  /** `resign()`: given back after draining. */
  | 'resigned'
  /** The member stops: given back after draining. */
  | 'stopped';

/** What can happen to an election. A call's result without its value means: it failed, its effect is unknown. */
export type ElectionInput =
  /** Time passed; also the first input, which starts it. */
  | { readonly type: 'tick' }
  | { readonly type: 'read'; readonly attempt: number; readonly record?: LeaseRecord }
  | { readonly type: 'acquired'; readonly attempt: number; readonly result?: AcquireResult }
  | { readonly type: 'renewed'; readonly attempt: number; readonly result?: RenewResult }
  | { readonly type: 'released'; readonly attempt: number; readonly released?: boolean }
  /** The own address was tried; when it does not reach this process, a campaign would be wrong. */
  | { readonly type: 'self-checked'; readonly attempt: number; readonly reached: boolean }
  /** The lease as read on the side, by `confirmLeadership`. */
  | { readonly type: 'observed'; readonly record: LeaseRecord }
  /** Something (a peer's hint, a refused request) suggests that the lease changed: read it. */
  | { readonly type: 'refresh' }
  /** A peer says that it gave the lease back. Only ever a reason to try; the database decides. */
  | { readonly type: 'leader-released'; readonly epoch: bigint }
  | { readonly type: 'resign' }
  | { readonly type: 'stop' }
  /** Leader work of that term has ended, or its time to do so. */
  | { readonly type: 'drained'; readonly token: bigint };

/** A call to the database. Its result comes back as an input with the same attempt; the latest attempt counts. */
export type ElectionCall =
  | { readonly type: 'read'; readonly attempt: number }
  | { readonly type: 'acquire'; readonly attempt: number }
  | { readonly type: 'renew'; readonly attempt: number; readonly token: bigint }
  | { readonly type: 'release'; readonly attempt: number; readonly token: bigint }
  /** Not to the database: to the own advertised address, which must answer with the own incarnation. */
  | { readonly type: 'check-self'; readonly attempt: number };

/** What an election wants done, in this order. */
export type ElectionEffect =
  | ElectionCall
  /** A `tick` is wanted after that time; replaces any earlier wish. */
  | { readonly type: 'wake'; readonly afterMs: number }
  | { readonly type: 'became-leader'; readonly token: bigint }
  /** Final for the token (L3). */
  | { readonly type: 'lost-leadership'; readonly token: bigint; readonly reason: LossReason }
  /** Start no new leader work, end what runs, then answer `drained`. The lease is still held and renewed. */
  | { readonly type: 'drain'; readonly token: bigint }
  | { readonly type: 'announce-released'; readonly token: bigint }
  /** The member now known to lead, or nobody. */
  | { readonly type: 'leader-changed'; readonly leader?: { readonly member: MemberId; readonly epoch: bigint } }
  /** After `stop`: it holds nothing and never will again, and only looks at the lease from now on. */
  | { readonly type: 'left' };
