import type { MemberId } from '../common/identity.js';

/**
 * A row that at most one member holds. Its token rises with every acquisition and never falls, also after
 * release, crash, or a database clock that went back (L1).
 */
export interface LeaseRecord {
  /** Absent when the lease was released, or never taken. */
  readonly holder?: MemberId;
  /** The fencing token of the last acquisition, in nanoseconds; 0n when it was never taken. */
  readonly token: bigint;
  /**
   * Milliseconds until a contender may take it over, 0 when it may now. By the database's clock where it
   * has one that all share; else by how long this process has seen the row unchanged.
   */
  readonly expiresInMs: number;
}

export interface LeaseClaim {
  /** Row name, as `hedge/lease/orders`. */
  readonly name: string;
  readonly holder: MemberId;
  /** Length of the lease in milliseconds; stored in the row, and what contenders judge by. */
  readonly leaseMs: number;
}

export interface HeldLease {
  readonly name: string;
  readonly holder: MemberId;
  readonly token: bigint;
}

/** What a renewal names: the lease that is held, and for how long from now. */
export type Renewal = HeldLease & LeaseClaim;

/** The most leases of one `renewAll`: far below what one Spanner commit takes, and short under SQLite's write lock. */
export const MOST_RENEWALS = 500;

export type AcquireResult =
  { readonly acquired: true; readonly token: bigint } | { readonly acquired: false; readonly record: LeaseRecord };

export type RenewResult = { readonly renewed: true } | { readonly renewed: false; readonly record: LeaseRecord };

/**
 * The lease table. A holder counts its validity from before the call that returned success was made (L2);
 * a driver never reports success for an effect that began before the call.
 */
export interface LeaseTable {
  /**
   * How this driver knows that a lease has run out. True: by watching the row, because no clock is shared;
   * a contender then has to look several times per lease. False: by the database's clock, so that looking
   * once, just after the end, is enough.
   */
  readonly observes: boolean;

  /** The row as of now (a strong read). */
  read(name: string): Promise<LeaseRecord>;

  /**
   * Takes the lease when it is free, surely expired, or held by this very incarnation; a new token each
   * time. Decision and write are one transaction (L4). After BACKEND_UNAVAILABLE the lease may be held with
   * a token the caller does not know: calling again is safe, and makes a new token.
   */
  acquire(claim: LeaseClaim): Promise<AcquireResult>;

  /**
   * Extends the lease by a whole `leaseMs`, only for the row's own token and incarnation (L3).
   * `renewed: false` is final for that token. May be repeated.
   */
  renew(lease: Renewal): Promise<RenewResult>;

  /**
   * `renew` of many leases in one transaction, for a member that holds many locks. Each is judged by its own token
   * and incarnation: `renewed: false`, final for that one, does not stop the others. An error is all of theirs.
   * An empty list asks the database nothing. The election renews by `renew`, alone, so that no lock that someone
   * contends for can hold it up.
   * @param leases at most `MOST_RENEWALS`, each row once.
   * @returns one result per lease, in order.
   * @throws HedgeError INVALID_ARGUMENT for more.
   */
  renewAll(leases: readonly Renewal[]): Promise<readonly RenewResult[]>;

  /**
   * Gives the lease back, only for the row's own token and incarnation (L3): keeps the row, so that tokens
   * keep rising, and clears the holder. False when it was not held. May be repeated.
   */
  release(lease: HeldLease): Promise<boolean>;
}
