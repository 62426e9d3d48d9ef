import type { Timing } from '../common/timing.js';

/** Durations of a group's semaphores, in milliseconds. */
export interface SemaphoreTiming {
  /** What was granted and is not renewed for this long is taken back. */
  readonly permitMs: number;
  /** A holder stops believing this long before that, for clocks that run at different rates. */
  readonly marginMs: number;
  /** A holder tells the leader this often what it holds and waits for. */
  readonly heartbeatMs: number;
  /** A caller that was not heard for this long is passed over in the queue. */
  readonly heardWithinMs: number;
  /** A new leader lets those who waited under the last one come back for this long, before it grants what gets free. */
  readonly graceMs: number;
  /** First pause after a failure of the database; grows with jitter up to four times this. */
  readonly retryMs: number;
}

/**
 * Permits last two leases, so that they outlive the election after a leader's crash: it takes a little more than one
 * lease, and meanwhile nobody can renew.
 */
export function semaphoreTiming(timing: Timing): SemaphoreTiming {
  const { leaseMs, marginMs, heartbeatMs, heartbeatTimeoutMs, retryMs } = timing;
  return {
    permitMs: 2 * leaseMs,
    marginMs: 2 * marginMs,
    heartbeatMs,
    heardWithinMs: heartbeatTimeoutMs,
    graceMs: heartbeatMs,
    retryMs,
  };
}
