import { longestElapsed, type Instant } from '../common/clock.js';

/** A lease that this process holds. */
export interface Term {
  readonly token: bigint;
  /** When the last acknowledged acquisition or renewal was asked for: the database counts from later (L2). */
  readonly validSince: Instant;
}

/** L2: whether a holder may believe in its term at `now`. */
export function holdsLease(term: Term, timing: { leaseMs: number; marginMs: number }, now: Instant): boolean {
  return longestElapsed(term.validSince, now) < timing.leaseMs - timing.marginMs;
}
