import type { MemberId } from '../../common/identity.js';
import type { Term } from '../lease-contender.core.js';

/** A term of this process that another thread renews. */
export interface RenewedLease {
  /** Row name of the lease. */
  readonly name: string;
  readonly holder: MemberId;
  readonly term: Term;
  /** As `TermToRenew.batched`. */
  readonly batched: boolean;
  /** Called on the main thread when the term was renewed or superseded. The term may be over by then. */
  readonly changed: () => void;
  /** Called on the main thread when a renewal failed. */
  readonly failed: (message: string) => void;
}

/** Renews the terms of this process on another thread, which goes on while the main thread is blocked. */
export interface TermRenewer {
  /** Renews the lease from now on. To call before any code of the application runs under the term. */
  hold(lease: RenewedLease): void;
  /** As `ContenderSettings.renewed`. */
  renewed(name: string, token: bigint): Pick<Term, 'renewals' | 'validSince'> | 'superseded' | undefined;
  /** The term is over: no renewal begins from now on. Idempotent. */
  drop(name: string, token: bigint): void;
  /** As `LeaseTable.heard`: a renewal of a lower token does not count from now on. */
  heard(name: string, token: bigint, leaseMs: number): void;
}
