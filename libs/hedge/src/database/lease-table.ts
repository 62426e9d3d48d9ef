import type { MemberId } from '../common/identity.js';
import type { LeaseMarker } from './observed-lease.js';

/**
 * A row that at most one member holds. Its token rises with every acquisition and never falls, also after a release, a
 * crash, or a step back of the database clock (L1).
 */
export interface LeaseRecord {
  /** Absent when the lease was released, or never acquired. */
  readonly holder?: MemberId;
  /** The fencing token of the last acquisition, in nanoseconds; 0n when the lease was never acquired. */
  readonly token: bigint;
  /**
   * Milliseconds until a contender may take the lease over; 0 when it may now. Measured by the database's clock if all
   * share it, else by how long this process has seen the row unchanged.
   */
  readonly expiresInMs: number;
}

export interface LeaseClaim {
  /** Row name, as `hedge/lease/orders`. */
  readonly name: string;
  readonly holder: MemberId;
  /** The length of the lease in milliseconds. It is stored in the row, and contenders use it to detect expiry. */
  readonly leaseMs: number;
}

export interface HeldLease {
  readonly name: string;
  readonly holder: MemberId;
  readonly token: bigint;
}

/** The held lease to renew, and its length from now on. */
export interface Renewal extends HeldLease, LeaseClaim {
  /**
   * The number of this renewal, which the row gets as its counter (`LeaseMarker.renewals`). The holder gives a higher
   * number to each call under the same token, whether or not the earlier calls succeeded. So no two renewals of a term have
   * the same marker, also if the database loses the last commits. Default: one more than in the row.
   */
  readonly renewals?: bigint;
}

/** A lease with a holder, as its row shows it to people. It decides nothing: the holder may have died. */
export interface ListedLease extends HeldLease {
  /** The length of the lease in milliseconds. */
  readonly leaseMs: number;
  /** Milliseconds since the last acquisition or renewal, by the clock of the database. */
  readonly ageMs: number;
}

export interface LeaseQuery {
  /** Of the names of the rows. */
  readonly prefix: string;
  /** At most this many leases: from 1 to `MOST_LISTED_LEASES`. */
  readonly limit: number;
  /** Only names that sort (by UTF-8 bytes) after this one, for paging. */
  readonly after?: string | undefined;
}

/** The maximum of one `list`. */
export const MOST_LISTED_LEASES = 1_000;

/** The maximum of one `renewAll`: far below the limit of a Spanner commit, and short under SQLite's write lock. */
export const MOST_RENEWALS = 500;

export type AcquireResult =
  { readonly acquired: true; readonly token: bigint } | { readonly acquired: false; readonly record: LeaseRecord };

export type RenewResult = { readonly renewed: true } | { readonly renewed: false; readonly record: LeaseRecord };

/**
 * The lease table. A holder counts its validity from before the call that returned success (L2), so a driver never
 * reports success for an effect that began before the call.
 */
export interface LeaseTable {
  /**
   * How this driver detects that a lease has expired. True: by observation of the row, because there is no shared clock;
   * then a contender must read the row several times per lease. False: by the database's clock; then one read just after
   * the expiry is enough.
   */
  readonly observes: boolean;

  /**
   * The holder of the lease announces that it has committed the row with this marker. A driver that observes counts the
   * lease of the holder from now on, as if it had read the row, if it has read the row under this token before.
   *
   * Why that is safe (L1): see `ObservedLease.observe`. A call can only make a contender wait longer, whatever the
   * marker. Without this method, followers of an observing driver keep reading the row.
   */
  observeRenewal?(name: string, marker: LeaseMarker): void;
  /** Reads the row (a strong read). */
  read(name: string): Promise<LeaseRecord>;

  /**
   * Acquires the lease when it is free, surely expired, or held by this incarnation; with a new token each time. The
   * decision and the write are one transaction (L4). After BACKEND_UNAVAILABLE the lease may be held with a token that
   * the caller does not know. Another call is safe: it acquires the lease with a new token. Or it is refused with a record
   * that names this incarnation, because the driver did not know that token; the call after it then acquires.
   */
  acquire(claim: LeaseClaim): Promise<AcquireResult>;

  /**
   * Extends the lease to a whole `leaseMs`, only for the token and the incarnation of the row (L3).
   * `renewed: false` is final for that token. May be repeated.
   */
  renew(lease: Renewal): Promise<RenewResult>;

  /**
   * Renews many leases in one transaction, for a member that holds many locks. Each is renewed only for its own token and
   * incarnation. `renewed: false` is final for that lease and does not affect the others. An error applies to all. An
   * empty list makes no call. The election renews alone by `renew`, so that a contended lock cannot delay it.
   * @param leases at most `MOST_RENEWALS`, each row once.
   * @returns one result per lease, in order.
   * @throws HedgeError INVALID_ARGUMENT for more.
   */
  renewAll(leases: readonly Renewal[]): Promise<readonly RenewResult[]>;

  /**
   * Releases the lease, only for the token and the incarnation of the row (L3): clears the holder, and keeps the row so
   * that tokens keep rising. False when the lease was not held. May be repeated.
   */
  release(lease: HeldLease): Promise<boolean>;

  /**
   * The leases that have a holder, sorted by the UTF-8 bytes of their names. It must not delay renewals. Rows whose writer is
   * of another version are left out.
   */
  list?(query: LeaseQuery): Promise<readonly ListedLease[]>;

  /**
   * A peer named this token of the lease. For a database that can lose acknowledged commits: the driver acquires nothing
   * for a whole lease when it then reads a lower token, and its next token is above this one. It makes no call.
   * @param leaseMs the assumed length of the lease, in milliseconds.
   */
  heard?(name: string, token: bigint, leaseMs: number): void;
}
