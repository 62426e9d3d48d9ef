import type { AcquireResult, LeaseRecord, RenewResult } from '../database/lease-table.js';
import type { MemberId } from '../common/identity.js';
import type { Timing } from '../common/timing.js';

export type LeaseTiming = Pick<Timing, 'leaseMs' | 'marginMs' | 'renewDeadlineMs' | 'retryMs'>;

export interface ContenderSettings {
  readonly self: MemberId;
  readonly timing: LeaseTiming;
  /** `LeaseTable.observes` of the driver: decides how often a contender looks. */
  readonly observes: boolean;
  /** False for one that only follows who holds the lease. */
  readonly campaigns: boolean;
  /** Tries its own address before it campaigns: for a lease whose holder the others must reach. */
  readonly checksSelf: boolean;
  /** Looks at the lease before it campaigns for the first time; else the first call is an acquisition. */
  readonly readsFirst: boolean;
  /** Renews on whole multiples of the beat, so that all leases of one process can be renewed by one call. */
  readonly renewsOnBeat: boolean;
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
  /** `resign`: given back after draining. */
  | 'resigned'
  /** `resign` with `unreachable`: given back after draining. */
  | 'unreachable'
  /** `stop`: given back after draining. */
  | 'stopped';

/** What can happen to a contender. A call's result without its value means: it failed, its effect is unknown. */
export type ContenderInput =
  /** Time passed; also the first input, which starts it. */
  | { readonly type: 'tick' }
  /** A call that had to wait before it was made is made only now: validity counts from here (L2). */
  | { readonly type: 'begun'; readonly attempt: number }
  | { readonly type: 'read'; readonly attempt: number; readonly record?: LeaseRecord }
  | { readonly type: 'acquired'; readonly attempt: number; readonly result?: AcquireResult }
  | { readonly type: 'renewed'; readonly attempt: number; readonly result?: RenewResult }
  | { readonly type: 'released'; readonly attempt: number; readonly released?: boolean }
  /** The own address was tried; when it does not reach this process, a campaign would be wrong. */
  | { readonly type: 'self-checked'; readonly attempt: number; readonly reached: boolean }
  /** The lease as read on the side, to be sure. */
  | { readonly type: 'observed'; readonly record: LeaseRecord }
  /** Something (a peer's hint, a refused request) suggests that the lease changed: read it. */
  | { readonly type: 'refresh' }
  /** A peer says that it gave the lease back. Only ever a reason to try; the database decides. */
  | { readonly type: 'lease-released'; readonly token: bigint }
  /**
   * With `unreachable` it resigns because most members cannot reach it. Then it does not announce that the lease is
   * free: who hears an announcement is on its side of the partition, and should not be first to campaign.
   */
  | { readonly type: 'resign'; readonly unreachable?: boolean }
  | { readonly type: 'stop' }
  /** The work of that term has ended, or its time to do so. */
  | { readonly type: 'drained'; readonly token: bigint };

/** A call to the database. Its result comes back as an input with the same attempt; the latest attempt counts. */
export type DatabaseCall =
  | { readonly type: 'read'; readonly attempt: number }
  | { readonly type: 'acquire'; readonly attempt: number }
  | { readonly type: 'renew'; readonly attempt: number; readonly token: bigint }
  | { readonly type: 'release'; readonly attempt: number; readonly token: bigint };

export type ContenderCall =
  | DatabaseCall
  /** To the own advertised address, which must answer with the own incarnation. */
  | { readonly type: 'check-self'; readonly attempt: number };

/** Who holds a lease, and by which token. */
export interface LeaseHolder {
  readonly member: MemberId;
  readonly token: bigint;
}

/** What a contender wants done, in this order. */
export type ContenderEffect =
  | ContenderCall
  /** A `tick` is wanted after that time; replaces any earlier wish. */
  | { readonly type: 'wake'; readonly afterMs: number }
  | { readonly type: 'lease-acquired'; readonly token: bigint }
  /** Final for the token (L3). */
  | { readonly type: 'lease-lost'; readonly token: bigint; readonly reason: LossReason }
  /** Start no new work of the term, end what runs, then answer `drained`. The lease is still held and renewed. */
  | { readonly type: 'drain'; readonly token: bigint }
  | { readonly type: 'announce-released'; readonly token: bigint }
  /** Who is now known to hold the lease, or nobody. */
  | { readonly type: 'holder-changed'; readonly holder?: LeaseHolder }
  /** After `stop`: it holds nothing and never will again, and only looks at the lease from now on. */
  | { readonly type: 'left' };
