import { longestElapsed, type Instant } from '../../common/clock.js';
import type { Timing } from '../../common/timing.js';
import type { RenewResult } from '../../database/lease-table.js';
import type { Metrics } from '../../telemetry/metrics.js';

/** One call that renewed the lease of the leader, or the leases of locks. */
export interface MeasuredRenewal {
  readonly lease: 'leader' | 'locks';
  readonly ms: number;
  readonly outcome: 'renewed' | 'superseded' | 'failed';
  /** For each renewed lease: see `renewalMargin`. */
  readonly margins: readonly number[];
}

/** The outcome of a call. @param results of each lease; absent for a failure */
export function outcomeOf(results: readonly (RenewResult | undefined)[]): MeasuredRenewal['outcome'] {
  if (results.includes(undefined)) return 'failed';
  return results.every((result) => result?.renewed) ? 'renewed' : 'superseded';
}

/** The milliseconds that were left until the holder had stepped down, when a renewal was acknowledged. */
export function renewalMargin(
  timing: Pick<Timing, 'renewDeadlineMs'>,
  validSince: Instant,
  acknowledged: Instant,
): number {
  return Math.max(0, timing.renewDeadlineMs - longestElapsed(validSince, acknowledged));
}

export function reportRenewal(metrics: Metrics, { lease, ms, outcome, margins }: MeasuredRenewal): void {
  metrics.record('hedge.lease.renewal.duration', ms / 1_000, { lease, outcome });
  for (const margin of margins) metrics.record('hedge.lease.renewal.margin', margin / 1_000, { lease });
}
