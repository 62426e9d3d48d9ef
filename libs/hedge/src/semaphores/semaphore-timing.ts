import type { Timing } from '../common/timing.js';

/** Durations of a group's semaphores, in milliseconds. */
export interface SemaphoreTiming {
  /** The leader revokes a permit that is not renewed for this long. */
  readonly permitMs: number;
  /** A holder considers its permit expired this long before that, because clocks run at different rates. */
  readonly marginMs: number;
  /** A client renews its permits and waiting requests at this interval. */
  readonly heartbeatMs: number;
  /** The queue passes over a caller that was not heard for this long. */
  readonly heardWithinMs: number;
  /** A new leader waits this long for the callers that waited under the last one, before it grants permits that become free. */
  readonly graceMs: number;
  /** The first pause after a failure of the database; grows with jitter up to four times this. */
  readonly retryMs: number;
}

/**
 * Permits last two leases, so that they outlive the election after a leader's crash. It takes a little more than one
 * lease, in which permits cannot be renewed.
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
